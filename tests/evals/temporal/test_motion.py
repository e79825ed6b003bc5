"""How much moves, and how evenly: VBench's dynamic degree and motion smoothness by hand."""

import numpy as np
import pytest

from vdm_jax.evals.temporal.motion import (
    Interpolator,
    LinearBlend,
    compute_motion,
    compute_smoothness,
    compute_top_motion,
    count_interval,
    is_dynamic,
)


def test_the_fastest_twentieth_decides():
    flow = np.zeros((2, 10, 20, 2))
    flow[0, 0, :10] = (3, 4)  # 10 of 200 pixels
    flow[1, :, :] = (0, 2)
    np.testing.assert_allclose(compute_top_motion(flow), [5, 2])
    np.testing.assert_allclose(compute_motion(flow), [0.25, 2])
    assert compute_top_motion(np.full((1, 2, 2, 2), 1.0)) == pytest.approx(np.sqrt(2)), 'of few pixels it is one'


@pytest.mark.parametrize(
    'frames, side, moving, expected',
    [
        (16, 256, 4, True),
        (16, 256, 3, False),
        (8, 256, 2, True),
        (8, 256, 1, False),
        (3, 512, 1, True),
        (3, 256, 0, False),
    ],
)
def test_enough_pairs_have_to_move(frames, side, moving, expected):
    top = np.zeros(frames - 1)
    top[:moving] = 6 * side / 256 + 0.01
    assert is_dynamic(top, side) is expected
    assert not is_dynamic(np.minimum(top, 6 * side / 256), side), '6 px of 256 are not more than that'


def test_frames_are_looked_at_about_8_times_a_second():
    assert [count_interval(fps) for fps in (1, 8, 11, 13, 24, 30, 60)] == [1, 1, 1, 2, 3, 4, 8]


@pytest.mark.parametrize('frames', [3, 4, 5, 16, 17])
def test_a_ramp_is_perfectly_smooth(frames):
    ramp = np.arange(frames, dtype=np.uint8)[:, None, None, None] * np.ones((4, 4, 3), np.uint8)
    smoothness = compute_smoothness(ramp, LinearBlend())
    assert smoothness.tolist() == [1] * ((frames - 1) // 2)


def test_blinking_is_not_smooth_and_every_second_frame_is_guessed():
    clip = np.zeros((6, 4, 4, 3), np.uint8)
    clip[3] = 255
    assert compute_smoothness(clip, LinearBlend()).tolist() == [1, 0]


def test_any_interpolator_can_guess():
    class Hold(Interpolator):
        def interpolate(self, before, after):
            return before

        def describe(self):
            return 'hold'

    clip = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((4, 4, 3), np.uint8)
    np.testing.assert_allclose(compute_smoothness(clip, Hold()), 1 - 1 / 255)
