"""Features that no distance can be computed of are refused on one line, with what was found and what is wanted."""

import numpy as np
import pytest

from vdm_jax.errors import UserError
from vdm_jax.evals.distances.checks import as_features, as_pair, check_count


@pytest.mark.parametrize('features, message', [
    (np.zeros(3), r'shape \(3,\); want \(N, D\)'),
    (np.zeros((2, 3, 4)), r'shape \(2, 3, 4\); want \(N, D\)'),
    (np.zeros((2, 0)), r'shape \(2, 0\); want \(N, D\)'),
    (np.zeros((2, 3), complex), 'complex128; want floats or whole numbers'),
    (np.zeros((2, 3), bool), 'bool; want floats'),
    (np.full((2, 3), 'a'), 'want floats'),
    (np.full((2, 3), None), 'object; want floats'),
    (np.full((2, 3), 1e200), r'up to 1e\+200; want 1e\+40 or less'),
])  # fmt: skip
def test_other_arrays_are_refused(features, message):
    with pytest.raises(UserError, match=f'^fake features .*{message}'):
        as_features(features, 'fake features')


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('dtype', ['float16', 'float32', 'float64'])
def test_rows_that_are_not_finite_are_named(value, dtype):
    features = np.zeros((10, 3), dtype)
    features[[1, 2, 7], 1] = value
    message = r'^features: 3 of 10 rows are not finite \(nan or infinity\): number 1 to 2, 7$'
    with pytest.raises(UserError, match=message):
        as_features(features)


def test_lists_are_features():
    array = as_features([[1, 2], [3, 4]])
    assert array.dtype == np.float64
    assert array.shape == (2, 2)


def test_no_rows_are_features():
    assert as_features(np.zeros((0, 5), np.float16)).shape == (0, 5)


def test_pairs_are_of_one_width():
    with pytest.raises(UserError, match='real features are 400 wide, fake ones 2048'):
        as_pair(np.zeros((2, 400)), np.zeros((2, 2048)))


def test_enough_clips_pass_and_fewer_do_not():
    check_count(4, 4, 'a neighbour number 3')
    with pytest.raises(UserError, match='^features: 3 clips; a neighbour number 3 needs 4 or more$'):
        check_count(3, 4, 'a neighbour number 3')
