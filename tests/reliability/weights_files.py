"""Files that weights and scores are in: what export and evaluate write."""

from pathlib import Path

import numpy as np

from tests.reliability.damage import Kind
from vdm_jax.evals import runner
from vdm_jax.evals.score import Score
from vdm_jax.experiment.experiment import Experiment, experiment_dict
from vdm_jax.pretrained import weights

WEIGHTS = 'w.safetensors'
FINGERPRINTS = {'clips': '12 0123456789abcdef', 'text': 'ab' * 32, 'codec': 'cd' * 32}


def make_weights(directory: Path) -> None:
    """As export writes them, of a config of some length and a few tensors."""
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=(size, 24)).astype(np.float32) for name, size in (('a', 40), ('b', 1), ('c', 7))}
    about = {'step': 7, 'ema': 0.999, 'config': experiment_dict(Experiment())} | FINGERPRINTS
    weights.save(directory / WEIGHTS, params, about, 'bfloat16')


def read_weights(directory: Path):
    """All that stands in it."""
    return weights.read(directory / WEIGHTS), ''


def make_score(directory: Path) -> None:
    """As evaluate writes it."""
    figures = {'samples': {'kept': 0.75, 'residual_px': None, 'arcs': 12}, 'real': {'kept': 1.0}}
    settings = {'step': 7, 'ema': 'raw', 'config': experiment_dict(Experiment()), 'overrides': []}
    runner.write(Score('balls128_8f', figures, {'kept': True}, settings), directory, ())


def read_score(directory: Path):
    """All that stands in it."""
    paths = list(directory.glob('*.json'))
    return runner.read(paths[0] if paths else directory / 'score.json').to_json(), ''


KINDS = {
    'exported weights': Kind(make_weights, read_weights, (WEIGHTS,)),
    'scores': Kind(make_score, read_score, ('*.json',)),
}
