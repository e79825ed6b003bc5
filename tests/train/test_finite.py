"""Nonfinite losses, updates and states: never saved; the run prints advice, or skips the update if so configured."""

import dataclasses
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.train.small_run import SMALL, prints
from vdm_jax import cli
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.train import ema, loop, resume
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.ema import EmaConfig
from vdm_jax.train.finite import CHECKED_SCALARS, Budget, NonFiniteError, advise, all_finite
from vdm_jax.train.state import TrainState
from vdm_jax.train.step import Losses, make_train_step

PARAMS = {'w': jnp.ones(3)}


class Product(NamedTuple):
    """A loss that is linear in the parameters: the batch is its gradient."""

    def __call__(self, params, batch, keys, frozen):
        return Losses(batch['scale'] * params['w'].sum())


def step_of(scales, skip):
    """State and scalars after one step of Adam on rows of these scales, and the state before."""
    optimizer = optax.adam(0.1)
    config = EmaConfig((0.5,))
    step = make_train_step(Product(), optimizer, config, seed=0, skip_nonfinite=skip)
    state = TrainState(jnp.int32(7), PARAMS, ema.init(config, PARAMS), optimizer.init(PARAMS))
    batch = {'scale': jnp.asarray(scales, jnp.float32), 'label': jnp.zeros(len(scales), jnp.int32)}
    return *jax.jit(step)(state, batch), state


@pytest.mark.parametrize('scale', [np.nan, np.inf, -np.inf, 1e25, 3e38])  # the square of the last two overflows
def test_a_nonfinite_update_is_reported_and_changes_only_the_step(scale):
    after, scalars, before = step_of([1.0, scale], skip=True)
    assert not scalars['finite'] and int(after.step) == 8
    for name in ('params', 'ema', 'opt_state'):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(before, name))
    assert not step_of([1.0, scale], skip=False)[1]['finite']


def test_finite_updates_are_the_same_with_and_without_skipping():
    one, scalars, before = step_of([1.0, 2.0], skip=True)
    other, _, _ = step_of([1.0, 2.0], skip=False)
    assert scalars['finite']
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert not np.array_equal(one.params['w'], before.params['w'])


def test_one_number_of_a_tree_is_enough():
    tree = {'a': jnp.zeros((3, 2)), 'count': jnp.int32(3)}
    assert all_finite(tree)
    for value in (np.nan, np.inf):
        assert not all_finite(tree | {'b': jnp.zeros(5).at[4].set(value)})


@pytest.mark.parametrize('name', CHECKED_SCALARS)
def test_a_budget_counts_what_is_left_out_and_names_what_was_wrong(name):
    fine = dict.fromkeys(CHECKED_SCALARS, 1.0) | {'finite': True}
    wrong = fine | {name: np.nan, 'finite': False}
    budget = Budget(True, 2, count=1)
    assert budget.check(1, fine) and not budget.check(2, wrong) and budget.count == 2
    with pytest.raises(NonFiniteError, match=f'step 3: {name} is nan.*nonfinite_budget=2'):
        budget.check(3, wrong)
    with pytest.raises(NonFiniteError, match=f'step 3: {name} is nan$'):
        Budget(False, 100).check(3, wrong)


def test_the_advice_is_a_command_that_can_be_typed():
    advice = str(advise(NonFiniteError('step 6: loss is nan'), '/runs/my run', 4, 1e-3))
    assert "--from='/runs/my run' --step=4 --ema=raw" in advice and '--config.optim.learning_rate=0.0005' in advice
    assert '--config.train.nonfinite=skip' in advice and 'nonfinite_budget' not in advice
    advice = str(advise(NonFiniteError('step 6: loss is nan', 100), 'x', 4, 1e-3))
    assert '--config.train.nonfinite=skip --config.train.nonfinite_budget=200' in advice
    assert 'no step before it was saved' in str(advise(NonFiniteError('step 1: …'), 'x', None, 1e-3))


@pytest.fixture(scope='module')
def run():
    """A run whose fresh state is made once."""
    run = Run(read_experiment('experiments/bouncing_balls.py', SMALL), jax.devices()[:1])
    fresh = run.programs.init_state()
    programs = run.programs.with_programs(init_state=lambda: jax.tree.map(jnp.copy, fresh))
    return run.with_parts(programs=programs)


