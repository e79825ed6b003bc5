"""Flicker has the values that its definitions give."""

import numpy as np
import pytest

from vdm_jax.evals.temporal.flicker import compute_flicker, compute_flickering, compute_second_differences


def ramp(step, frames=8):
    """A clip (T, 4, 4, 3) that brightens by `step` a frame."""
    return np.broadcast_to((step * np.arange(frames, dtype=np.uint8))[:, None, None, None], (frames, 4, 4, 3))


def blink(level, frames=8):
    return np.where(np.arange(frames)[:, None, None, None] % 2, level, 0).astype(np.uint8) * np.ones(
        (4, 4, 3), np.uint8
    )


def test_flickering_of_known_clips():
    assert compute_flickering(ramp(0)).tolist() == [1] * 7
    assert compute_flickering(blink(255)).tolist() == [0] * 7
    np.testing.assert_allclose(compute_flickering(ramp(1)), 0.996078, atol=5e-7)
    np.testing.assert_allclose(compute_flickering(ramp(1)[::-1].astype(np.float32)), 0.996078, atol=5e-7)


def test_second_differences_of_known_clips():
    assert compute_second_differences(ramp(10)).tolist() == [0] * 6
    assert compute_second_differences(blink(50)).tolist() == [100] * 6
    assert compute_second_differences(blink(255)).tolist() == [510] * 6, 'bytes do not wrap around'


def test_flicker_of_sets_is_the_mean_second_difference():
    assert compute_flicker(np.stack([ramp(10), ramp(10)])) == 0
    assert compute_flicker(np.stack([blink(50), ramp(10)])) == 50
    noise = np.random.default_rng(0).normal(128, 20, (4, 16, 32, 32, 3)).astype(np.uint8)
    assert compute_flicker(noise) == pytest.approx(20 * np.sqrt(12 / np.pi), rel=0.01)
    assert np.isnan(compute_flicker(noise[:, :2]))
