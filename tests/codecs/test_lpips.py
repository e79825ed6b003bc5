"""LPIPS: a distance, 0 for the same, of pictures each by itself."""

import re

import jax
import numpy as np
import pytest

from tests.codecs.small_lpips import small_lpips
from tests.codecs.small_video import pixels
from vdm_jax.codecs import lpips
from vdm_jax.errors import UserError


@pytest.fixture(scope='module')
def distance():
    weights = small_lpips()
    return jax.jit(lambda x, y: lpips.distance(weights, x, y))


X = pixels(frames=2, height=16, width=24)
Y = pixels(frames=2, height=16, width=24, seed=5)


def test_it_is_a_distance_of_each_picture(distance):
    distances = distance(X, Y)
    assert distances.shape == (2, 2) and np.all(distances > 0.001)
    np.testing.assert_allclose(distance(Y, X), distances, rtol=1e-5)
    mixed = np.concatenate([X[:, :1], Y[:, 1:]], 1)
    with jax.disable_jit():  # each operation by itself: fused, products and differences are rounded otherwise
        np.testing.assert_array_equal(distance(X, X), 0)
        np.testing.assert_array_equal(distance(X, mixed)[:, 0], 0)
    np.testing.assert_allclose(distance(X, mixed)[:, 1], distances[:, 1], rtol=1e-5)


def test_grey_is_three_times_the_same(distance):
    x = X[..., :1]
    y = Y[..., :1]
    np.testing.assert_allclose(distance(x, y), distance(np.repeat(x, 3, -1), np.repeat(y, 3, -1)), rtol=1e-5)


def test_its_gradient_is_finite_where_pictures_are_the_same():
    grad = jax.jit(jax.grad(lambda x: lpips.distance(small_lpips(), x, X).sum()))(X)
    assert np.all(np.isfinite(grad))


@pytest.mark.parametrize(
    'x, y',
    [
        (X[:, :, :8, :16], Y[:, :, :8, :16]),  # without deep features
        (X[..., :1], Y),
        (X, Y[:1]),
        (X[..., :2], Y[..., :2]),
        (X[0, 0, 0], Y[0, 0, 0]),
        (X.astype(np.uint8), Y.astype(np.uint8)),
    ],
)
def test_other_pictures_are_refused(x, y):
    with pytest.raises(UserError, match='LPIPS .* 16x16 pixels or more; found .*' + re.escape(str(y.shape))):
        lpips.distance(small_lpips(), x, y)


def test_alexnet_is_a_distance_too():
    weights = small_lpips(lpips.ALEXNET)
    x = pixels(frames=1, height=31, width=40)
    y = pixels(frames=1, height=31, width=40, seed=5)
    distance = jax.jit(lambda x, y: lpips.distance(weights, x, y, lpips.ALEXNET))
    distances = distance(x, y)
    assert np.all(distances > 0.001) and np.all(distance(x, x) < 1e-6)
    np.testing.assert_allclose(distance(y, x), distances, rtol=1e-5)
    # One row less, and there are no deepest features.
    with pytest.raises(UserError, match='of 31x31 pixels or more'):
        distance(x[:, :, :30], y[:, :, :30])


def test_backbones_have_the_levels_that_they_say():
    for backbone in (lpips.VGG16, lpips.ALEXNET):
        side = backbone.smallest
        x = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
        weights = lpips.abstract_weights(backbone)
        features = jax.eval_shape(lambda weights, x: lpips.extract_features(weights, x, backbone), weights, x)  # noqa: B023
        assert [each.shape[-1] for each in features] == list(backbone.widths)
        assert min(features[-1].shape[1:3]) == 1
