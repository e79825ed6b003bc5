"""The training loop: restore; then each step validate, sample, score, save, read a batch, train, log the last step."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from etils import epath

from vdm_jax.data.order.buckets import BucketOrder
from vdm_jax.data.order.order import Order
from vdm_jax.data.pipeline import batches
from vdm_jax.errors import Failure, NotFinite, UserError
from vdm_jax.parallel import processes
from vdm_jax.train import lock
from vdm_jax.train.best_metric import SCORE, RuleError, check_score, parse_rule
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.evaluation import Evaluation, StopRequested
from vdm_jax.train.finite import Budget, NonFiniteError, advise
from vdm_jax.train.loggers.logger import Logger
from vdm_jax.train.loggers.weights_biases import check_installed
from vdm_jax.train.metrics import Metrics
from vdm_jax.train.optimizers import explain_stretch
from vdm_jax.train.profiling import ProfilerWindow, ResourceMonitor
from vdm_jax.train.progress import NullProgress, Progress
from vdm_jax.train.resume import ReadWeights, begin, describe_position
from vdm_jax.train.run_log import RunLog
from vdm_jax.train.state import TrainState
from vdm_jax.train.types import Resolved
from vdm_jax.train.validation import preview, validate
from vdm_jax.train.workdir import check_workdir, make_workdir, read_config, write_run_files

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run


def never_stop(step: int) -> bool:
    """Go on, whichever step it is."""
    del step
    return False


def do_nothing() -> None:
    """Do nothing."""


def train_run(
    run: Run,
    workdir: epath.PathLike,
    stop: Callable[[int], bool] = never_stop,
    read_weights: ReadWeights | None = None,
    on_saved: Callable[[], None] = do_nothing,
) -> bool:
    """Train a run in `workdir` until its last step, resuming from the newest checkpoint there.

    Nothing is written into a directory that holds another run. Where several processes run, all call this, and the
    primary one alone writes (but for checkpoints, of which each writes what it holds) and prints.

    Args:
      run: The objects of the experiment.
      workdir: The run directory, any etils.epath.
      stop: Called before each step, with its number; once true (on all processes) the run is saved and left.
      read_weights: () -> (parameters to begin with, where they come from), called where nothing is saved yet; they are
        saved as step 0, so that the run goes on without them.
      on_saved: Called once all that has to be saved is, before loggers are closed.

    Returns:
      Whether the last step was reached, and nothing is left to do.

    Raises:
      UserError: The directory holds another run, or one that is at work, or its clips are others now; or an update is
        no longer finite, or the directory is gone.
      Failure: Samples are not finite.
    """
    with contextlib.ExitStack() as stack:
        session, state, start = open_session(stack, run, epath.Path(workdir), read_weights)
        try:
            is_done = take_steps(session, state, start, stop)
            session.log.flush()
            session.checkpoints.wait()
            on_saved()
        except NonFiniteError as error:
            # What is still being saved is finite, and may be the step that the run is advised to go on from.
            session.checkpoints.wait()
            newest = max(session.checkpoints.steps(), default=None)
            raise advise(error, session.workdir, newest, run.experiment.optim.learning_rate) from None
        finally:
            session.metrics.close()
    return is_done


@dataclass(frozen=True)
class Session:
    """What the steps of a run work with, from its start to its stop.

    Attributes:
      run: The objects of the experiment.
      workdir: The run directory.
      directory_lock: The lock on it.
      checkpoints: Those in it.
      profiler: Traces the steps that config.profile names.
      budget: Counts the updates that are left out.
      metrics: Where numbers and clips go, to be closed at the end.
      log: What is printed and written.
      evaluation: Scores samples.
      order: Which clips come when.
    """

    run: Run
    workdir: epath.Path
    directory_lock: lock.Lock
    checkpoints: Checkpoints
    profiler: ProfilerWindow
    budget: Budget
    metrics: Logger
    log: RunLog
    evaluation: Evaluation
    order: Order | BucketOrder


def open_session(
    stack: contextlib.ExitStack, run: Run, workdir: epath.Path, read_weights: ReadWeights | None
) -> tuple[Session, TrainState, int]:
    """Open all that a run works with, until `stack` ends, and restore it or begin anew.

    Args:
      stack: Closes it all.
      run: The objects of the experiment.
      workdir: The run directory.
      read_weights: As train_run has it.

    Returns:
      The session, the state to begin with, and its step.
    """
    config = run.experiment.train
    # Both before the directory is touched: their mistakes leave nothing behind.
    order = run.data.reader.order(config.batch_size, run.experiment.seed)
    processes.run_on_primary(lambda: check_installed(run.experiment.log.wandb))

    directory_lock = enter_workdir(stack, workdir, run.resolved)
    stack.enter_context(jax.set_mesh(run.mesh))
    checkpoints = stack.enter_context(Checkpoints(workdir / 'checkpoints', run.experiment.checkpoint, writes=True))
    monitor = stack.enter_context(ResourceMonitor())
    profiler = stack.enter_context(ProfilerWindow(run.experiment.profile, workdir))

    state, start, skipped = begin(run, checkpoints, read_weights)
    # Read before config.json is written anew, which says how many steps the run was to have so far.
    stretch = processes.run_on_primary(lambda: explain_new_steps(workdir, run, start)) if start else ''
    processes.run_on_primary(lambda: write_run_files(workdir, run.resolved))

    metrics, progress = open_loggers(run, workdir, start, order)
    announce(run, progress, start, workdir)
    budget = Budget(config.nonfinite == 'skip', config.nonfinite_budget, skipped)
    log = RunLog(run, metrics, progress, monitor, budget)
    log.resumption(start)
    log.stretch(start, stretch)
    log.files(start)
    evaluation = Evaluation(run, workdir, log)
    session = Session(run, workdir, directory_lock, checkpoints, profiler, budget, metrics, log, evaluation, order)
    return session, state, start


def take_steps(session: Session, state: TrainState, start: int, stop: Callable[[int], bool]) -> bool:
    """Train from step `start` until the last step, or until `stop` says so; return whether it was the last.

    Raises:
      Failure: Samples are not finite.
      UserError: Samples cannot be scored.
      NonFiniteError: An update is not finite, and is one too many.
    """
    run = session.run
    config = run.experiment.train
    rows = run.batch_layout.local_rows
    scalars = run.model_config.scalars
    with batches(run.training_reader, session.order, start, config.steps, rows, scalars) as stream:
        for step in range(start, config.steps + 1):
            is_last = step == config.steps
            is_stopped = stop(step)

            # A run that is to stop has the time to save alone.
            looks = Looks()
            if is_last or not is_stopped:
                looks = look(session, step, state, is_last, is_fresh=step > start, stop=stop)
            is_stopped = is_stopped or looks.is_left

            # Saved after all that, as a checkpoint carries the metrics by which the best one is chosen.
            is_best = session.checkpoints.improves(looks.metrics)
            saves = (
                is_stopped
                or is_best
                or looks.failure is not None
                or is_due(step, config.checkpoint_every, is_last)
                or is_last
            )
            if step > start and saves:
                save(session, step, state, looks.metrics)
            # Only now: whoever looks into what went wrong has the step.
            if looks.failure:
                raise explain_failure(looks.failure, step)
            if is_last or is_stopped:
                break

            # The batch is taken last: a run that is stopped has taken none that it does not train on.
            state = take_step(session, step, state, stream)
    # A run whose last score is owed is not done: started again, it scores its last step.
    return is_last and not looks.is_left


@dataclass
class Looks:
    """What came of looking at a step.

    Attributes:
      metrics: Of validation and of a score, by which the best step is chosen.
      failure: Why samples could not be made or scored.
      is_left: Whether the run is to stop, and a score was left for when it goes on.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    failure: Exception | None = None
    is_left: bool = False


