"""A score from asking to JSON: held-out clips pass their protocol, noise does not, a perfect copy is perfect."""

import dataclasses
import json

import numpy as np
import pytest

from tests.evals.draws import draws
from vdm_jax.data.clip_batches import read_videos
from vdm_jax.evals import runner
from vdm_jax.evals.protocol import EvaluateConfig
from vdm_jax.evals.worlds import physics
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.registry import PROTOCOLS

SOURCE = dataclasses.replace(read_experiment('experiments/bouncing_balls.py').data, size=600)
CONFIG = EvaluateConfig(samples=96, real=128, train=600)
ABOUT = {'step': 7, 'sampler': 'Euler(steps=2)'}


def score(protocol, draw, config=CONFIG):
    held_out = dataclasses.replace(SOURCE, split='test')
    return runner.evaluate(PROTOCOLS[protocol](), draw, SOURCE, held_out, config, ABOUT)


def test_held_out_clips_of_the_demo_s_world_pass_and_every_control_misses(tmp_path):
    unseen = dataclasses.replace(SOURCE, split='test', seed=1)
    result = score('ball_physics', draws(lambda conditions: read_videos(unseen, range(len(conditions['label'])))))
    assert result.passed and result.name == 'balls96_8f' and result.figures['samples']['kept'] == 1.0
    path = runner.write(result, tmp_path, ())
    assert runner.read(path) == result and 'MISSED' not in runner.format_table(result)
    other = dataclasses.replace(result, settings=result.settings | {'sampler': 'Euler(steps=3)'})
    assert runner.write(other, tmp_path, ()) != path == runner.write(result, tmp_path, ())
    known = {
        row: {name: np.nan if value is None else value for name, value in figures.items()}
        for row, figures in result.figures.items()
    }
    for row in ('noise', 'frozen', 'shuffled', 'copied'):
        assert not all(physics.judge(known[row], known['real']).values()), row


def test_noise_does_not_pass_and_what_was_not_measured_is_null():
    rng = np.random.default_rng(0)
    noise = draws(lambda conditions: rng.integers(0, 256, (len(conditions['label']), *SOURCE.shape), np.uint8))
    result = score('ball_physics', noise)
    assert not result.passed and result.figures['samples']['residual_px'] is None
    assert 'kept MISSED' in runner.format_table(result)


def test_a_perfect_copy_is_recalled():
    config = dataclasses.replace(CONFIG, real=8)
    first = {label: i for i, label in reversed([(i, int(SOURCE[i]['label'])) for i in range(8)])}

    def copy(conditions):
        return np.stack([SOURCE[first[int(label)]]['video'] for label in conditions['label']])

    result = score('recall', draws(copy), config)
    assert result.passed and result.name == f'recall{SOURCE.num_classes}_8f'
    json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    'name, keys',
    [
        ('ball_physics', {}),
        ('recall', {}),
        ('frame_prediction', {'context': 2, 'per_clip': 1}),
        ('physics_iq', {'context': 2, 'per_clip': 1}),
        ('temporal', {'flow': 'block_matching'}),
    ],
)
def test_a_score_has_the_row_that_its_protocol_calls_the_samples(name, keys):
    """Its figures are what a run that trains logs."""
    unseen = dataclasses.replace(SOURCE, split='test', seed=1)
    config = EvaluateConfig(samples=4, real=4, train=8)
    held_out = dataclasses.replace(SOURCE, split='test')
    protocol = PROTOCOLS[name](**keys)
    draw = draws(lambda conditions: read_videos(unseen, range(len(conditions['label']))))
    result = runner.evaluate(protocol, draw, SOURCE, held_out, config, ABOUT)
    figures = result.figures[protocol.samples_row]
    assert figures != result.figures.get('real')
    assert {*figures} == {*protocol.figures}
