"""The Fréchet distance: published answers, scipy's square roots, and sets of fewer clips than features."""

import numpy as np
import pytest
import scipy.linalg

from tests.seeds import generator
from vdm_jax.errors import UserError
from vdm_jax.evals.distances.frechet import combine, frechet_distance, frechet_of_moments, spectrum_of
from vdm_jax.evals.distances.moments import Moments

SIZES = [(300, 300, 20), (15, 300, 20), (300, 15, 20), (15, 10, 20), (20, 20, 20), (21, 21, 20), (2, 2, 20), (50, 9, 1)]


def draw(num_real, num_fake, width, seed=0):
    """Two sets of unlike covariance and mean."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(width, width))
    real = rng.normal(size=(num_real, width)) @ mixing
    fake = 1.3 * rng.normal(size=(num_fake, width)) @ mixing + rng.normal(size=width)
    return real, fake


def of_moments(real, fake, divisor='n-1', root='exact'):
    return frechet_of_moments(Moments.of(real), Moments.of(fake), divisor, root)


def with_scipy(real, fake, ddof=1):
    real_covariance = np.atleast_2d(np.cov(real.T, ddof=ddof))
    fake_covariance = np.atleast_2d(np.cov(fake.T, ddof=ddof))
    difference = real.mean(0) - fake.mean(0)
    root = scipy.linalg.sqrtm(real_covariance @ fake_covariance).real
    return difference @ difference + np.trace(real_covariance + fake_covariance - 2 * root)


COMPUTE = pytest.mark.parametrize('compute', [frechet_distance, of_moments])


def rows_with(mean, covariance):
    """Rows whose moments are exactly these, with the divisor n."""
    width = len(covariance)
    root = np.linalg.cholesky(covariance) * np.sqrt(width)
    return np.concatenate([root.T, -root.T]) + mean


@COMPUTE
def test_the_published_answers(compute):
    square = np.array([[2.0, 1], [1, 2]])
    distance = compute(rows_with(0, square), rows_with(0, np.diag([1.0, 3])), divisor='n')
    assert distance == pytest.approx(8 - 2 * 14**0.5, rel=1e-12)
    assert distance == pytest.approx(0.5166852, rel=1e-6)


def test_means_that_differ_by_1_in_2048_dimensions():
    assert combine(np.ones(2048), np.ones((1, 2048)), np.ones((1, 2048))) == pytest.approx(2048, rel=1e-12)


@pytest.mark.slow
@COMPUTE
def test_unit_covariances_in_2048_dimensions(compute):
    rows = rows_with(0, np.eye(2048))
    assert compute(rows, rows + 1, divisor='n') == pytest.approx(2048, rel=1e-9)


@COMPUTE
def test_sets_without_variance_have_the_distance_of_their_means(compute):
    assert compute(np.zeros((3, 4)), np.full((5, 4), 2.0)) == 16
    real = np.random.default_rng(0).normal(size=(30, 4))
    trace = np.cov(real.T).trace()
    assert compute(real, np.zeros((5, 4))) == pytest.approx(np.square(real.mean(0)).sum() + trace, rel=1e-12)


@COMPUTE
@pytest.mark.parametrize('divisor, ddof', [('n', 0), ('n-1', 1)])
def test_it_is_that_of_scipy_where_covariances_are_regular(compute, divisor, ddof):
    real, fake = draw(300, 200, 20)
    assert compute(real, fake, divisor) == pytest.approx(with_scipy(real, fake, ddof), rel=1e-8)


@pytest.mark.parametrize('num_real, num_fake, width', SIZES)
def test_arrays_and_moments_agree(num_real, num_fake, width):
    real, fake = draw(num_real, num_fake, width)
    for divisor in ('n', 'n-1'):
        distance = frechet_distance(real, fake, divisor)
        assert of_moments(real, fake, divisor) == pytest.approx(distance, rel=1e-8)


def test_singular_covariances_are_exact():
    """Two clips a set span a line each; of lines the root is |cos| of their angle, and here it is 0.6."""
    real = np.array([[1.0, 0, 0], [-1, 0, 0]])
    fake = np.array([[0.6, 0.8, 0], [-0.6, -0.8, 0]])
    for compute in (frechet_distance, of_moments):
        assert compute(real, fake, divisor='n') == pytest.approx(1 + 1 - 2 * 0.6, rel=1e-14)
        assert compute(real, fake, divisor='n-1') == pytest.approx(2 * (1 + 1 - 2 * 0.6), rel=1e-14)


@COMPUTE
@pytest.mark.parametrize('num_real, num_fake, width', SIZES)
def test_it_is_symmetric_and_0_for_equal_sets(compute, num_real, num_fake, width):
    real, fake = draw(num_real, num_fake, width)
    assert compute(real, fake) == pytest.approx(compute(fake, real), rel=1e-9)
    trace = np.square(real - real.mean(0)).sum()
    assert 0 <= compute(real, real) < 1e-9 * trace
    assert 0 <= compute(real, real[::-1]) < 1e-9 * trace


@COMPUTE
@pytest.mark.parametrize('num_real, num_fake, width', [(300, 200, 20), (15, 10, 20)])
def test_rotations_and_shifts_of_both_leave_it(compute, num_real, num_fake, width):
    rng = generator()
    real, fake = draw(num_real, num_fake, width)
    rotation = np.linalg.qr(rng.normal(size=(width, width)))[0]
    shift = rng.normal(size=width)
    assert compute(real @ rotation + shift, fake @ rotation + shift) == pytest.approx(compute(real, fake), rel=1e-8)
    assert compute(3 * real, 3 * fake) == pytest.approx(9 * compute(real, fake), rel=1e-8)


@COMPUTE
def test_it_is_never_negative(compute):
    rng = generator()
    for _ in range(20):
        features = rng.normal(size=(rng.integers(2, 40), rng.integers(1, 30))) * 10.0 ** rng.integers(-6, 6)
        assert compute(features, features * (1 + 1e-15)) >= 0


@COMPUTE
def test_features_far_from_0_keep_their_digits(compute):
    real = 1e6 + 1e-3 * np.random.default_rng(0).normal(size=(200, 10))
    fake = 1e6 + 2e-3 * np.random.default_rng(1).normal(size=(200, 10))
    assert compute(real, fake) == pytest.approx(frechet_distance(real - 1e6, fake - 1e6), rel=1e-6)


@COMPUTE
@pytest.mark.parametrize('dtype', ['float16', 'float32', 'int16'])
def test_narrow_types_are_computed_in_float64(compute, dtype):
    real, fake = (np.round(10 * features).clip(-900, 900) for features in draw(100, 90, 8))
    assert compute(real.astype(dtype), fake.astype(dtype)) == pytest.approx(compute(real, fake), rel=1e-12)


@COMPUTE
def test_directions_of_almost_no_variance_do_not_break_it(compute):
    scales = 10.0 ** -np.arange(0, 24)
    rng = np.random.default_rng(0)
    real = rng.normal(size=(100, 24)) * scales
    fake = 2 * rng.normal(size=(100, 24)) * scales
    # All but the first few hardly matter.
    assert compute(real, fake) == pytest.approx(frechet_distance(real[:, :8], fake[:, :8]), rel=1e-7)


@COMPUTE
@pytest.mark.parametrize('real, fake, message', [
    ((1, 3), (5, 3), 'real features: 1 clips; a covariance needs 2 or more'),
    ((5, 3), (0, 3), 'fake features: 0 clips; a covariance needs 2 or more'),
    ((5, 3), (5, 4), 'real features are 3 wide, fake ones 4'),
])  # fmt: skip
def test_too_few_clips_and_other_widths_are_refused(compute, real, fake, message):
    with pytest.raises(UserError, match=message):
        compute(np.zeros(real), np.zeros(fake))


def test_rows_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match='fake features: 1 of 5 rows are not finite .*: number 4$'):
        frechet_distance(np.zeros((5, 3)), np.vstack([np.zeros((4, 3)), [0, np.nan, 0]]))


def with_tfgan(real, fake):
    def take_root(matrix):
        left, values, right = np.linalg.svd(matrix)
        return (left * np.where(values < 1e-10, values, np.sqrt(values))) @ right

    root = take_root(np.cov(real.T))
    cross = take_root(root @ np.cov(fake.T) @ root).trace()
    trace = np.cov(real.T).trace() + np.cov(fake.T).trace() - 2 * cross
    return np.square(real.mean(0) - fake.mean(0)).sum() + trace


@COMPUTE
@pytest.mark.parametrize('scale, differs', [(1, False), (1e-2, True), (1e-5, True)])
def test_the_root_of_tfgan_is_another_number_where_features_hardly_vary(compute, scale, differs):
    real, fake = (scale * features for features in draw(100, 90, 10))
    distance = compute(real, fake, root='tfgan')
    assert distance == pytest.approx(with_tfgan(real, fake), rel=1e-6)
    assert (distance > 1.001 * compute(real, fake)) == differs


@COMPUTE
def test_the_root_of_tfgan_is_the_same_number_where_covariances_are_singular(compute):
    real, fake = draw(9, 8, 20)
    assert compute(real, fake, root='tfgan') == pytest.approx(compute(real, fake), rel=1e-9)


def test_the_spectrum_is_that_of_the_covariance():
    real, _ = draw(15, 2, 20)
    values = spectrum_of(Moments.of(real))
    assert values.shape == (20,)
    assert values.min() >= 0
    assert (values > 1e-10).sum() == 14
    assert values.sum() == pytest.approx(np.cov(real.T).trace())
