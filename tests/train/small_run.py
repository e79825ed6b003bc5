"""A run that takes seconds, and what of it is to be the same in another."""

import jax

from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.fingerprint import fingerprint

SMALL = [
    f'--config.{item}'
    for item in (
        'model.depth=2', 'model.width=16', 'model.heads=2', 'model.patch=4', 'model.time_patch=1',
        'data.frames=3', 'data.pixels=12',
        'data.size=64', 'train.steps=6', 'train.batch_size=4', 'train.log_every=1', 'train.checkpoint_every=2',
        'train.sample_every=4', 'train.sample_count=2', 'train.validate_every=3', 'train.validate_batches=1',
        'sampler.steps=2', 'optim.name=adamw', 'optim.warmup_steps=1', 'checkpoint.keep_last=2', 'ema.decays=0.9,0.5',
    )
]  # fmt: skip


def prints(run, place, step=None):
    with jax.set_mesh(run.mesh), Checkpoints(f'{place}/checkpoints') as checkpoints:
        state, position = checkpoints.restore(run.programs.abstract_state, step)
    return {name: fingerprint(getattr(state, name)) for name in ('params', 'ema', 'opt_state')} | position
