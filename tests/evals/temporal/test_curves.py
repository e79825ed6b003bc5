"""Curves: means, errors, slopes and their intervals, with and without values that are missing."""

import json

import numpy as np
import pytest
from scipy import stats

from vdm_jax.evals.temporal.curves import Curve


def test_a_line_has_its_slope_per_frame():
    curve = Curve('line', np.array([[1.0, 3, 5], [2, 4, 6]]), first_frame=1, stride=2)
    assert curve.frames.tolist() == [1, 3, 5]
    assert curve.mean.tolist() == [1.5, 3.5, 5.5]
    assert curve.average == 3.5 and curve.slope == pytest.approx(1)
    assert curve.slope_interval == pytest.approx((1, 1))


def test_errors_and_intervals_are_student_s():
    values = np.random.default_rng(0).normal(size=(9, 6))
    curve = Curve('noise', values)
    np.testing.assert_allclose(curve.error, stats.sem(values, axis=0))
    slopes = np.array([stats.linregress(np.arange(6), row).slope for row in values])
    np.testing.assert_allclose(curve.clip_slopes, slopes)
    assert curve.slope == pytest.approx(stats.linregress(np.arange(6), values.mean(0)).slope)
    assert curve.slope_interval == pytest.approx(stats.t.interval(0.95, 8, slopes.mean(), stats.sem(slopes)))


def test_intervals_hold_the_true_slope_19_times_in_20():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        noise = rng.normal(size=(6, 5)) + rng.normal(0, 0.3, (6, 1)) * np.arange(5)
        low, high = Curve('drift', noise + 0.2 * np.arange(5)).slope_interval
        hits += low <= 0.2 <= high
    assert 0.92 <= hits / 400 <= 0.98


def test_what_is_missing_is_left_out():
    curve = Curve('gaps', np.array([[1, np.nan, 3], [2, 4, np.nan], [np.nan] * 3]))
    assert curve.mean.tolist() == [1.5, 4, 3]
    assert curve.clip_slopes[:2].tolist() == [1, 2] and np.isnan(curve.clip_slopes[2])
    assert curve.average == 2.5 and curve.slope == 1.5
    np.testing.assert_allclose(curve.error, [0.5, np.nan, np.nan])


@pytest.mark.parametrize('shape', [(1, 4), (3, 1), (1, 0)])
def test_what_cannot_be_said_is_none_in_json(shape):
    values = Curve('few', np.ones(shape)).to_json()
    json.dumps(values, allow_nan=False)
    assert values['slope_interval'] == [None, None]
    assert len(values['mean']) == shape[1] and values['clips'] == shape[0]
    assert values['average'] == (1 if shape[1] else None)