def diverging(run, at, name, **train):
    """The run, whose update `at` has a state and one scalar that are not finite."""
    config = dataclasses.replace(run.experiment.train, sample_every=0, validate_every=0, **train)
    other = Run(dataclasses.replace(run.experiment, train=config), jax.devices()[:1])
    number = itertools.count(1)

    def step(state, batch, frozen):
        state, scalars = run.programs.train_steps[0](state, batch, frozen)
        if next(number) == at:
            state = dataclasses.replace(state, params=jax.tree.map(lambda leaf: leaf * np.nan, state.params))
            scalars = scalars | {name: jnp.float32(np.nan), 'finite': False}
        return state, scalars

    return other.with_parts(programs=run.programs.with_programs(train_steps=[step]))


MOMENTS = {  # which update, what of it, the cadence of checkpoints, when the run is stopped
    'at the cadence': (4, 'grad_norm', 2, None),
    'between two': (3, 'update_norm', 2, None),
    'at the last step': (6, 'param_norm', 2, None),
    'at a stop': (3, 'loss', 2, 3),
    'without a cadence': (6, 'grad_norm', 0, None),
}


@pytest.mark.parametrize('moment', MOMENTS)
def test_a_state_that_is_not_finite_is_never_saved(moment, run, tmp_path):
    at, name, every, stop = MOMENTS[moment]
    with pytest.raises(UserError, match=f'step {at}: {name} is nan') as caught:
        loop.train_run(diverging(run, at, name, checkpoint_every=every), tmp_path, lambda step: step == stop)
    with Checkpoints(tmp_path / 'checkpoints') as checkpoints:
        steps = checkpoints.steps()
    assert steps == [step for step in (2, 4) if step < at and every]
    assert ('last finite step that is saved is' in str(caught.value)) == bool(steps)


def test_a_run_that_saved_nonfinite_values_resumes_from_the_step_before(run, tmp_path, capsys):
    """As runs of before did: every bit is as it was written, and every number is nan."""
    assert not loop.train_run(run, tmp_path, lambda step: step == 3)
    with jax.set_mesh(run.mesh), Checkpoints(tmp_path / 'checkpoints') as checkpoints:
        state, _ = checkpoints.restore(run.programs.abstract_state)
        state = dataclasses.replace(state, ema=jax.tree.map(lambda leaf: leaf.at[...].set(np.nan), state.ema))
        checkpoints.save(5, state, resume.describe_position(run, 5))
    assert loop.train_run(run, tmp_path)
    stderr = capsys.readouterr().err
    assert '5 is damaged: it holds numbers that are not finite; taking step 3' in stderr
    assert prints(run, tmp_path)['step'] == 6 and (tmp_path / 'checkpoints' / '5.damaged').is_dir()


def test_a_run_directory_that_vanishes_in_mid_run_ends_the_run(run, tmp_path):
    place = tmp_path / 'run'

    def vanish(step):
        return place.rename(tmp_path / 'elsewhere') and False if step == 1 else False

    with pytest.raises(UserError, match=f'{place}: the run directory was removed'):
        loop.train_run(run, place, vanish)
    assert not place.exists()


@pytest.mark.slow
def test_divergence_is_skipped_up_to_its_budget_and_training_restarts_with_a_lower_rate(tmp_path, capsys):
    high = ['--config.optim.learning_rate=1000', '--config.optim.clip=none', '--config.train.checkpoint_every=1']
    options = [*SMALL, '--config.train.steps=40', '--config.train.sample_every=0', *high]
    train = ['train', '--config=experiments/bouncing_balls.py', *options]
    assert cli.main([*train, f'--workdir={tmp_path}/a']) == 2
    stderr = capsys.readouterr().err
    assert 'is nan' in stderr and '--from=' in stderr
    more = ['--config.train.nonfinite=skip', '--config.train.nonfinite_budget=2']
    assert cli.main([*train, *more, f'--workdir={tmp_path}/b']) == 2
    assert 'and so were 3 updates in all' in capsys.readouterr().err
    # Step 4 is finite, and so far off (a loss of 1e13) that its gradients are not.
    go_on = [
        f'--from={tmp_path}/a',
        '--step=3',
        '--ema=raw',
        '--config.optim.learning_rate=1e-3',
        '--config.train.steps=2',
    ]
    assert cli.main(['train', *go_on, f'--workdir={tmp_path}/c']) == 0
