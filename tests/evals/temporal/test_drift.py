"""Brightness, colour and contrast have the values of known pictures."""

import numpy as np
import pytest

from vdm_jax.evals.temporal.clips import REC_601, REC_709
from vdm_jax.evals.temporal.drift import (
    compute_contrast,
    compute_luminance,
    compute_saturation,
    compute_subject_drift,
)


def fill(*colour):
    return np.broadcast_to(np.array(colour, np.uint8), (2, 3, 4, len(colour)))


@pytest.mark.parametrize('weights', [REC_601, REC_709], ids=['601', '709'])
def test_luminance_weighs_the_channels(weights):
    assert sum(weights) == pytest.approx(1)
    np.testing.assert_allclose(compute_luminance(fill(255, 255, 255), weights), 255)
    for channel, weight in enumerate(weights):
        colour = [0, 0, 0]
        colour[channel] = 100
        np.testing.assert_allclose(compute_luminance(fill(*colour), weights), 100 * weight)
    np.testing.assert_allclose(compute_luminance(fill(70), weights), 70)


def test_contrast_is_the_spread_of_luma():
    clip = np.zeros((1, 4, 4, 3), np.uint8)
    clip[:, :2] = 255
    np.testing.assert_allclose(compute_contrast(clip), 127.5)
    np.testing.assert_allclose(compute_contrast(fill(9, 8, 7)), 0, atol=1e-12)


def test_saturation_is_hsv_s():
    for colour, expected in (((255, 0, 0), 1), ((10, 10, 10), 0), ((0, 0, 0), 0), ((200, 100, 150), 0.5), ((70,), 0)):
        np.testing.assert_allclose(compute_saturation(fill(*colour)), expected)


def test_a_subject_drifts_from_the_first_frame():
    features = np.array([[1.0, 0], [1, 0], [0, 1], [-1, 0]])
    np.testing.assert_allclose(compute_subject_drift(features), [0, 0, 1, 2])
