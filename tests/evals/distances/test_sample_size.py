"""The floor under a Fréchet distance: what two samples of one normal distribution score."""

import numpy as np
import pytest

from vdm_jax.errors import UserError
from vdm_jax.evals.distances.frechet import frechet_distance
from vdm_jax.evals.distances.sample_size import first_order_floor, nuclear_norm, sample_size_floor


@pytest.mark.parametrize('count, expected', [(256, 302), (512, 158), (1024, 79.0), (2048, 39.4), (10_000, 8.1)])
def test_the_known_floors_of_400_features(count, expected):
    """Known answers are single draws, of 256 clips 1.5 off at one standard deviation; the expectation there is 299."""
    floor = sample_size_floor(np.ones(400), count, count, rounds=2)
    assert floor.mean == pytest.approx(expected, rel=0.02)
    assert floor.standard_error < 0.02 * floor.mean


@pytest.mark.parametrize('divisor', ['n', 'n-1'])
@pytest.mark.parametrize('num_real, num_fake', [(10, 10), (10, 60), (60, 10), (40, 60), (16, 17)])
def test_it_is_what_samples_score(num_real, num_fake, divisor):
    rng = np.random.default_rng(0)
    spectrum = np.exp(-np.arange(16) / 4)
    distances = []
    for _ in range(300):
        real = rng.normal(size=(num_real, 16)) * np.sqrt(spectrum)
        fake = rng.normal(size=(num_fake, 16)) * np.sqrt(spectrum)
        distances.append(frechet_distance(real, fake, divisor))
    floor = sample_size_floor(spectrum, num_real, num_fake, divisor, rounds=300)
    error = np.hypot(floor.standard_error, np.std(distances) / 300**0.5)
    assert abs(floor.mean - np.mean(distances)) < 4 * error
    assert error < 0.03 * floor.mean


def test_the_first_order_of_the_identity():
    expected = 2 * 400 / 2048 + (400**2 + 400) / (2 * 2047)
    assert first_order_floor(np.ones(400), 2048, 2048) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('decay', [0, 1 / 16, 1 / 2])
@pytest.mark.parametrize('num_real, num_fake', [(60, 60), (200, 200), (200, 800)])
def test_the_first_order_is_near_where_there_are_more_clips_than_features(decay, num_real, num_fake):
    floor = sample_size_floor(np.exp(-decay * np.arange(40)), num_real, num_fake, rounds=60)
    tolerance = 0.015 if num_real == num_fake else 0.03
    assert floor.first_order == pytest.approx(floor.mean, rel=tolerance, abs=4 * floor.standard_error)


def test_directions_without_variance_add_nothing():
    values = np.array([3.0, 2, 1])
    padded = np.concatenate([values, np.zeros(4)])
    assert first_order_floor(padded, 20, 30) == pytest.approx(first_order_floor(values, 20, 30))
    a = sample_size_floor(values, 20, 30, rounds=200)
    b = sample_size_floor(padded, 20, 30, rounds=200)
    assert a.mean == pytest.approx(b.mean, abs=5 * np.hypot(a.standard_error, b.standard_error))
    assert sample_size_floor(np.zeros(3), 5, 5).mean == 0


def test_it_is_repeatable_and_scales():
    values = np.arange(1.0, 9)
    floor = sample_size_floor(values, 30, 20, seed=3)
    assert floor == sample_size_floor(values, 30, 20, seed=3)
    assert floor.mean != sample_size_floor(values, 30, 20, seed=4).mean
    assert sample_size_floor(5 * values, 30, 20, seed=3).mean == pytest.approx(5 * floor.mean, rel=1e-9)


@pytest.mark.slow
def test_2048_features():
    for count in (2048, 10_000):
        floor = sample_size_floor(np.ones(2048), count, count, rounds=2)
        assert floor.mean == pytest.approx(floor.first_order, rel=0.01)

    # Of fewer clips than features only draws know.
    rng = np.random.default_rng(0)
    distance = frechet_distance(rng.normal(size=(512, 2048)), rng.normal(size=(512, 2048)))
    floor = sample_size_floor(np.ones(2048), 512, 512, rounds=2)
    assert floor.mean == pytest.approx(distance, rel=0.01)
    assert floor.first_order > 1.3 * distance


@pytest.mark.parametrize('shape', [(5, 9), (9, 5), (1, 1), (3, 1)])
def test_the_fast_nuclear_norm_is_the_sum_of_singular_values(shape):
    matrix = np.random.default_rng(0).normal(size=shape)
    assert nuclear_norm(matrix) == pytest.approx(np.linalg.norm(matrix, 'nuc'), rel=1e-7)


@pytest.mark.parametrize('arguments, message', [
    ((np.array([1, -0.5]), 5, 5), 'as low as -0.5'),
    ((np.array([1, np.nan]), 5, 5), 'not finite'),
    ((np.ones(2), 1, 5), '1 clips; a covariance needs 2'),
    ((np.ones(2), 5, 0), '0 clips; a covariance needs 2'),
    ((np.ones(2), 5, 5, 'n', 0), 'rounds=0: want 1 or more'),
])  # fmt: skip
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        sample_size_floor(*arguments)
