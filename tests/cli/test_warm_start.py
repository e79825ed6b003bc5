"""train --from: another run's weights as step 0, whatever else is another, and nothing by chance."""

import jax
import numpy as np
import pytest

from tests.train.small_run import SMALL
from vdm_jax import cli
from vdm_jax.cli import warm_start
from vdm_jax.cli.parser import parse_options
from vdm_jax.config.experiment_file import override
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_from, read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.pretrained.fit import by_path
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.workdir import read_config

QUIET = ['--config.train.sample_every=0', '--config.train.validate_every=0', '--config.train.steps=2']
TINY = ['--config.model.depth=1', '--config.model.layout=full', '--config.data.frames=2']
TRAIN = ['train', '--config=experiments/bouncing_balls.py', *SMALL, *QUIET, *TINY]


@pytest.fixture(scope='module')
def trained_run(tmp_path_factory):
    """A run of two steps."""
    place = tmp_path_factory.mktemp('trained') / 'run'
    assert cli.main([*TRAIN, f'--workdir={place}']) == 0
    return place


def options(place, **more):
    args, _ = parse_options('train', [f'--from={place}', '--workdir=W'])
    vars(args).update(more)
    return args


def run_like(trained_run, *changes):
    groups = override(read_config(trained_run), [f'config.{change}' for change in changes])
    return Run(experiment_from(groups))


def averages(place, step=None, decay='0.9'):
    run = Run(experiment_from(read_config(place)))
    with jax.set_mesh(run.mesh), Checkpoints(f'{place}/checkpoints') as checkpoints:
        ema, _ = checkpoints.restore_ema(run.programs.abstract_state, step)
    return jax.device_get(by_path(ema[decay]))


def params(place, step):
    run = Run(experiment_from(read_config(place)))
    with jax.set_mesh(run.mesh), Checkpoints(f'{place}/checkpoints') as checkpoints:
        return jax.device_get(by_path(checkpoints.restore_params(run.programs.abstract_state, step)))


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_a_run_starts_from_the_averages_of_another_and_resumes_without_it(trained_run, tmp_path, capsys):
    """With another rate, other clips and another size, and without an experiment file of its own."""
    begin = ['train', f'--from={trained_run}', f'--workdir={tmp_path}/next', '--config.checkpoint.keep_every=1']
    change = ['--config.optim.learning_rate=0.5', '--config.data.pixels=16', '--config.data.frames=3']
    assert cli.main([*begin, *change]) == 0
    stderr = capsys.readouterr().err
    assert f'--from={trained_run}: ' in stderr and '0 missing, 0 differing' in stderr and 'starting at step 0' in stderr
    same(params(tmp_path / 'next', 0), averages(trained_run))
    assert any((params(tmp_path / 'next', 2)[name] != value).any() for name, value in averages(trained_run).items())
    # The same command again, or without --from, goes on with the run that is there.
    trained_run.rename(tmp_path / 'moved')
    try:
        assert cli.main(['train', f'--workdir={tmp_path}/next', '--config.train.steps=3']) == 0
        assert 'resuming at step 2 of 3' in capsys.readouterr().err
    finally:
        (tmp_path / 'moved').rename(trained_run)


def test_an_export_is_as_good_as_the_run(trained_run, tmp_path):
    assert cli.main(['export', f'--workdir={trained_run}', f'--out={tmp_path}/weights.safetensors']) == 0
    file = tmp_path / 'weights.safetensors'
    assert warm_start.read_config(str(file))['model'] == read_config(trained_run)['model']
    restored, where = warm_start.read_weights(run_like(trained_run, 'optim.name=muon'), options(file))
    expected = averages(trained_run)
    for name, value in by_path(restored).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-3, atol=1e-6)
    assert str(file) in where and 'step 2' in where


def test_tables_of_another_length_start_fresh_where_that_is_allowed(trained_run, capsys):
    other = run_like(trained_run, 'model.classes=7')
    with pytest.raises(UserError, match=r'config\.model\.classes=7: --from=.* has .*--allow-missing'):
        warm_start.read_weights(other, options(trained_run))
    allowed = options(trained_run)
    allowed.allow_missing = True
    restored, _ = warm_start.read_weights(other, allowed)
    expected = averages(trained_run)
    fresh = by_path(other.programs.init_state().params)
    new = [name for name, value in by_path(restored).items() if value.shape != expected[name].shape]
    assert len(new) == 1 and f'differs  {new[0]}' in capsys.readouterr().err
    for name, value in by_path(restored).items():
        np.testing.assert_array_equal(value, fresh[name] if name in new else expected[name])


@pytest.mark.parametrize('change', ['model.width=32', 'model.heads=1', 'model.position=rope', 'model.depth=2'])
def test_weights_of_another_network_are_refused_by_key(change, trained_run):
    with pytest.raises(UserError, match=f'config.{change.split("=")[0]}=.*--from='):
        warm_start.read_weights(run_like(trained_run, change), options(trained_run))


def test_nonfinite_weights_are_refused_as_a_start(trained_run, monkeypatch):
    monkeypatch.setattr(warm_start, 'all_finite', lambda tree: False)
    with pytest.raises(UserError, match='step 2 holds numbers that are not finite'):
        warm_start.read_weights(run_like(trained_run), options(trained_run))


@pytest.mark.parametrize(
    'argv, message',
    [
        (['--step=2'], '--step says what of --from'),
        (['--ema=0.9'], '--ema says what of --from'),
        (['--allow-missing'], '--allow-missing says what of --from'),
        (['--from=W'], 'is --workdir too'),
        (['--from=x/../W/'], 'is --workdir too'),
        (['--from=nowhere'], '--from=nowhere: no such file'),
    ],
)
def test_options_without_effect_are_refused(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(['train', '--workdir=W', *argv]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'W').exists()


def test_the_experiment_may_be_another_file(trained_run):
    other = Run(read_experiment('experiments/bouncing_balls.py', [*SMALL, *TINY, '--config.train.batch_size=2']))
    restored, _ = warm_start.read_weights(other, options(trained_run))
    same(jax.device_get(by_path(restored)), averages(trained_run))


def test_weights_of_the_package_are_found_from_any_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # The key is read on top of the config that the file holds, so the file was found.
    for name in ('experiments/bouncing_balls.safetensors', 'bouncing_balls'):
        assert cli.main(['train', f'--from={name}', '--workdir=W', '--config.model.depth=0']) == 2
        assert 'config.model.depth=0: want' in capsys.readouterr().err
    assert cli.main(['train', '--from=other/bouncing_balls', '--workdir=W']) == 2
    assert '--from=other/bouncing_balls' in capsys.readouterr().err
