"""Discrepancies under polynomial kernels: known answers, the plain formula, and blocks of any size."""

import numpy as np
import pytest

from vdm_jax.config.ranges import RangeError
from vdm_jax.errors import UserError
from vdm_jax.evals.distances.kernel import JEDI, KVD, Kernel, KernelSums, jedi, kid, kvd, mmd

SQUARE = (np.array([[0, 0], [1, 0]]), np.array([[0, 1], [1, 1]]))
JEDI_SETS = (np.arange(1, 10).reshape(3, 3), np.array([[7, 6, 5], [4, 3, 2], [1, 1, 8], [0, 2, 5]]))


def plain(real, fake, kernel, unbiased):
    gamma = kernel.gamma or 1 / real.shape[1]

    def compute(x, y):
        return (gamma * x @ y.T + kernel.coef0) ** kernel.degree

    def within(x):
        matrix = compute(x, x)
        if not unbiased:
            return matrix.mean()
        return (matrix.sum() - matrix.trace()) / (len(x) * (len(x) - 1))

    return within(real) + within(fake) - 2 * compute(real, fake).mean()


def draw(num_real=40, num_fake=30, width=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_real, width)), rng.normal(size=(num_fake, width)) + 0.3


def test_the_known_answers():
    assert kvd(*SQUARE) == pytest.approx(1.1875, rel=1e-12)
    assert mmd(*SQUARE, KVD, unbiased=False) == pytest.approx(2.9375, rel=1e-12)
    assert jedi(*SQUARE) == pytest.approx(37.5, rel=1e-12)
    assert jedi(*JEDI_SETS) == pytest.approx(27072.22, abs=0.005)
    assert mmd(*JEDI_SETS, KVD, unbiased=False) == pytest.approx(23088.083, abs=0.0005)


@pytest.mark.parametrize('unbiased', [True, False])
@pytest.mark.parametrize('kernel', [KVD, JEDI, Kernel(1), Kernel(5, 0.2, -1.0), Kernel(4, 2.0, 0.0)])
def test_it_is_the_plain_formula(kernel, unbiased):
    real, fake = draw()
    expected = plain(real, fake, kernel, unbiased)
    assert mmd(real, fake, kernel, unbiased) == pytest.approx(expected, rel=1e-10)
    assert mmd(fake, real, kernel, unbiased) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize('block', [1, 7, 30, 39, 40, 1000])
@pytest.mark.parametrize('unbiased', [True, False])
def test_blocks_of_any_size_are_the_same(block, unbiased):
    real, fake = draw()
    expected = mmd(real, fake, KVD, unbiased)
    assert mmd(real, fake, KVD, unbiased, block=block) == pytest.approx(expected, rel=1e-11)


def test_features_far_from_0_keep_their_digits():
    """Products of 1e12, cubes of 1e36: in the plain formula nothing would be left; fractions are exact."""
    from fractions import Fraction

    real, fake = (1e6 + 1e-3 * features for features in draw(5, 4, 2))
    exact = [[[Fraction(value) for value in row] for row in rows.tolist()] for rows in (real, fake)]

    def total(x, y):
        values = [[(sum(a * b for a, b in zip(p, q, strict=True)) / 2 + 1) ** 3 for q in y] for p in x]
        return sum(map(sum, values)), sum(values[i][i] for i in range(min(len(x), len(y))))

    real_sum, real_trace = total(exact[0], exact[0])
    fake_sum, fake_trace = total(exact[1], exact[1])
    between, _ = total(*exact)
    expected = (real_sum - real_trace) / 20 + (fake_sum - fake_trace) / 12 - 2 * between / 20
    assert kvd(real, fake) == pytest.approx(float(expected), rel=1e-6)


def test_equal_sets_and_shuffles():
    real, fake = draw()
    assert mmd(real, real, unbiased=False) == pytest.approx(0, abs=1e-12)
    # Without the diagonal, two draws of one distribution are on either side of 0.
    assert kvd(real, real) < 0
    assert kvd(real, fake[::-1]) == pytest.approx(kvd(real, fake), rel=1e-10)


