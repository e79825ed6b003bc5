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