def look(
    session: Session, step: int, state: TrainState, is_last: bool, is_fresh: bool, stop: Callable[[int], bool]
) -> Looks:
    """Validate, draw samples and score some where they are due.

    Args:
      session: What the run works with.
      step: Of the state.
      state: Of the run.
      is_last: Whether it is the run's last step.
      is_fresh: Whether it was trained just now. One that was restored has been looked at, but for a score that a stop
        left.
      stop: As train_run has it.
    """
    config = session.run.experiment.train
    looks = Looks()
    if is_fresh and is_due(step, config.validate_every, is_last):
        looks.metrics = validate(session.run, state)
        session.log.validation(step, looks.metrics)
    if is_fresh and is_due(step, config.sample_every, is_last):
        session.log.flush()
        try:
            videos = preview(session.run, state)
        except NotFinite as error:
            session.log.bad_samples(step, error)
            looks.failure = error
            return looks
        session.log.samples(step, videos, session.workdir)
    if is_due(step, config.evaluate_every, is_last) and (is_fresh or not has_score(session.checkpoints, step)):
        # Its update may not be finite, and then nothing is to be saved.
        session.log.flush()
        try:
            scores = session.evaluation.score(step, state, lambda: stop(step))
            looks.metrics = looks.metrics | scores
            check_score(parse_rule(session.run.experiment.checkpoint.best), scores)
        except StopRequested:
            looks.is_left = True
        except Exception as error:
            # What one process alone meets leaves the others waiting in the evaluation: they could not save with it.
            is_met_by_all = isinstance(error, (NotFinite, RuleError)) or jax.process_count() == 1
            if not is_met_by_all:
                raise
            looks.failure = error
    return looks


