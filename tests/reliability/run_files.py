"""Files of a run directory: its config and its checkpoints."""

import dataclasses
import functools
from pathlib import Path

import jax

from tests.reliability.damage import Kind
from vdm_jax.experiment.experiment import experiment_dict, experiment_from, read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.train import resume
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.fingerprint import fingerprint
from vdm_jax.train.workdir import read_config, write_run_files

TINY = [
    f'--config.{item}'
    for item in (
        'model.depth=1', 'model.layout=full', 'model.width=16', 'model.heads=2', 'model.patch=4', 'model.time_patch=1',
        'data.frames=2', 'data.pixels=8', 'data.size=16', 'train.steps=9', 'optim.name=adamw', 'ema.decays=0.9',
    )
]  # fmt: skip


@functools.cache
def run() -> Run:
    """A network with few weights."""
    return Run(read_experiment('experiments/bouncing_balls.py', TINY), jax.devices()[:1])


def make_run(directory: Path) -> None:
    """A run directory with two checkpoints of other weights, as training leaves it."""
    state = run().programs.init_state()
    write_run_files(directory, run().resolved)
    with jax.set_mesh(run().mesh), Checkpoints(directory / 'checkpoints', writes=True) as checkpoints:
        for step in (2, 4):
            params = jax.tree.map(lambda leaf, step=step: leaf + step, state.params)
            state = dataclasses.replace(state, params=params, step=state.step + step)
            checkpoints.save(step, state, resume.describe_position(run(), step))


def read_run_config(directory: Path):
    """Return the experiment in a run's config.json."""
    return experiment_dict(experiment_from(read_config(directory))), ''


def restore(directory: Path):
    """Return the newest checkpoint that can be restored, and the verdicts on the others."""
    with jax.set_mesh(run().mesh), Checkpoints(directory / 'checkpoints') as checkpoints:
        verdicts = {step: checkpoints.integrity(step) for step in checkpoints.steps()}
        state, position = checkpoints.restore(run().programs.abstract_state)
    words = '; '.join(f'{step} is {integrity}' for step, integrity in verdicts.items() if integrity.verdict != 'intact')
    return [fingerprint((state.params, state.ema, state.opt_state)), position], words


KINDS = {
    'config.json of a run': Kind(make_run, read_run_config, ('config.json',)),
    'checkpoints': Kind(make_run, restore, ('checkpoints/*/**/*',)),
}
