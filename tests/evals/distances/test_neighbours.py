"""Precision, recall, density and coverage: equal sets, far ones, copies, and the definitions row by row."""

import numpy as np
import pytest

from vdm_jax.errors import UserError
from vdm_jax.evals.distances.neighbours import compute_radii, density_coverage, precision_recall


def draw(num_real=40, num_fake=30, width=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_real, width)), 0.8 * rng.normal(size=(num_fake, width)) + 0.4


def squares(x, y):
    return np.square(x[:, np.newaxis] - y).sum(-1)


def radii(x, k):
    return np.sort(squares(x, x), axis=1)[:, k]


@pytest.mark.parametrize('offset', [0, 1e6])
@pytest.mark.parametrize('shape', [(40, 30, 5), (8, 90, 1), (120, 100, 64)])
def test_they_are_as_defined(shape, offset):
    real, fake = draw(*shape)
    real, fake = real + offset, fake + offset
    between = squares(fake, real)
    precision = (between <= radii(real, 3)).any(1).mean()
    recall = (between <= radii(fake, 3)[:, np.newaxis]).any(0).mean()
    assert precision_recall(real, fake) == (precision, recall)
    inside = between < radii(real, 5)
    assert density_coverage(real, fake) == (inside.sum() / (5 * len(fake)), inside.any(0).mean())


def test_a_row_counted_by_hand():
    """Published by others for k = 3: 7 16 19 0 17 beside 6 22 20 17 13."""
    real = np.array([[7], [16], [19], [0], [17]])
    fake = np.array([[6], [22], [20], [17], [13]])
    assert precision_recall(real, fake, k=3) == (1, 1)
    assert density_coverage(real, fake, k=3) == (pytest.approx(16 / 15), 1)


@pytest.mark.parametrize('offset, scale', [(0, 1), (1e6, 1e-3), (-1e8, 1), (0, 1e-12), (0, 1e12)])
@pytest.mark.parametrize('width', [1, 3, 400])
def test_equal_sets_have_1(offset, scale, width):
    real = offset + scale * np.random.default_rng(0).normal(size=(60, width))
    shuffled = np.random.default_rng(1).permutation(real)
    assert precision_recall(real, shuffled) == (1, 1)
    density, coverage = density_coverage(real, shuffled)
    # In one dimension 1e8 leaves numbers that are equally far apart.
    assert coverage == 1
    assert density == 1 or (width == 1 and density >= 0.9)


def test_sets_far_apart_have_0():
    real, fake = draw()
    assert precision_recall(real, fake + 1e3) == (0, 0)
    assert density_coverage(real, fake + 1e3) == (0, 0)
    assert precision_recall(real, 1e-9 * fake + 1e9) == (0, 0)


def test_copies_do_not_break_them():
    real = np.repeat(draw()[0], 8, axis=0)
    assert precision_recall(real, real) == (1, 1)
    density, coverage = density_coverage(real, real)
    assert (density, coverage) == (8 / 5, 1)
    constant = np.ones((20, 4))
    assert precision_recall(constant, constant) == (1, 1)
    assert precision_recall(constant, constant + 1e-9) == (0, 0)
    assert density_coverage(constant, constant + 1e-9) == (0, 0)


def test_one_clip_over_and_over_has_precision_without_recall():
    real, _ = draw(200)
    fake = np.repeat(real[:1], 50, axis=0)
    precision, recall = precision_recall(real, fake)
    assert precision == 1
    assert recall == 1 / 200
    assert density_coverage(real, fake)[1] < 0.1


@pytest.mark.parametrize('block', [1, 40, 100, 10**6])
def test_blocks_of_any_size_are_the_same(block):
    real, fake = draw()
    assert precision_recall(real, fake, block=block) == precision_recall(real, fake)
    assert density_coverage(real, fake, block=block) == density_coverage(real, fake)


def test_radii_are_exact_where_products_of_matrices_cancel():
    rng = np.random.default_rng(0)
    # Pairs 1e-9 apart in a cloud of size 1: squares of 1e-18 by terms of 1.
    features = np.repeat(rng.normal(size=(30, 8)), 2, axis=0)
    features[1::2] += 1e-9 * rng.normal(size=(30, 8))
    np.testing.assert_array_equal(compute_radii(features, 1), radii(features, 1))
    np.testing.assert_allclose(compute_radii(features, 4), radii(features, 4), rtol=1e-15)


@pytest.mark.parametrize('dtype', ['float16', 'float32', 'uint8'])
def test_narrow_types_are_computed_in_float64(dtype):
    rng = np.random.default_rng(0)
    real, fake = (rng.integers(0, 250, (30, 3)) for _ in range(2))
    assert precision_recall(real.astype(dtype), fake.astype(dtype)) == precision_recall(real, fake)


@pytest.mark.parametrize('compute, message', [
    (lambda x: precision_recall(x[:3], x), 'real features: 3 clips; a neighbour number 3 needs 4 or more'),
    (lambda x: precision_recall(x, x[:3]), 'fake features: 3 clips; a neighbour number 3 needs 4 or more'),
    (lambda x: density_coverage(x[:5], x), 'real features: 5 clips; a neighbour number 5 needs 6 or more'),
    (lambda x: density_coverage(x, x[:0]), 'fake features: 0 clips; a neighbour number 5 needs 6 or more'),
    (lambda x: density_coverage(x, x, k=0), 'k=0: want 1 or more'),
    (lambda x: precision_recall(x, x[:, :2]), 'real features are 3 wide, fake ones 2'),
    (lambda x: precision_recall(x, np.full_like(x, np.inf)), 'fake features: 9 of 9 rows are not finite'),
])  # fmt: skip
def test_what_cannot_be_measured_is_refused(compute, message):
    with pytest.raises(UserError, match=message):
        compute(np.ones((9, 3)))