def test_an_unbiased_discrepancy_of_one_distribution_is_0_on_average():
    rng = np.random.default_rng(0)
    values = [kvd(rng.normal(size=(20, 3)), rng.normal(size=(15, 3))) for _ in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20


@pytest.mark.parametrize('dtype', ['float16', 'float32', 'uint8'])
def test_narrow_types_are_computed_in_float64(dtype):
    rng = np.random.default_rng(0)
    real, fake = (rng.integers(0, 250, (20, 4)) for _ in range(2))
    assert kvd(real.astype(dtype), fake.astype(dtype)) == pytest.approx(kvd(real, fake), rel=1e-12)


def test_kid_is_the_mean_over_the_subsets_of_torch_fidelity():
    real, fake = draw(50, 40)
    rng = np.random.RandomState(2020)
    values = []
    for _ in range(7):
        fake_rows = rng.choice(40, 10, replace=False)
        real_rows = rng.choice(50, 10, replace=False)
        values.append(plain(real[real_rows], fake[fake_rows], KVD, unbiased=True))
    mean, deviation = kid(real, fake, subsets=7, subset_size=10)
    assert mean == pytest.approx(np.mean(values), rel=1e-9)
    assert deviation == pytest.approx(np.std(values), rel=1e-9)


def test_subsets_of_all_clips_are_kvd():
    real, fake = draw(30, 30)
    mean, deviation = kid(real, fake, subsets=3, subset_size=30)
    assert mean == pytest.approx(kvd(real, fake), rel=1e-9)
    assert deviation == pytest.approx(0, abs=1e-12)


def test_sums_of_all_pairs_give_the_discrepancy_of_rows():
    real, fake = draw()
    rng = np.random.default_rng(1)
    for unbiased in (True, False):
        sums = KernelSums(real, fake, KVD, unbiased)
        real_rows = rng.permutation(40)[:13]
        fake_rows = rng.permutation(30)[:9]
        expected = mmd(real[real_rows], fake[fake_rows], KVD, unbiased)
        assert sums.mmd(real_rows, fake_rows) == pytest.approx(expected, rel=1e-9)
        assert sums.mmd(None, fake_rows) == pytest.approx(mmd(real, fake[fake_rows], KVD, unbiased), rel=1e-9)


@pytest.mark.parametrize('compute, message', [
    (lambda x: kvd(x[:1], x), 'real features: 1 clips; an unbiased discrepancy needs 2 or more'),
    (lambda x: kvd(x, x[:0]), 'fake features: 0 clips; an unbiased discrepancy needs 2 or more'),
    (lambda x: jedi(x, x[:0]), 'fake features: 0 clips; a discrepancy needs 1 or more'),
    (lambda x: kid(x, x), 'real features: 5 clips; a subset of 1000 needs 1000 or more'),
    (lambda x: kid(x, x, subsets=0, subset_size=2), 'subsets=0: want 1 or more'),
    (lambda x: kvd(x, np.full_like(x, np.nan)), 'fake features: 5 of 5 rows are not finite'),
])  # fmt: skip
def test_what_cannot_be_measured_is_refused(compute, message):
    with pytest.raises(UserError, match=message):
        compute(np.ones((5, 3)))


def test_kernels_that_overflow_are_refused():
    features = 1e38 * np.random.default_rng(0).normal(size=(5, 3))
    assert np.isfinite(kvd(features, 2 * features))
    with pytest.raises(UserError, match='too large for a kernel of this degree'):
        mmd(features, 2 * features, Kernel(degree=10))


def test_one_clip_has_a_biased_discrepancy():
    assert jedi(np.array([[2.0]]), np.array([[1.0]])) == pytest.approx(100 * (16 + 1 - 2 * 4))


@pytest.mark.parametrize('arguments', [{'degree': 0}, {'degree': 2.5}, {'gamma': 0.0}, {'coef0': float('nan')}])
def test_a_kernel_has_ranges(arguments):
    with pytest.raises(RangeError):
        Kernel(**arguments)


@pytest.mark.slow
def test_many_clips_take_no_matrix_of_all_pairs():
    import tracemalloc

    features = np.random.default_rng(0).normal(size=(20_000, 16)).astype(np.float32)
    tracemalloc.start()
    kvd(features, features[::-1])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20_000**2 * 8 / 50
