"""Distances of features that others have computed."""

import numpy as np
import pytest

from vdm_jax.errors import UserError
from vdm_jax.evals.distances.frechet import frechet_distance, spectrum_of
from vdm_jax.evals.distances.moments import Moments
from vdm_jax.evals.feature_distance.figures import spectrum_of_rows
from vdm_jax.evals.feature_distance.protocol import FeatureDistance
from vdm_jax.evals.feature_distance.stored import score_stored
from vdm_jax.evals.features.arrays import StoredFeatures

RNG = np.random.default_rng(0)


def make(count=40, width=5, dtype=np.float32, probabilities=None, shift=0.0):
    return StoredFeatures((RNG.normal(size=(count, width)) + shift).astype(dtype), probabilities, 'f' * 64)


def test_the_distance_is_that_of_the_arrays():
    real = make()
    fake = make(30, shift=1)
    result = score_stored(FeatureDistance(), real, fake)
    assert result.figures['samples']['frechet'] == pytest.approx(frechet_distance(real.features, fake.features))
    assert result.figures['samples']['clips'] == 30 and result.figures['real halves']['clips'] == 20
    assert list(result.figures) == ['samples', 'real halves'] and result.name == 'frechet_stored30'
    assert result.settings['distance']['features'] == 'stored' and result.settings['real_sha256'] == 'f' * 64


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64])
def test_any_floats_will_do(dtype):
    result = score_stored(FeatureDistance(distances=('frechet', 'kvd', 'jedi')), make(dtype=dtype), make(dtype=dtype))
    assert all(np.isfinite(value) for value in result.figures['samples'].values())


def test_inception_score_is_of_probabilities():
    classes = np.eye(4, dtype=np.float32)[np.arange(4000) % 4]
    result = score_stored(
        FeatureDistance(distances=('inception_score',), rounds=0), make(), make(4000, probabilities=classes)
    )
    assert result.figures['samples']['inception_score'] == pytest.approx(4, rel=0.01)
    with pytest.raises(
        UserError, match='distances=inception_score: wants probabilities of classes; found features alone'
    ):
        score_stored(FeatureDistance(distances=('inception_score',)), make(), make())


@pytest.mark.parametrize('real, fake, message', [
    ({}, {'width': 6}, '5 wide, fake ones 6'),
    ({}, {'count': 1}, 'distances=frechet: wants 2 samples or more, for a covariance; found 1'),
    ({'count': 1}, {}, 'distances=frechet: wants 2 real clips or more, for a covariance; found 1'),
])  # fmt: skip
def test_what_has_no_distance_is_one_line(real, fake, message):
    with pytest.raises(UserError, match=message):
        score_stored(FeatureDistance(), make(**real), make(**fake))


def test_features_far_wider_than_there_are_clips_have_a_floor_too():
    """As many numbers as the square of their width would not fit in any memory."""
    result = score_stored(FeatureDistance(rounds=4), make(6, 60_000), make(6, 60_000))
    figures = result.figures['samples']
    # All of the distance is for there being so few; of a spectrum of five numbers the floor is rough.
    assert 0.2 * figures['frechet'] < figures['frechet_floor'] < figures['frechet']


@pytest.mark.parametrize('count, width', [(4, 4), (3, 7), (8, 7), (7, 8)])
def test_the_spectrum_is_the_covariance_s_without_its_zeros(count, width):
    rows = RNG.normal(size=(count, width))
    values = spectrum_of_rows(rows)
    expected = spectrum_of(Moments.of(rows))[-len(values) :]
    np.testing.assert_allclose(values, expected, atol=1e-12)
    np.testing.assert_allclose(values.sum(), np.var(rows, axis=0, ddof=1).sum())
