"""Mean and scatter: numpy's, however the rows are batched and wherever they lie."""

import numpy as np
import pytest

from tests.seeds import generator
from vdm_jax.errors import UserError
from vdm_jax.evals.distances.moments import Moments


def draw(count, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)) @ rng.normal(size=(width, width)) + 3


def stream(features, size):
    moments = Moments.of(features[:0])
    for begin in range(0, len(features), size):
        moments = moments.merge(Moments.of(features[begin : begin + size]))
    return moments


def assert_equal(actual, expected, rtol):
    assert actual.count == expected.count
    np.testing.assert_allclose(actual.mean, expected.mean, rtol=rtol)
    error = np.abs(actual.scatter - expected.scatter).max()
    assert error <= rtol * np.abs(expected.scatter).max()


def test_moments_are_those_of_numpy():
    features = draw(50, 7)
    moments = Moments.of(features)
    np.testing.assert_allclose(moments.mean, features.mean(0), rtol=1e-13)
    np.testing.assert_allclose(moments.covariance('n-1'), np.cov(features.T), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance('n'), np.cov(features.T, bias=True), rtol=1e-12)


@pytest.mark.parametrize('size', [1, 2, 7, 64, 199, 200, 1000])
def test_batches_of_any_size_are_one_shot(size):
    features = draw(200, 30)
    assert_equal(stream(features, size), Moments.of(features), 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize('size', [1, 3, 64, 1000, 2047])
def test_batches_of_2048_clips_of_a_real_width_are_one_shot(size):
    features = draw(2048, 400)
    assert_equal(stream(features, size), Moments.of(features), 1e-10)


def test_sets_merge_in_any_order():
    rng = generator()
    parts = np.split(rng.normal(size=(100, 5)), np.sort(rng.integers(0, 101, 6)))
    expected = Moments.of(np.concatenate(parts))
    merged = Moments.of(np.zeros((0, 5)))
    for index in rng.permutation(len(parts)):
        merged = Moments.of(parts[index]).merge(merged)
    assert merged.count == 100
    np.testing.assert_allclose(merged.mean, expected.mean, atol=1e-13)
    np.testing.assert_allclose(merged.scatter, expected.scatter, atol=1e-11)


def test_features_far_from_0_keep_their_digits():
    spread = 1e-3 * draw(500, 12, seed=1)
    # What float64 makes of the sum is the input; its own deviations are the truth.
    features = 1e6 + spread
    deviations = features - 1e6
    expected = np.cov(deviations.T)
    np.testing.assert_allclose(Moments.of(features).covariance('n-1'), expected, rtol=1e-9)
    np.testing.assert_allclose(stream(features, 7).covariance('n-1'), expected, rtol=1e-6, atol=1e-9 * expected.max())


@pytest.mark.parametrize('dtype', ['float16', 'float32', 'int8', 'uint8', 'int64', '>f4'])
def test_narrow_types_are_computed_in_float64(dtype):
    features = np.random.default_rng(0).integers(0, 100, (40, 3)).astype(dtype)
    moments = Moments.of(features)
    assert moments.mean.dtype == moments.scatter.dtype == np.float64
    np.testing.assert_allclose(moments.covariance('n-1'), np.cov(features.T.astype(float)), rtol=1e-12)


def test_arrays_of_a_file_are_the_same_moments(tmp_path):
    moments = Moments.of(draw(9, 4))
    np.savez(tmp_path / 'moments.npz', **moments.to_arrays())
    with np.load(tmp_path / 'moments.npz') as arrays:
        again = Moments.from_arrays(arrays)
    assert again.count == 9
    np.testing.assert_array_equal(again.mean, moments.mean)
    np.testing.assert_array_equal(again.scatter, moments.scatter)


@pytest.mark.parametrize('change, message', [
    ({'count': None}, 'no count among mean, scatter'),
    ({'count': np.float64(9)}, 'count is 9.0; want a whole number'),
    ({'count': np.int64(-1)}, 'count is -1; want a whole number'),
    ({'count': np.arange(2)}, r'count \(2,\), mean \(4,\), scatter \(4, 4\); want'),
    ({'mean': np.zeros(3)}, r'mean \(3,\), scatter \(4, 4\); want'),
    ({'mean': np.full(4, np.nan)}, 'mean: 1 of 1 rows are not finite'),
    ({'scatter': np.full((4, 4), np.inf)}, 'scatter is not finite'),
    ({'scatter': np.triu(np.ones((4, 4)))}, 'scatter is not symmetric'),
    ({'scatter': -np.eye(4)}, 'negative diagonal'),
])  # fmt: skip
def test_a_file_of_something_else_is_refused(change, message):
    arrays = {name: array for name, array in (Moments.of(draw(9, 4)).to_arrays() | change).items() if array is not None}
    with pytest.raises(UserError, match=f'^stats.npz: .*{message}'):
        Moments.from_arrays(arrays, 'stats.npz')


def test_one_row_has_no_covariance():
    with pytest.raises(UserError, match='1 clips; a covariance needs 2 or more'):
        Moments.of(np.ones((1, 3))).covariance('n')


def test_widths_that_differ_do_not_merge():
    with pytest.raises(UserError, match='features are 3 wide, further ones 4'):
        Moments.of(np.ones((2, 3))).merge(Moments.of(np.ones((2, 4))))
