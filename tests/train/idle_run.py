"""A run whose steps compute nothing, for tests of what the loop does around them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from vdm_jax.config.experiment_file import override
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run
from vdm_jax.train.state import TrainState

GROUPS = {
    'data': {'source': 'synthetic', 'frames': 2, 'pixels': 8},
    'model': {'depth': 2, 'width': 16, 'heads': 2, 'patch': 4},
    'train': {'steps': 8, 'batch_size': 2, 'log_every': 1, 'checkpoint_every': 0},
    'optim': {'name': 'adamw', 'learning_rate': 1e-3},
    'ema': {'decays': (0.9,)},
    'log': {'tensorboard': False},
}


def computes_nothing(state, batch, frozen):
    scalars = dict.fromkeys(('loss', 'grad_norm', 'update_norm', 'param_norm'), np.float32(0.5))
    return dataclasses.replace(state, step=state.step + 1), scalars | {'finite': True, 'learning_rate': 0.25}


def make_state():
    """A state of one parameter, which costs nothing to make, save and restore, and what it looks like."""
    run = Run(experiment_from(GROUPS), jax.devices()[:1])
    params = {'kernel': jnp.ones((2, 2))}
    state = TrainState(jnp.int32(0), params, {'0.9': params}, run.programs.optimizer.init(params))
    state = jax.device_put(state, run.programs.replicated_sharding)

    def like(leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=run.programs.replicated_sharding)

    return {'abstract_state': jax.tree.map(like, state), 'init_state': lambda: state}


def make_run(state, *assignments):
    """A run with such a state and these keys of a config."""
    groups = override(GROUPS, [f'config.{each}' for each in assignments])
    run = Run(experiment_from(groups), jax.devices()[:1])
    return run.with_parts(programs=run.programs.with_programs(train_steps=[computes_nothing], **state))


def steps_in(place):
    return sorted(int(path.name) for path in (epath.Path(place) / 'checkpoints').iterdir() if path.name.isdigit())
