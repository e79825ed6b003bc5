import dataclasses
import errno
import io

import numpy as np
import pytest

av = pytest.importorskip('av')
pytest.importorskip('cv2')

from data_pipelines.build import part_files  # noqa: E402, want the libraries above
from data_pipelines.build.process_video import captions_within, process_video  # noqa: E402
from data_pipelines.build.recipe import read_recipe  # noqa: E402
from data_pipelines.inputs.item import Item  # noqa: E402
from tests.data.videos import encode, encode_numbers, numbers  # noqa: E402
from tests.data_pipelines.videos import encode_frames, moving  # noqa: E402
from vdm_jax.data.records.schema import Caption  # noqa: E402
from vdm_jax.data.video import decode  # noqa: E402

PLAIN = '--recipe.filters=', '--recipe.clips.min_seconds=0.2'
NO_CUTS = '--recipe.shots.detector=none', '--recipe.shots.fades=false'


def put(tmp_path, content, **fields):
    path = tmp_path / 'a.mp4'
    path.write_bytes(content)
    return Item('a.mp4', str(path), **fields)


def process_item(item, *assignments):
    """(the clips, the input) of an item."""
    *clips, outcome = process_video(item, read_recipe(assignments=[*PLAIN, *assignments]))
    return clips, outcome


def test_black_bars_are_cut_away_where_they_are_to_be(tmp_path):
    frames = np.zeros((30, 96, 128, 3), np.uint8)
    frames[:, 20:76, 8:120] = moving(30, 56, 112)
    item = put(tmp_path, encode_frames(frames))
    (plain,), _ = process_item(item)
    assert (plain.record.height, plain.record.width) == (96, 128) and plain.scores['letterbox'] > 0.4
    (cut,), _ = process_item(item, '--recipe.clips.crop_black=true')
    assert (cut.record.height, cut.record.width) == pytest.approx((56, 112), abs=2)
    assert cut.scores['letterbox'] < 0.05
    pictures = decode.read(decode.probe(cut.record.video), range(30))[:, 4:-4, 4:-4]
    assert pictures.min(axis=(1, 2, 3)).max() < pictures.mean() < pictures.max()


def test_a_thin_dark_edge_stays(tmp_path):
    frames = moving(20, 64, 112)
    frames[:, :, :2] = 0
    (clip,), _ = process_item(put(tmp_path, encode_frames(frames)), '--recipe.clips.crop_black=true')
    assert (clip.record.height, clip.record.width) == (64, 112)


def failing(item, monkeypatch, cause):
    def probe(*arguments):
        try:
            raise cause
        except Exception as error:
            raise decode.BrokenVideoError('it does not open') from error

    monkeypatch.setattr(decode, 'probe', probe)
    return process_item(item)


def test_too_many_open_files_are_no_fault_of_an_input_and_too_little_memory_has_its_own_reason(tmp_path, monkeypatch):
    item = put(tmp_path, encode_frames(moving(5)))
    with pytest.raises(OSError, match='Too many open files'):
        failing(item, monkeypatch, OSError(errno.EMFILE, 'open'))
    _, outcome = failing(item, monkeypatch, MemoryError())
    assert (outcome.fate, outcome.reason) == ('broken', 'memory') and 'recipe.limits.memory=' in outcome.detail
    _, outcome = failing(item, monkeypatch, OSError(errno.EIO, 'read'))
    assert (outcome.fate, outcome.reason, outcome.detail) == ('broken', 'broken', 'it does not open')


def test_a_dark_picture_is_not_taken_for_bars(tmp_path):
    frames = np.zeros((30, 96, 128, 3), np.uint8)
    frames[:, 40:56, 56:72] = moving(30, 16, 16)
    (clip,), _ = process_item(put(tmp_path, encode_frames(frames)), '--recipe.clips.crop_black=true')
    assert (clip.record.height, clip.record.width) == (96, 128)


def test_the_short_side_is_shrunk_and_never_enlarged(tmp_path):
    item = put(tmp_path, encode_frames(moving(10, 90, 150)))
    (small,), _ = process_item(item, '--recipe.clips.pixels=60')
    assert (small.record.height, small.record.width) == (60, 100)
    (same,), _ = process_item(item, '--recipe.clips.pixels=100')
    assert (same.record.height, same.record.width) == (90, 150)


def test_a_rate_gives_the_frames_nearest_in_time(tmp_path):
    (clip,), _ = process_item(put(tmp_path, encode_frames(encode_numbers(50))), '--recipe.clips.fps=10', *NO_CUTS)
    video = decode.probe(clip.record.video)
    assert (clip.record.fps, clip.record.frames, video.fps) == (10, 20, pytest.approx(10))
    np.testing.assert_array_equal(
        numbers(decode.read(video, range(20))), [0, 2, 5, 7] + [10 * i + j for i in range(1, 5) for j in (0, 2, 5, 7)]
    )


def test_a_window_of_a_file_is_all_that_counts(tmp_path):
    item = put(tmp_path, encode_frames(encode_numbers(100)), start=1.0, end=2.4)
    (one, two), _ = process_item(item, '--recipe.clips.seconds=1', *NO_CUTS)
    assert [(clip.start, clip.end) for clip in (one, two)] == [(1.0, 2.0), (2.0, 2.4)]
    pictures = decode.read(decode.probe(one.record.video), [0, 24])
    np.testing.assert_array_equal(numbers(pictures), [25, 49])
    _, outcome = process_item(dataclasses.replace(item, start=4.5, end=None))
    assert (outcome.fate, outcome.reason) == ('broken', 'bad_times') and '4.000' in outcome.detail


