"""A thinned curve has every peak of the curve."""

import numpy as np
import pytest

from tests import seeds
from vdm_jax.report.thinning import average_curve, spread_evenly, thin_curve


@pytest.mark.parametrize('count', [1, 99, 100, 101, 100_000])
def test_extremes_and_ends_stay(count):
    draw = seeds.generator()
    x = np.sort(draw.random(count))
    y = draw.standard_normal(count)
    y[draw.integers(count)] = 1e6
    y[draw.integers(count)] = -1e6
    thin_x, thin_y = thin_curve(x, y, 100)
    assert len(thin_x) == len(thin_y) <= 100 and len(thin_x) == min(count, len(thin_x))
    assert thin_y.max() == y.max() and thin_y.min() == y.min()
    assert (thin_x[0], thin_y[0]) == (x[0], y[0]) and (thin_x[-1], thin_y[-1]) == (x[-1], y[-1])
    assert (np.diff(thin_x) >= 0).all()
    assert set(zip(thin_x, thin_y, strict=True)) <= set(zip(x, y, strict=True))


def test_a_spike_in_each_part_stays():
    y = np.zeros(10_000)
    spikes = np.arange(50, 10_000, 100)
    y[spikes] = 1
    _, thin_y = thin_curve(np.arange(10_000.0), y, 400)
    assert thin_y.sum() == len(spikes)


def test_means_of_buckets_are_means():
    x = np.arange(1000.0)
    mean_x, mean_y = average_curve(x, x**2, 10)
    assert mean_x.tolist() == [100 * i + 49.5 for i in range(10)]
    np.testing.assert_allclose(mean_y, [(x[100 * i : 100 * i + 100] ** 2).mean() for i in range(10)])
    assert average_curve(x, x, 1000)[0] is x


@pytest.mark.parametrize('count, limit', [(0, 4), (1, 4), (5, 4), (1000, 40)])
def test_numbers_are_spread_evenly(count, limit):
    numbers = spread_evenly(count, limit)
    assert len(numbers) == min(count, limit)
    if count:
        assert numbers[0] == 0 and numbers[-1] == count - 1
        assert max(np.diff(numbers), default=0) <= count / limit + 2
