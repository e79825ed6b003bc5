"""Every distance by its name: what it measures, needs, and refuses."""

import dataclasses

import numpy as np
import pytest

from vdm_jax.config.ranges import RangeError
from vdm_jax.errors import UserError
from vdm_jax.evals.distances.bootstrap import interval
from vdm_jax.evals.distances.frechet import frechet_distance
from vdm_jax.evals.distances.table import DISTANCES, Frechet, InceptionScore, Kid

SMALL = {'kid': Kid(subsets=3, subset_size=10)}
EVERY = pytest.mark.parametrize('name', DISTANCES)


def make(name):
    return SMALL.get(name) or DISTANCES[name]()


def draw(count=30, width=4):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, width)), rng.normal(size=(count, width)) + 0.2


@EVERY
def test_figures_are_plain_finite_numbers(name):
    figures = make(name).measure(*draw())
    assert figures
    for figure, value in figures.items():
        assert type(figure) is str
        assert type(value) is float
        assert np.isfinite(value)


@EVERY
def test_it_measures_as_many_clips_as_it_says_it_needs_and_no_fewer(name):
    distance = make(name)
    real, fake = draw(distance.num_needed)
    distance.measure(real, fake)
    message = f'{distance.num_needed - 1} clips; {distance.reason} needs {distance.num_needed} or more'
    with pytest.raises(UserError, match=message):
        distance.measure(real, fake[1:])
    if distance.needs_real:
        with pytest.raises(UserError, match=message):
            distance.measure(real[1:], fake)


@EVERY
def test_real_clips_are_asked_for_where_they_are_needed(name):
    distance = make(name)
    real, fake = draw()
    if not distance.needs_real:
        assert distance.measure(None, fake) == distance.measure(real, fake)
        return
    with pytest.raises(UserError, match='real features are not there'):
        distance.measure(None, fake)


@EVERY
def test_its_intervals_are_about_its_figures(name):
    distance = make(name)
    real, fake = draw()
    figures = distance.measure(real, fake)
    statistics = distance.statistics()
    assert set(statistics) == {figure for figure in figures if not figure.endswith('_std')}
    for figure, statistic in statistics.items():
        result = interval(statistic, real if distance.needs_real else None, fake, 8)
        assert statistic.least <= result.low <= result.high <= statistic.greatest
        if name != 'kid':
            assert result.score == pytest.approx(figures[figure], rel=1e-6)


@EVERY
def test_what_is_not_finite_is_refused(name):
    real, fake = draw()
    fake[3, 1] = np.nan
    with pytest.raises(UserError, match='1 of 30 rows are not finite .*: number 3$'):
        make(name).measure(real, fake)


@EVERY
def test_its_fields_have_ranges(name):
    for field in dataclasses.fields(DISTANCES[name]):
        with pytest.raises(RangeError, match=rf'^distance.{field.name}=-7'):
            DISTANCES[name](**{field.name: -7})


def test_parameters_reach_the_measure():
    real, fake = draw()
    assert Frechet('n').measure(real, fake) == {'frechet': frechet_distance(real, fake, 'n')}
    assert Frechet('n').measure(real, fake) != Frechet().measure(real, fake)
    uniform = np.full((20, 5), 0.2)
    score = InceptionScore(values='probabilities', splits=4, seed=None).measure(None, uniform)
    assert score['inception_score'] == pytest.approx(1)


def test_intervals_end_where_a_figure_does():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(37, 23))
    for fake in (rng.normal(size=(41, 23)), real[:18], 1000 + real):
        for name in ('precision_recall', 'density_coverage'):
            for figure, statistic in DISTANCES[name]().statistics().items():
                estimate = interval(statistic, real, fake, rounds=20)
                assert 0 <= estimate.score_low <= estimate.score_high, figure
                assert estimate.score_high <= (np.inf if figure == 'density' else 1), figure