def explain_failure(error: Exception, step: int) -> Exception:
    """Return an error of samples or their score that says that the step is saved."""
    where = f'step {step}, which is saved'
    if isinstance(error, UserError):
        return UserError(f'{where}: {error}')
    if isinstance(error, NotFinite):
        return Failure(f'{where}: {error}')
    # A fault of a protocol's: whoever mends it wants the traceback.
    error.add_note(where)
    return error


def has_score(checkpoints: Checkpoints, step: int) -> bool:
    """Return whether a checkpoint carries a score."""
    return any(name.startswith(SCORE) for name in checkpoints.metrics(step))


def save(session: Session, step: int, state: TrainState, metrics: dict[str, float]) -> None:
    """Save a checkpoint, with its metrics.

    Raises:
      UserError: Another run has taken the directory.
      NonFiniteError: The last update is not finite: nothing is saved.
    """
    # Before anything is written: the directory may be another run's by now.
    processes.run_on_primary(session.directory_lock.check)
    # It asks whether the last update was finite, one step earlier than the loop would; and the lines up to a step that
    # is saved are safe before it is, as nobody writes them again.
    session.log.sync()
    position = describe_position(session.run, step, session.budget.count)
    began = time.monotonic()
    session.checkpoints.save(step, state, position, metrics)
    session.log.checkpoint(step, time.monotonic() - began)


def take_step(session: Session, step: int, state: TrainState, stream: Iterator[Any]) -> TrainState:
    """Take the next batch and train on it; return the new state. Scalars are logged when the next step runs."""
    # The step itself is only started here, so that this wait is all that the loader costs.
    began = time.monotonic()
    batch = next(stream)
    waited = time.monotonic() - began

    run = session.run
    bucket = session.order.bucket(step)
    train_step = run.programs.train_steps[bucket]
    with session.profiler.begin_step(step, state):
        state, scalars = train_step(state, run.batch_layout.to_global(batch, bucket), run.frozen)
    session.log.step(step + 1, scalars, waited)
    return state


def open_loggers(
    run: Run, workdir: epath.Path, start: int, order: Order | BucketOrder
) -> tuple[Logger, Progress | NullProgress]:
    """Return where numbers and words go: nowhere but from the primary process."""
    if not processes.is_primary():
        return Logger(), NullProgress()
    # Buckets have batches of several sizes, and the console shows clips a second.
    clips_per_step = float(np.mean([order.batch_sizes[bucket] for bucket in order.buckets(0)]))
    progress = Progress(run.experiment.train.steps, start, clips_per_step)
    return Metrics(workdir, start, run.experiment.log, run.resolved, progress.say), progress


def explain_new_steps(workdir: epath.Path, run: Run, step: int) -> str:
    """Return what another number of steps than config.json has does to the learning rate; '' if nothing."""
    before = read_config(workdir).get('train', {}).get('steps')
    if type(before) is not int or before <= 0:
        return ''
    return explain_stretch(run.experiment.optim, before, run.experiment.train.steps, step)


def announce(run: Run, progress: Progress | NullProgress, start: int, workdir: epath.Path) -> None:
    """Say where a run stands, and what of its mesh and data is worth knowing."""
    progress.say(f'{"resuming" if start else "starting"} at step {start} of {run.experiment.train.steps} in {workdir}')
    for size, rows in zip(run.data.batch_sizes, run.batch_layout.rows, strict=True):
        if rows > size:
            progress.say(f'the {size} clips of a batch take the room of {rows} on the devices')
    for note in run.model_config.sharding_notes(run.programs.abstract_state) + run.training_reader.notes():
        progress.say(note)


def enter_workdir(stack: contextlib.ExitStack, workdir: epath.Path, resolved: Resolved) -> lock.Lock:
    """Make a run directory and hold its lock until `stack` ends, on the primary process for all of them.

    Raises:
      UserError: The directory cannot be made, or holds another run, or one that is at work.
    """
    directory_lock = lock.Lock()

    def hold() -> None:
        nonlocal directory_lock
        # Before the lock: a directory of others is not touched. After it: one may have ended just now.
        make_workdir(workdir)
        check_workdir(workdir, resolved)
        directory_lock = stack.enter_context(lock.hold(workdir))
        check_workdir(workdir, resolved)
        stack.enter_context(directory_lock.explain())

    processes.run_on_primary(hold)
    return directory_lock


def is_due(step: int, every: int, is_last: bool) -> bool:
    """Return whether something that happens every `every` steps, and at the last one, happens now."""
    return bool(every) and step > 0 and (is_last or step % every == 0)
