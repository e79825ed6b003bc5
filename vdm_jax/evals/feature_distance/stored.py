"""Distances between features that others have computed, by any network: VideoMAE, V-JEPA, one's own."""

import dataclasses

import numpy as np

from vdm_jax.evals.feature_distance.figures import measure_halves, measure_set
from vdm_jax.evals.feature_distance.protocol import INTERVAL, FeatureDistance
from vdm_jax.evals.feature_distance.real import Features
from vdm_jax.evals.features.arrays import StoredFeatures
from vdm_jax.evals.score import Score


def score_stored(protocol: FeatureDistance, real: StoredFeatures, fake: StoredFeatures) -> Score:
    """Return the score of features beside those of real clips.

    Raises:
      UserError: There are too few, widths differ, or a distance is of probabilities and there are none.
    """
    settings = protocol.settings
    cautions: list[str] = []
    real_features = of_stored(real)
    figures = {'samples': measure_set(real_features, of_stored(fake), settings, protocol.rounds, cautions)}
    if halves := measure_halves(real_features, settings, protocol.rounds):
        figures['real halves'] = halves
    return Score(
        f'{"_".join(settings.distances)}_stored{len(fake.features)}',
        figures,
        {},
        {
            'samples': len(fake.features),
            'real_clips': len(real.features),
            'seed': settings.seed,
            'distance': dataclasses.asdict(settings) | {'features': 'stored'},
            'real_sha256': real.sha256,
            'samples_sha256': fake.sha256,
            'interval': INTERVAL.format(rounds=protocol.rounds),
            'cautions': sorted(set(cautions)),
        },
    )


def of_stored(stored: StoredFeatures) -> Features:
    """Return features as one row a clip."""
    probabilities = stored.probabilities
    return Features(
        np.asarray(stored.features)[:, None], None if probabilities is None else np.asarray(probabilities)[:, None]
    )
