"""The inception score: from 1 for samples that are all alike to the number of classes."""

import numpy as np
import pytest
import scipy.stats

from vdm_jax.errors import UserError
from vdm_jax.evals.distances.inception_score import score_of_logits, score_of_probabilities


@pytest.mark.parametrize('classes', [1, 2, 101])
def test_uniform_samples_have_1(classes):
    assert score_of_logits(np.full((50, classes), 3.0)) == pytest.approx((1, 0), abs=1e-12)
    assert score_of_probabilities(np.full((50, classes), 1 / classes)) == pytest.approx((1, 0), abs=1e-12)


@pytest.mark.parametrize('classes', [1, 2, 101])
def test_one_class_each_and_all_as_frequent_has_the_number_of_classes(classes):
    one_hot = np.tile(np.eye(classes), (10, 1))
    # In their own order each split has every class once.
    assert score_of_probabilities(one_hot, seed=None) == pytest.approx((classes, 0), abs=1e-9)
    assert score_of_logits(1e4 * one_hot, seed=None) == pytest.approx((classes, 0), abs=1e-9)
    assert score_of_probabilities(one_hot, splits=1) == pytest.approx((classes, 0), abs=1e-9)


def test_samples_of_one_class_have_1():
    assert score_of_probabilities(np.eye(7)[np.zeros(30, int)]) == pytest.approx((1, 0), abs=1e-12)


def test_it_is_the_formula_over_shuffled_splits():
    logits = 3 * np.random.default_rng(0).normal(size=(53, 8))
    shuffled = logits.copy()
    np.random.RandomState(42).shuffle(shuffled)
    probabilities = np.exp(shuffled) / np.exp(shuffled).sum(1, keepdims=True)
    scores = []
    for index in range(10):
        part = probabilities[index * 53 // 10 : (index + 1) * 53 // 10]
        scores.append(np.exp(np.mean([scipy.stats.entropy(row, part.mean(0)) for row in part])))
    assert score_of_logits(logits) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-12)


def test_logits_and_their_probabilities_agree():
    logits = 5 * np.random.default_rng(0).normal(size=(40, 6))
    probabilities = scipy.special.softmax(logits, axis=1)
    assert score_of_probabilities(probabilities) == pytest.approx(score_of_logits(logits), rel=1e-12)
    assert score_of_logits(logits + 1e6) == pytest.approx(score_of_logits(logits), rel=1e-6)


@pytest.mark.parametrize('dtype', ['float16', 'float32'])
def test_narrow_types_are_computed_in_float64(dtype):
    probabilities = scipy.special.softmax(np.random.default_rng(0).normal(size=(40, 101)), axis=1)
    expected = score_of_probabilities(probabilities)
    assert score_of_probabilities(probabilities.astype(dtype)) == pytest.approx(expected, rel=2e-3, abs=2e-3)
    huge = np.full((20, 3), 6e4, 'float16')
    assert score_of_logits(huge) == pytest.approx((1, 0), abs=1e-12)


@pytest.mark.parametrize('values, message', [
    (np.zeros((20, 4)), 'probabilities: 20 of 20 rows are no distribution; row 0 is 0 or more, with a sum of 0'),
    (np.tile([1.5, -0.5], (20, 1)), 'row 0 is -0.5 or more, with a sum of 1'),
    (np.eye(4), 'class probabilities: 4 clips; a score over 10 splits needs 10 or more'),
    (np.full((20, 2), np.nan), '20 of 20 rows are not finite'),
])  # fmt: skip
def test_what_is_no_distribution_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        score_of_probabilities(values)


def test_no_splits_are_refused():
    with pytest.raises(UserError, match='splits=0: want 1 or more'):
        score_of_logits(np.zeros((5, 2)), splits=0)
