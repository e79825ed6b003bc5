"""Resizes: each convention by its formula, by hand and in numpy; tests/parity/test_features.py has PyTorch's."""

import numpy as np
import pytest

from vdm_jax.errors import UserError
from vdm_jax.evals.features.resize import resize_bilinear

RAMP = np.array([[0, 10, 20, 30]], np.float32)[..., None]


def resize(x, height, width, method):
    return np.asarray(resize_bilinear(x, height, width, method))


def sample(x, height, width, position):
    """Bilinear samples at position(output pixel, size, new size), pixel by pixel."""
    rows, columns, _ = x.shape
    out = np.empty((height, width, x.shape[2]))
    for i in range(height):
        for j in range(width):
            y = min(max(position(i, rows, height), 0), rows - 1)
            z = min(max(position(j, columns, width), 0), columns - 1)
            top, left = int(y), int(z)
            bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            above = x[top, left] * (1 - (z - left)) + x[top, right] * (z - left)
            below = x[bottom, left] * (1 - (z - left)) + x[bottom, right] * (z - left)
            out[i, j] = above * (1 - (y - top)) + below * (y - top)
    return out


POSITIONS = {
    'tf_legacy': lambda pixel, size, new: pixel * size / new,
    'half_pixel': lambda pixel, size, new: (pixel + 0.5) * size / new - 0.5,
    'align_corners': lambda pixel, size, new: pixel * (size - 1) / max(new - 1, 1),
}


@pytest.mark.parametrize('method, row', [
    ('tf_legacy', [0, 5, 10, 15, 20, 25, 30, 30]),
    ('half_pixel', [0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30]),
    ('align_corners', [30 * i / 7 for i in range(8)]),
])  # fmt: skip
def test_a_row_twice_as_wide_by_hand(method, row):
    np.testing.assert_allclose(resize(RAMP, 1, 8, method)[0, :, 0], row, rtol=1e-6)


@pytest.mark.parametrize('method, row', [('tf_legacy', [0, 20]), ('half_pixel', [5, 25]), ('align_corners', [0, 30])])
def test_a_row_half_as_wide_by_hand(method, row):
    np.testing.assert_allclose(resize(RAMP, 1, 2, method)[0, :, 0], row, rtol=1e-6)


@pytest.mark.parametrize('method', POSITIONS)
@pytest.mark.parametrize('old, new', [((5, 7), (11, 3)), ((1, 3), (4, 8)), ((13, 9), (1, 2)), ((6, 4), (6, 9))])
def test_every_pixel_is_where_the_formula_says(method, old, new):
    x = np.random.default_rng(0).uniform(0, 255, (*old, 2)).astype(np.float32)
    np.testing.assert_allclose(resize(x, *new, method), sample(x, *new, POSITIONS[method]), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize('method', POSITIONS)
def test_frames_stay_apart_and_what_fits_is_untouched(method):
    x = np.random.default_rng(0).uniform(0, 255, (2, 3, 6, 4, 1)).astype(np.float32)
    resized = resize(x, 9, 5, method)
    assert resized.shape == (2, 3, 9, 5, 1)
    np.testing.assert_allclose(resized[1, 2], resize(x[1, 2], 9, 5, method), rtol=1e-6)
    np.testing.assert_array_equal(resize(x, 6, 4, method), x)
    # Weights of a pixel sum to 1: a constant picture stays what it is.
    np.testing.assert_allclose(resize(np.full((3, 5, 1), 7, np.float32), 8, 4, method), 7, rtol=1e-6)


def test_the_conventions_differ():
    x = np.random.default_rng(0).uniform(0, 255, (16, 16, 1)).astype(np.float32)
    one, two, three = (resize(x, 56, 56, method) for method in POSITIONS)
    assert min(np.abs(one - two).mean(), np.abs(one - three).mean(), np.abs(two - three).mean()) > 1


def test_what_is_no_resize_is_refused():
    with pytest.raises(UserError, match='resize=bicubic: want tf_legacy, half_pixel or align_corners'):
        resize(RAMP, 1, 8, 'bicubic')
    with pytest.raises(UserError, match='frames of 0x4 pixels cannot become 2x2'):
        resize(RAMP[:0], 2, 2, 'half_pixel')
