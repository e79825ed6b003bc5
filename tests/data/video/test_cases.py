"""Small files of real users' kinds that were misread once, where they are at hand."""

import json

import numpy as np
import pytest

pytest.importorskip('av')

from tests.shared_data import SHARED
from vdm_jax.data.video import decode

CASES = SHARED / 'data' / 'cases'
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f'{CASES} is not there (set VDM_JAX_SHARED)')

# Of each file: frames, (width, height), frames a second, seconds, where it begins in the time of the file.
RIGHT = {
    '01_av1.mp4': (120, (96, 64), 30, 4.0, 0),
    '02_h264_avi_copied_to.mp4': (40, (96, 64), 10, 4.0, 0),
    '03_hevc_opengop_trim.mkv': (75, (96, 64), 30, 2.5, 0),
    '04_paff.mp4': (50, (176, 144), 25, 2.0, 0),
    '05_hflip.mp4': (20, (96, 64), 10, 2.0, 0),
    '06_null_frames.avi': (30, (96, 64), 7.5, 4.0, 0),
    '07_late_video.mkv': (60, (96, 64), 10, 6.0, 2.023),
    '08_intra_refresh.mp4': (420, (96, 64), 30, 14.0, 0),
    '09_reorder_unsaid.mkv': (49, (96, 64), 25, 1.96, 0),
    '10_one_double_timestamp.mkv': (30, (96, 64), 4.286, 7.0, 0),
    '11_preview_stream_first.mkv': (30, (96, 64), 10, 3.0, 0),
    '12_no_stss_hevc.mp4': (120, (96, 64), 30, 4.0, 0),
    '13_mediarecorder.webm': (120, (96, 64), 19.7, 6.1, 0),
    '14_last_frame_3s.gif': (4, (96, 64), 5, 3.6, 0),
    '15_delay_1cs.gif': (30, (96, 64), 10, 3.0, 0),
    '16_interlaced_later.mp4': (75, (96, 64), 25, 3.0, 0),
    '17_gray8_limited.mkv': (5, (96, 64), 5, 1.0, 0),
    '18_pixel_crop.mkv': (20, (80, 48), 10, 2.0, 0),
    '19_sar.mp4': (20, (102, 56), 10, 2.0, 0),
    '20_mpegts_named.mp4': (90, (96, 64), 30, 3.0, 0),
}


@pytest.mark.parametrize('name', RIGHT)
def test_a_case_is_what_players_show_and_the_same_from_anywhere(name):
    frames, size, fps, seconds, start = RIGHT[name]
    video = decode.probe(CASES / name)
    assert (video.frames, (video.width, video.height)) == (frames, size)
    assert video.fps == pytest.approx(fps, abs=0.01) and video.seconds == pytest.approx(seconds, abs=0.02)
    assert video.start == pytest.approx(start, abs=1e-3)
    all_frames = np.stack([frame for _, frame in decode.stream(video)])
    for first in {0, frames // 4, frames // 2, frames - 2}:
        wanted = np.arange(first, min(first + 4, frames))
        np.testing.assert_array_equal(decode.read(video, wanted), all_frames[wanted])
        streamed = [frame for _, frame in decode.stream(video, first, first + 1)]
        np.testing.assert_array_equal(streamed, all_frames[[first]])


def test_inspect_and_train_agree_on_the_cases(capsys):
    from data_pipelines.__main__ import main
    from vdm_jax.data.video_folder import VideoFolder

    assert main(['inspect', str(CASES), '--json', '--frames=2']) == 0
    rows = json.loads(capsys.readouterr().out)['files']
    assert [row['file'] for row in rows if row['verdict'] != 'ok'] == []
    assert {row['file']: row['frames'] for row in rows} == {name: right[0] for name, right in RIGHT.items()}
    folder = VideoFolder(str(CASES), frames=2, pixels=32).open()
    assert folder.extents()[:, 0].tolist() == [RIGHT[name][0] for name in sorted(RIGHT)]
    assert folder.counters()['broken_videos'] == 0
