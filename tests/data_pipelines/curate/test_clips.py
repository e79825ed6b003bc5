import types

import numpy as np
import pytest

from data_pipelines.curate.clips import ClipsConfig, find_spans


def video(times, fps=25.0):
    times = np.asarray(times, float)
    return types.SimpleNamespace(times=times, fps=fps, frames=len(times), start=0.0, seconds=float(times[-1]) + 1 / fps)


def cut(of, shots=None, **config):
    return find_spans(of, shots or [(0, of.frames)], ClipsConfig(**config))


def ends(spans):
    return [(span.first, span.stop, span.reason) for span in spans]


@pytest.mark.parametrize(('fps', 'frames'), [(25, 100), (30000 / 1001, 120), (24, 96), (10, 40)])
def test_clips_of_a_shot_are_equally_long_and_lie_side_by_side(fps, frames):
    spans = cut(video(np.arange(4 * frames + 3) / fps, fps), seconds=4, min_seconds=1)
    assert [span.stop - span.first for span in spans] == [frames] * 4 + [3]
    assert [span.first for span in spans[1:]] == [span.stop for span in spans[:-1]]
    assert [span.reason for span in spans] == [''] * 4 + ['too_short']
    assert all(span.end - span.start == pytest.approx(4, abs=0.5 / fps) for span in spans[:4])


def test_no_clip_crosses_a_cut():
    spans = cut(video(np.arange(300) / 25), [(0, 130), (130, 150), (150, 300)], seconds=4, min_seconds=1)
    assert ends(spans) == [(0, 100, ''), (100, 130, ''), (130, 150, 'too_short'), (150, 250, ''), (250, 300, '')]


def test_a_complete_shot_is_a_clip_without_a_length():
    spans = cut(video(np.arange(300) / 25), [(0, 130), (130, 300)], seconds=None)
    assert ends(spans) == [(0, 130, ''), (130, 300, '')]
    assert (spans[1].start, spans[1].end) == (5.2, 12.0) and spans[1].times[-1] == pytest.approx(6.8)


def test_a_variable_rate_keeps_its_times():
    times = np.array([0, 0.04, 0.2, 0.24, 0.9, 0.94, 2.0])
    (span,) = cut(video(times), min_seconds=1)
    np.testing.assert_allclose(span.times, [*times, 2.04])
    assert span.fps == pytest.approx(7 / 2.04, abs=1e-6)


def test_a_rate_takes_the_frames_nearest_in_time():
    (span,) = cut(video(np.arange(50) / 25), fps=10)
    np.testing.assert_array_equal(span.numbers, np.round(np.arange(20) * 2.5 - 1e-9))
    np.testing.assert_allclose(span.times, np.arange(21) / 10)
    assert span.fps == 10
    uneven = np.array([0, 0.1, 0.2, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1])
    (span,) = cut(video(uneven, 10), fps=5)
    np.testing.assert_array_equal(span.numbers, [0, 2, 3, 4, 6, 8])


def test_too_few_frames_for_the_rate_are_no_clip():
    assert ends(cut(video(np.arange(20) / 10, 10), fps=25)) == [(0, 20, 'low_fps')]


def test_at_most_so_many_clips_are_taken_evenly():
    spans = cut(video(np.arange(1000) / 25), seconds=4, min_seconds=1, most=3)
    assert [i for i, span in enumerate(spans) if not span.reason] == [0, 4, 9]
    assert {span.reason for span in spans} == {'', 'not_taken'} and len(spans) == 10


def test_one_frame_is_a_clip_where_no_length_is_wanted():
    (span,) = cut(video([0.0]), min_seconds=0)
    assert (span.first, span.stop, span.reason) == (0, 1, '') and span.times.tolist() == [0, 1 / 25]
