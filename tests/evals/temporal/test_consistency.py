"""Consistency of features, and the encoders that need no weights."""

import numpy as np
import pytest

from vdm_jax.errors import UserError
from vdm_jax.evals.temporal.consistency import (
    ColourHistogram,
    StoredFeatures,
    Thumbnail,
    compare,
    compute_consistency,
)


def test_identical_features_are_consistent_and_orthogonal_ones_are_not():
    assert compute_consistency(np.ones((2, 5, 7))).tolist() == [[1] * 4] * 2
    assert compute_consistency(np.eye(5)).tolist() == [0] * 4
    assert compute_consistency(np.array([[1.0, 0], [-1, 0], [1, 0]])).tolist() == [0, 0.5], 'opposites are 0, not -1'


def test_consistency_is_half_to_the_frame_before_and_half_to_the_first():
    features = np.array([[2.0, 0], [1, 1], [0, 3]])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(compute_consistency(features), [half, (half + 0) / 2])


def test_vectors_of_zero_are_equal_to_each_other_alone():
    assert compare(np.zeros(3), np.zeros(3)) == 1
    assert compare(np.zeros(3), np.ones(3)) == 0


def test_random_features_of_many_dimensions_are_hardly_consistent():
    features = np.random.default_rng(0).normal(size=(4, 10, 4096)).astype(np.float32)
    assert compute_consistency(features).max() < 0.06


@pytest.mark.parametrize('size', [(8, 8), (9, 13), (1, 1), (3, 70)])
@pytest.mark.parametrize('channels', [1, 3])
def test_thumbnails_average_cells_less_their_mean(size, channels):
    clip = np.random.default_rng(0).integers(0, 256, (2, *size, channels), np.uint8)
    features = Thumbnail(side=4).encode(clip, 0)
    assert features.shape == (2, min(4, size[0]) * min(4, size[1]) * channels)
    np.testing.assert_allclose(features.mean(1), 0, atol=1e-9)
    if size == (8, 8):
        cells = clip.reshape(2, 4, 2, 4, 2, channels).mean((2, 4)).reshape(2, -1)
        np.testing.assert_allclose(features, cells - cells.mean(1, keepdims=True))


def test_brightness_moves_no_thumbnail_and_place_moves_no_histogram():
    clip = np.random.default_rng(0).integers(0, 200, (1, 8, 8, 3), np.uint8)
    np.testing.assert_allclose(Thumbnail().encode(clip + 50, 0), Thumbnail().encode(clip, 0))
    turned = np.rot90(clip, axes=(1, 2))
    np.testing.assert_array_equal(ColourHistogram().encode(turned, 0), ColourHistogram().encode(clip, 0))


@pytest.mark.parametrize('channels', [1, 3])
def test_histograms_are_shares_of_pixels(channels):
    clip = np.zeros((2, 4, 5, channels), np.uint8)
    clip[1, :2] = 255
    features = ColourHistogram(bins=4).encode(clip, 0)
    assert features.shape == (2, 4**channels)
    assert features[0, 0] == 1 and features[1, 0] == features[1, -1] == 0.5
    np.testing.assert_allclose(features.sum(1), 1)
    np.testing.assert_array_equal(ColourHistogram(bins=4).encode(clip.astype(np.float32), 0), features)


def test_stored_features_are_of_their_own_clips():
    features = StoredFeatures(np.ones((2, 3, 5)), 'dino')
    assert features.encode(np.zeros((3, 4, 4, 3)), 1).shape == (3, 5)
    for frames, number in ((3, 2), (4, 0)):
        with pytest.raises(UserError, match='^features of dino are'):
            features.encode(np.zeros((frames, 4, 4, 3)), number)
