"""Scores as files have them, of this version and of earlier ones."""

import json
import math

import pytest

from vdm_jax.errors import UserError
from vdm_jax.evals import runner
from vdm_jax.evals.score import Score
from vdm_jax.files import seal

# As the version before Score wrote it, shortened.
OLD = {
    'name': 'balls4_4f',
    'figures': {
        'samples': {'clips': 4, 'kept': 0.0, 'arcs': 0, 'residual_px': None},
        'real': {'clips': 4, 'kept': 1.0},
    },
    'verdict': {'kept': False, 'nearest_train': True},
    'split': 'test',
    'real_clips': 4,
    'train_clips': 4,
    'workdir': 'RUN',
    'step': 2,
    'ema': 0.9,
    'clips': '16',
    'sampler': 'Euler(steps=2)',
    'guidance': 'Guidance(scale=1.0)',
    'scalars': None,
    'config': {'seed': 0, 'evaluate': {'samples': 4, 'context': 10, 'per_clip': 5}},
    'overrides': ['--config.evaluate.samples=4'],
    'samples': 4,
    'seed': 0,
    'clip': [4, 16, 16, 3],
    'samples_sha256': 'ab' * 32,
    'passed': False,
}


def test_a_file_of_before_is_read_and_shown(tmp_path):
    (tmp_path / 'old.json').write_text(json.dumps(seal(OLD), indent=2))
    score = runner.read(tmp_path / 'old.json')
    assert json.dumps(score.to_json()) == json.dumps(OLD), 'in the same order'
    assert (score.name, score.passed, score.settings['step']) == ('balls4_4f', False, 2)
    table = runner.format_table(score)
    assert table.splitlines()[0] == 'balls4_4f: step 2, 4 samples, Euler(steps=2), seed 0'
    assert 'kept MISSED  nearest_train ok' in table and ' - ' in table


def test_it_passes_where_every_verdict_is_true():
    assert Score('a', {}, {'x': True, 'y': True}).passed and not Score('a', {}, {'x': True, 'y': False}).passed
    assert Score('a', {}, {}).to_json() == {'name': 'a', 'figures': {}, 'verdict': {}, 'passed': True}


def test_json_has_null_for_what_it_has_no_number_for():
    figures = {'samples': {'a': math.nan, 'b': math.inf, 'c': 1.5, 'd': 3, 'e': None}}
    values = Score('a', figures, {}).to_json()
    assert values['figures'] == {'samples': {'a': None, 'b': None, 'c': 1.5, 'd': 3, 'e': None}}
    json.dumps(values, allow_nan=False)
    assert type(values['figures']['samples']['d']) is int


@pytest.mark.parametrize(
    'change',
    [
        {'name': None},
        {'name': 3},
        {'figures': None},
        {'figures': []},
        {'figures': {'samples': 1.0}},
        {'figures': {'samples': {'kept': 'x'}}},
        {'figures': {'samples': {'kept': True}}},
        {'verdict': None},
        {'verdict': {'kept': 1}},
    ],
    ids=str,
)
def test_what_is_no_score_is_one_line(change, tmp_path):
    (tmp_path / 'x.json').write_text(json.dumps(seal(OLD | change)))
    (key,) = change
    with pytest.raises(UserError, match=rf'x\.json: {key}=.*: this is no score that evaluate wrote$'):
        runner.read(tmp_path / 'x.json')


def test_the_protocol_counts_as_it_was_chosen_and_not_as_a_config_names_it(tmp_path):
    """The source's usual one is the same question as that one by its name; other parameters are another."""

    def write(protocol, named):
        config = {'evaluate': {'samples': 4, 'batch_size': 2, 'protocol': {'name': named}}}
        return runner.write(Score('a', {}, {}, {'step': 1, 'protocol': protocol, 'config': config}), tmp_path, ())

    recall = {'name': 'recall', 'threshold_db': 20.0}
    assert write(recall, 'usual') == write(recall, 'recall') != write(recall | {'threshold_db': 30.0}, 'usual')
