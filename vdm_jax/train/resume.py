"""Where a run begins: at its newest checkpoint, at weights that it is given, or afresh."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from vdm_jax.parallel import processes
from vdm_jax.train import ema
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.finite import all_finite
from vdm_jax.train.position import SKIPPED, check_position
from vdm_jax.train.state import TrainState
from vdm_jax.train.types import Params, Position
from vdm_jax.train.workdir import write_run_files

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run

# () -> parameters to begin with, and where they come from.
ReadWeights = Callable[[], tuple[Params, str]]


def begin(run: Run, checkpoints: Checkpoints, weights: ReadWeights | None = None) -> tuple[TrainState, int, int]:
    """Return the state that a run begins with: that of its newest finite checkpoint, else a fresh one.

    Args:
      run: The objects of the experiment.
      checkpoints: Those of the run directory.
      weights: Parameters for a run that has no checkpoint yet.

    Returns:
      The state, its step, and how many updates were left out so far.

    Raises:
      UserError: The checkpoint was trained on other clips; or there are checkpoints, and none can be used.
    """
    # No run saves what is not finite; earlier versions did, and such a checkpoint stays so whatever is trained on it.
    while (newest := checkpoints.latest()) is not None:
        state, skipped = restore(run, checkpoints, newest)
        if all_finite((state.params, state.ema, state.opt_state)):
            return state, newest, skipped
        checkpoints.condemn(newest, 'it holds numbers that are not finite')
    if weights is None:
        return run.programs.init_state(), 0, 0

    params, origin = weights()
    state = start_with(run, params)
    # Files of a run are written before its first step, so that no step is ever there without them.
    workdir = checkpoints.directory.parent
    processes.run_on_primary(lambda: write_run_files(workdir, run.resolved))
    checkpoints.save(0, state, describe_position(run, 0) | {'from': origin})
    return state, 0, 0


def start_with(run: Run, params: Params) -> TrainState:
    """Return step 0 of a run with these parameters: averages and optimizer are its own."""
    return dataclasses.replace(run.programs.init_state(), params=params, ema=ema.init(run.experiment.ema, params))


def restore(run: Run, checkpoints: Checkpoints, step: int) -> tuple[TrainState, int]:
    """Return the state of a checkpoint, and how many updates were left out so far.

    Step 0 is weights to begin with, and no run to go on with: data, optimizer and averages are this one's.

    Raises:
      UserError: It was trained on other clips, or in another order.
    """
    if step == 0:
        return start_with(run, checkpoints.restore_params(run.programs.abstract_state, step)), 0

    state, trained = checkpoints.restore(run.programs.abstract_state, step)
    skipped = trained.pop(SKIPPED, 0)
    processes.raise_on_all(lambda: check_position(checkpoints.directory.parent, trained, describe_position(run, step)))
    return state, skipped


def describe_position(run: Run, step: int, skipped: int = 0) -> Position:
    """Return where the data stream stands: the next batch, and every one after it, follows from these.

    Args:
      run: The objects of the experiment.
      step: The next step.
      skipped: How many updates were left out so far.
    """
    values = {
        'step': step,
        'seed': run.experiment.seed,
        'batch_size': run.experiment.train.batch_size,
        'clips': run.data.dataset_id,
        'data': run.data.clip_config,
    }
    optional = {'codec': run.codec_fingerprint, 'text': run.data.text_fingerprint, SKIPPED: skipped}
    return values | {name: value for name, value in optional.items() if value}
