"""What of a config somebody chose."""

import json

import pytest

from vdm_jax.errors import UserError
from vdm_jax.experiment.defaults import REQUIRED, find_changes
from vdm_jax.experiment.experiment import Experiment, experiment_dict, read_experiment


def changes_of(*assignments, file='experiments/bouncing_balls.py'):
    config = json.loads(json.dumps(experiment_dict(read_experiment(file, list(assignments)))))
    return find_changes(config)


def test_defaults_alone_are_no_change():
    assert find_changes(json.loads(json.dumps(experiment_dict(Experiment())))) == {}


def test_changes_have_their_defaults():
    before = changes_of()
    after = changes_of('--config.train.log_every=7', '--config.guidance.scale=3')
    assert {key: value for key, value in after.items() if key not in before} == {
        'config.train.log_every': 10, 'config.guidance.scale': 1.0,
    }  # fmt: skip


def test_another_choice_is_a_change_of_its_name_and_its_keys_have_its_own_defaults():
    changes = changes_of('--config.sampler=heun', '--config.sampler.steps=13')
    assert changes['config.sampler.name'] == 'euler' and changes['config.sampler.steps'] != 13
    assert 'config.sampler.spacing.name' not in changes


def test_all_that_is_set_of_a_group_that_is_none_by_default_is_a_change():
    before = changes_of()
    after = changes_of('--config.evaluate.sampler=ddim', '--config.evaluate.guidance.scale=1')
    changes = {key: value for key, value in after.items() if key not in before}
    assert set(changes.values()) == {None}
    keys = {'sampler.name', 'sampler.steps', 'guidance.scale'}
    assert {f'config.evaluate.{key}' for key in keys} <= {*changes}
    assert 'config.evaluate.guidance.negative' not in changes, 'it is none'


@pytest.mark.parametrize('file', ['video_folder', 'moving_mnist', 'latte', 'vdm'])
def test_every_change_is_a_key_of_the_config(file):
    config = json.loads(json.dumps(experiment_dict(read_experiment(file))))
    for key, default in find_changes(config).items():
        value = config
        for name in key.split('.')[1:]:
            value = value[int(name)] if isinstance(value, list) else value[name]
        assert default == REQUIRED or value != default, key


@pytest.mark.parametrize('config', [{}, {'train': 5}, {'unknown': {}}])
def test_what_is_no_config_is_a_mistake(config):
    with pytest.raises(UserError):
        find_changes(config)
