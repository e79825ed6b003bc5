"""Every key of a config can be looked up, and what an experiment comes out as can be printed and set."""

from pathlib import Path

import pytest

from tests.walk import walk
from vdm_jax import cli
from vdm_jax.config.experiment_file import override
from vdm_jax.experiment.experiment import experiment_dict, experiment_from, read_experiment
from vdm_jax.experiment.registry import OPTIMIZERS, SAMPLERS
from vdm_jax.planning import key_reference
from vdm_jax.train.inspect import format_config

ROOT = Path(__file__).parents[2]


def test_the_page_is_current():
    """If it is not: `python -m vdm_jax config --out=docs/config.md`."""
    assert (ROOT / 'docs' / 'config.md').read_text() == key_reference.page()


def test_every_key_of_every_class_is_in_it():
    keys = [(group.where.partition(' of ')[0], key.name) for group in key_reference.walk() for key in group.keys]
    for field in walk():
        where, _, name = f'config.{field.key}'.rpartition('.')
        assert (where, name) in keys, field.key


def test_no_key_is_without_a_meaning():
    """Where one is: a line of `Attributes:` in the docstring of its class."""
    blank = [
        f'{group.where} {group.name} {key.name}'
        for group in key_reference.walk()
        for key in group.keys
        if not key.meaning
    ]
    assert not blank


def test_a_choice_has_all_its_names_and_marks_the_default():
    names = [group.name for group in key_reference.walk() if group.where == 'config.sampler']
    assert names == list(SAMPLERS)
    default = {group.name: group.is_default for group in key_reference.walk() if group.where == 'config.optim'}
    assert default == {name: name == 'adamw' for name in OPTIMIZERS}


def test_a_key_has_its_values_default_and_meaning():
    (momentum,) = [key for group in key_reference.walk() if group.name == 'muon' for key in group.keys][8:9]
    assert momentum.name == 'momentum' and momentum.default == '0.95'
    assert momentum.values == 'a number, from 0 to 0.9999999'
    assert momentum.meaning == 'Of the matrices, whose peak rate is `learning_rate`.'


def test_inherited_attributes_are_read_and_may_go_over_lines():
    meanings = key_reference.read_attributes(OPTIMIZERS['muon'])
    assert meanings['join_first'].startswith('Whether the gradients of the first step wait and are added to the second')
    assert meanings['b2'] == "Decay of the mean of their squares, in Adam's part."


@pytest.mark.parametrize('spec', ['bouncing_balls', 'video_folder:memorise', 'latte', 'walt', 'vdm', 'moving_mnist'])
def test_the_config_that_inspect_prints_can_be_set_again(spec):
    experiment = read_experiment(spec)
    lines = format_config(experiment_dict(experiment))
    assert experiment_from(override({}, lines)) == experiment


def test_inspect_prints_the_resolved_config_before_the_network(capsys):
    assert cli.main(['inspect', '--config=bouncing_balls', '--config.sampler=heun', '--config.sampler.steps=7']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'config.seed=0' and 'config.sampler.steps=7' in lines and 'config.model.classes=2' in lines
    assert lines.index('config.sampler.name=heun') < next(i for i, line in enumerate(lines) if 'parameters;' in line)


def test_help_names_the_page_of_the_keys(capsys):
    with pytest.raises(SystemExit):
        cli.main(['train', '--help'])
    assert 'python -m vdm_jax config' in capsys.readouterr().out


def test_the_command_prints_the_page_or_writes_it(capsys, tmp_path):
    assert cli.main(['config']) == 0
    printed = capsys.readouterr().out
    assert cli.main(['config', f'--out={tmp_path}/keys.md']) == 0
    assert printed == (tmp_path / 'keys.md').read_text() == key_reference.page()
