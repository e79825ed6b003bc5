import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

av = pytest.importorskip('av')

from tests.data.videos import encode_numbers, numbers  # noqa: E402, wants PyAV
from tests.data_pipelines.videos import encode_frames, moving  # noqa: E402
from vdm_jax.data.video import decode  # noqa: E402


@pytest.mark.parametrize('fps', [25, 30000 / 1001, 8])
def test_frames_and_times_come_back(fps):
    times = np.arange(31) / fps
    video = decode.probe(encode_frames(encode_numbers(30), times))
    assert (video.frames, video.height, video.width, video.codec) == (30, 32, 64, 'h264')
    assert video.fps == pytest.approx(fps, rel=1e-4) and video.seconds == pytest.approx(30 / fps, abs=1e-3)
    np.testing.assert_allclose(video.times, times[:-1], atol=1e-5)
    np.testing.assert_array_equal(numbers(decode.read(video, [29, 0, 17])), [29, 0, 17])


def test_uneven_times_are_kept():
    times = np.array([0, 0.04, 0.2, 0.24, 0.9, 0.94, 2.0])
    video = decode.probe(encode_frames(encode_numbers(6), times))
    np.testing.assert_allclose(video.times, times[:-1], atol=1e-5)
    np.testing.assert_array_equal(numbers(decode.read(video, [5, 3])), [5, 3])


def test_the_picture_is_that_of_the_frames():
    frames = np.full((4, 32, 32, 3), (200, 60, 30), np.uint8)
    frames[:, 16:] = 20, 90, 220
    decoded = decode.read(decode.probe(encode_frames(frames, np.arange(5) / 10, crf=4)), range(4)).astype(int)
    assert np.abs(decoded - frames)[:, [4, 27]].max() <= 3


def test_decoding_begins_anywhere_at_the_cost_of_a_few_frames():
    video = decode.probe(encode_frames(moving(40, 32, 48), np.arange(41) / 10, gop=8))
    np.testing.assert_allclose(np.diff(video.times[video.index.key_frames]), 0.8)


@pytest.mark.parametrize('size', [(2, 2), (2, 64), (18, 34)])
@pytest.mark.parametrize('count', [1, 3])
def test_small_pictures_and_single_frames_are_encoded(size, count):
    video = decode.probe(encode_frames(np.zeros((count, *size, 3), np.uint8), np.arange(count + 1) / 5))
    assert (video.frames, video.height, video.width) == (count, *size)


def test_bytes_depend_only_on_the_frames():
    """Not on what lies in memory that x264 does not clear: without EXACT these differ."""
    code = (
        'import hashlib, numpy as np; from tests.data_pipelines.videos import encode_frames, moving;'
        'print(hashlib.sha256(encode_frames(moving(30, 240, 320), np.arange(31) / 25)).hexdigest())'
    )

    def start(fill):
        return subprocess.Popen(
            [sys.executable, '-c', code], env=os.environ | {'MALLOC_PERTURB_': fill}, stdout=subprocess.PIPE, text=True
        )

    runs = [start(fill) for fill in ('1', '77')]
    hashes = {run.communicate()[0].strip() for run in runs}
    assert hashes == {hashlib.sha256(encode_frames(moving(30, 240, 320), np.arange(31) / 25)).hexdigest()}