def test_captions_go_with_the_clips_they_are_true_of():
    captions = (
        Caption('all'),
        Caption('first', 2.0, 0.0, 1.0),
        Caption('across', 1.0, 0.5, 2.5),
        Caption('late', 1.0, 2.0),
    )
    assert captions_within(captions, 0.0, 2.0) == (
        Caption('all'),
        Caption('first', 2.0, None, 1.0),
        Caption('across', 1.0, 0.5, None),
    )
    assert captions_within(captions, 2.0, 4.0) == (Caption('all'), Caption('across', 1.0, None, 0.5), Caption('late'))


def test_filters_use_scores_of_the_list_and_facts(tmp_path):
    item = put(tmp_path, encode_frames(moving(20)), scores={'aesthetic': 4.5}, label=2, label_name='waves')
    (clip,), outcome = process_item(item, '--recipe.filters=aesthetic>=4,height>=64,label_name==waves,seconds>=0.8')
    assert outcome.fate == 'kept' and clip.record.scores['aesthetic'] == 4.5
    assert (clip.record.label, clip.record.label_name) == (2, 'waves')
    (clip,), outcome = process_item(item, '--recipe.filters=aesthetic>=5,height>=64')
    assert (clip.reason, clip.detail, clip.record) == ('aesthetic>=5', 'aesthetic is 4.5', None)
    assert (outcome.fate, outcome.reason, outcome.detail) == (
        'dropped',
        'aesthetic>=5',
        'none kept of 1 clips: 1 aesthetic>=5',
    )
    (clip,), _ = process_item(item, '--recipe.filters=captions>=1')
    assert clip.detail == 'captions is 0'


def test_inputs_of_another_split_are_dropped(tmp_path):
    item = put(tmp_path, encode_frames(moving(20)), split='test')
    clips, outcome = process_item(item, '--recipe.split=train')
    assert (clips, outcome.fate, outcome.reason) == ([], 'dropped', 'split')
    assert process_item(item, '--recipe.split=test')[1].fate == 'kept'


@pytest.mark.parametrize('looking', [(), NO_CUTS])
def test_of_a_file_damaged_in_the_middle_nothing_is_kept(tmp_path, looking):
    """The damage is inside a packet, so that no header shows it."""
    content = bytearray(encode_frames(moving(100), gop=5))
    with av.open(io.BytesIO(content)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    at, size = packets[30]
    content[at + size // 4 : at + size] = bytes(size - size // 4)
    item = put(tmp_path, bytes(content))
    recipe = read_recipe(assignments=[*PLAIN, '--recipe.clips.seconds=1', *looking])
    *clips, outcome = process_video(item, recipe)
    assert (outcome.fate, outcome.reason) == ('broken', 'broken') and 's is damaged' in outcome.detail
    assert len(clips) == (1 if looking else 0)  # known too late where nobody looked first
    part_files.write_part(str(tmp_path / 'part'), process_video(item, recipe))
    assert part_files.read_index(str(tmp_path / 'part'))['clips'] == []
    assert (tmp_path / 'part').stat().st_size < 1000


def test_one_frame_is_too_short_or_a_clip_as_the_recipe_has_it(tmp_path):
    item = put(tmp_path, encode_frames(moving(1)))
    assert process_item(item)[1].reason == 'too_short'
    (clip,), outcome = process_item(item, '--recipe.clips.min_seconds=0')
    assert outcome.fate == 'kept' and clip.record.frames == 1 and 'motion' not in clip.scores


def test_frames_of_an_interlaced_video_are_deinterlaced(tmp_path):
    frames = moving(24, 64, 96)
    frames[:, 1::2] = np.roll(frames[:, 1::2], 6, 2)  # every other line is of a later moment
    path = encode(tmp_path / 'a.mp4', frames, **{'x264-params': 'tff=1'})
    assert decode.probe(path).interlaced

    def measure_combing(clip):
        return np.abs(np.diff(decode.read(decode.probe(clip.record.video), range(20)).astype(int), axis=1)).mean()

    item = Item('a.mp4', str(path))
    (deinterlaced,) = process_item(item)[0]
    (plain,) = process_item(item, '--recipe.clips.deinterlace=false')[0]
    assert measure_combing(deinterlaced) < 0.7 * measure_combing(plain)


def test_what_a_library_makes_of_a_file_is_a_reason_too(tmp_path, monkeypatch):
    def fails(*arguments):
        raise RuntimeError('tables turned')

    monkeypatch.setattr(decode, 'probe', fails)
    _, outcome = process_item(put(tmp_path, encode_frames(moving(5))))
    assert (outcome.fate, outcome.reason, outcome.detail) == ('broken', 'error', 'RuntimeError: tables turned')
    assert len(outcome.sha256) == 64 and outcome.bytes > 0


def test_a_library_newer_than_tested_that_fails_is_no_fault_of_a_file(tmp_path, monkeypatch, capsys):
    from vdm_jax.cli import versions

    item = put(tmp_path, encode_frames(moving(8)))
    monkeypatch.setattr('data_pipelines.inputs.frame_sources.probe', lambda *_: av.open('a.mp4', no_such_option=True))
    *_, outcome = process_video(item, read_recipe(assignments=PLAIN))
    assert outcome.reason == 'error' and 'TypeError' in outcome.detail
    monkeypatch.setitem(versions.NEWEST_TESTED, 'av', '1.0')
    with pytest.raises(TypeError):
        list(process_video(item, read_recipe(assignments=PLAIN)))
    assert 'newer than tested: av' in capsys.readouterr().err
