"""The story of a run, top to bottom: restore; then for each step: evaluate, save, next batch, step, log the last."""

import contextlib
import dataclasses
import time
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import numpy as np
from etils import epath

from vdm_jax import media
from vdm_jax.config.ranges import Batch, Between, Count, Ranged, Whole
from vdm_jax.data.clip_batches import batch_of
from vdm_jax.data.order.order import clips_before
from vdm_jax.data.pipeline import batches
from vdm_jax.diffusion.loss import by_time
from vdm_jax.errors import Failure, NotFinite, UserError
from vdm_jax.parallel import processes
from vdm_jax.sampling.conditioning import complete_conditions
from vdm_jax.sampling.generate import generate_videos
from vdm_jax.train import ema, lock
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.finite import Budget, NonFiniteError, advise, all_finite
from vdm_jax.train.loggers.logger import Outage
from vdm_jax.train.loggers.weights_biases import check_installed
from vdm_jax.train.metrics import Metrics, NullLogger, NullProgress, Progress
from vdm_jax.train.optimizers import RATES, explain_stretch
from vdm_jax.train.position import SKIPPED, check_position
from vdm_jax.train.profiling import ProfilerWindow, ResourceMonitor
from vdm_jax.train.workdir import check_workdir, make_workdir, read_config, write_run_files


@dataclass(frozen=True)
class TrainConfig(Ranged, where='config.train'):
    """How long, how much at once, and how often something is written. 0 turns a cadence off; the last step is saved all
    the same.

    accumulate: parts that a batch is worked through in, one after the other: less memory, and nothing else changes.
    nonfinite: what becomes of an update whose loss or norms are not finite: the run stops before it is saved, or the
    update is left out, up to nonfinite_budget of them in a run.
    """

    steps: Count = 1000
    batch_size: Batch = 32
    accumulate: Batch = 1
    log_every: Count = 10
    checkpoint_every: Whole = 200
    sample_every: Whole = 0
    sample_count: Annotated[int, Between(1, 4096)] = 4
    validate_every: Whole = 0
    validate_batches: Annotated[int, Between(1, 10**6)] = 4
    nonfinite: Literal['stop', 'skip'] = 'stop'
    nonfinite_budget: Whole = 100

    def __post_init__(self):
        super().__post_init__()
        if self.accumulate > self.batch_size:
            raise UserError(
                f'config.train.accumulate={self.accumulate}: want no more parts than the clips of a batch, '
                f'config.train.batch_size={self.batch_size}'
            )


def train_run(run, workdir, stop=lambda step: False, weights=None, saved=lambda: None) -> bool:
    """Trains `run` (a run.Run) in `workdir` until its last step, going on from the newest checkpoint there.

    Writes nothing into a directory that holds another run. Where several processes run, all call this, and the first
    one alone writes (but for checkpoints, of which each writes what it holds) and speaks.

    Args:
      run: the experiment's objects.
      workdir: the run directory, any etils.epath.
      stop: asked before each step, with its number; once true (on all processes) the run is saved and left.
      weights: () -> (parameters to begin with, where they come from), called where nothing is saved yet; they are saved
        as step 0, so that the run goes on without them.
      saved: called once all that has to be saved is, before loggers are closed.

    Returns:
      Whether the last step was reached.

    Raises:
      UserError: the directory holds another run, or one that is at work, or its clips are others now; or an update is
        no longer finite, or the directory is gone.
    """
    config, workdir = run.experiment.train, epath.Path(workdir)
    order = run.data.reader.order(config.batch_size, run.experiment.seed)
    processes.run_on_primary(lambda: check_installed(run.experiment.log.wandb))
    with contextlib.ExitStack() as stack:
        directory_lock = enter(stack, workdir, run.resolved)
        stack.enter_context(jax.set_mesh(run.mesh))
        checkpoints = stack.enter_context(Checkpoints(workdir / 'checkpoints', run.experiment.checkpoint, writes=True))
        watch = stack.enter_context(ResourceMonitor())
        window = stack.enter_context(ProfilerWindow(run.experiment.profile, workdir))
        state, start, skipped = begin(run, checkpoints, weights)
        stretch = processes.run_on_primary(lambda: explain_stretch_of(workdir, run, start)) if start else ''
        processes.run_on_primary(lambda: write_run_files(workdir, run.resolved))
        metrics, progress = outlets(run, workdir, start, order)
        announce(run, progress, start, workdir)
        budget = Budget(config.nonfinite == 'skip', config.nonfinite_budget, skipped)
        log = Log(run, metrics, progress, watch, budget)
        log.stretch(start, stretch)
        log.files(start)
        try:
            with batches(
                run.training_reader, order, start, config.steps, run.batches.local_rows, run.model_config.scalars
            ) as stream:
                for step in range(start, config.steps + 1):
                    done, stopped = step == config.steps, stop(step)
                    looks = step > start and (done or not stopped)  # one that is to stop has the time to save alone
                    losses = {}
                    if looks and due(step, config.validate_every, done):
                        losses = validate(run, state)
                        log.validation(step, losses)
                    shown = not (looks and due(step, config.sample_every, done)) or log.samples(step, state, workdir)
                    best = checkpoints.improves(losses)
                    saves = stopped or done or best or not shown or due(step, config.checkpoint_every, done)
                    if step > start and saves:
                        processes.run_on_primary(directory_lock.check)
                        log.flush()  # it asks whether the last update is finite
                        log.saved(checkpoints, step, state, position(run, step, budget.count), losses)
                    if not shown:
                        raise Failure(f'step {step}, which is saved: {log.failure}')
                    if done or stopped:
                        break
                    waited = time.monotonic()
                    batch = next(stream)
                    waited = time.monotonic() - waited
                    bucket = order.bucket(step)
                    with window.begin_step(step, state):
                        state, scalars = run.programs.train_steps[bucket](
                            state, run.batches.to_global(batch, bucket), run.frozen
                        )
                    log.step(step + 1, scalars, waited)
            log.flush()
            checkpoints.wait()
            saved()
        except NonFiniteError as error:
            checkpoints.wait()
            newest = max(checkpoints.steps(), default=None)
            raise advise(error, workdir, newest, run.experiment.optim.learning_rate) from None
        finally:
            metrics.close()
    return done


def outlets(run, workdir, start: int, order):
    """Where numbers and words go: nowhere but from the first process."""
    if not processes.is_primary():
        return NullLogger(), NullProgress()
    a_step = float(np.mean([order.batches[bucket] for bucket in order.buckets(0)]))
    progress = Progress(run.experiment.train.steps, start, a_step)
    return Metrics(workdir, start, run.experiment.log, run.resolved, progress.say), progress


def explain_stretch_of(workdir, run, step: int) -> str:
    """What another number of steps than config.json has does to the learning rate from `step` on; '' if nothing."""
    before = read_config(workdir).get('train', {}).get('steps')
    after = run.experiment.train.steps
    return explain_stretch(run.experiment.optim, before, after, step) if type(before) is int and before > 0 else ''


def announce(run, progress: Progress, start: int, workdir) -> None:
    """Says where a run stands, and what of its mesh and data is worth knowing."""
    progress.say(f'{"resuming" if start else "starting"} at step {start} of {run.experiment.train.steps} in {workdir}')
    for size, rows in zip(run.data.batch_sizes, run.batches.rows, strict=True):
        if rows > size:
            progress.say(f'the {size} clips of a batch take the room of {rows} on the devices')
    for note in run.model_config.sharding_notes(run.programs.abstract_state) + run.training_reader.notes():
        progress.say(note)


def enter(stack: contextlib.ExitStack, workdir, resolved: dict) -> lock.Lock:
    """The lock of a run directory, made and held until `stack` ends, by the first process for all of them.

    Raises:
      UserError: the directory cannot be made, or holds another run, or one that is at work.
    """
    held = lock.Lock()

    def hold():
        nonlocal held
        make_workdir(workdir)
        check_workdir(workdir, resolved)  # a directory of others is not touched
        held = stack.enter_context(lock.hold(workdir))
        check_workdir(workdir, resolved)  # of one that ended just now, too
        stack.enter_context(held.explain())

    processes.run_on_primary(hold)
    return held


def begin(run, checkpoints: Checkpoints, weights=None):
    """(state, its step, updates left out so far): those of the newest checkpoint that is finite, else a fresh one, with
    `weights` where there are some.

    Raises:
      UserError: the checkpoint was trained on other clips; or there are checkpoints, and none can be used.
    """
    while (newest := checkpoints.latest()) is not None:
        state, skipped = restore(run, checkpoints, newest)
        if all_finite((state.params, state.ema, state.opt_state)):
            return state, newest, skipped
        checkpoints.condemn(newest, 'it holds numbers that are not finite')
    if weights is None:
        return run.programs.init_state(), 0, 0
    params, origin = weights()
    state = start_with(run, params)
    workdir = checkpoints.directory.parent
    processes.run_on_primary(lambda: write_run_files(workdir, run.resolved))  # no step is ever there without them
    checkpoints.save(0, state, position(run, 0) | {'from': origin})
    return state, 0, 0


def start_with(run, params):
    """Step 0 of a run with these parameters: averages and optimizer are its own."""
    return dataclasses.replace(run.programs.init_state(), params=params, ema=ema.init(run.experiment.ema, params))


def restore(run, checkpoints: Checkpoints, step: int):
    """(state, updates left out so far) of a checkpoint. Step 0 is weights to begin with, no run to go on with: data,
    optimizer and averages are this one's.
    """
    if step == 0:
        return start_with(run, checkpoints.restore_params(run.programs.abstract_state, step)), 0
    state, was = checkpoints.restore(run.programs.abstract_state, step)
    skipped = was.pop(SKIPPED, 0)
    processes.raise_on_all(lambda: check_position(checkpoints.directory.parent, was, position(run, step)))
    return state, skipped


def due(step: int, every: int, last: bool) -> bool:
    """Whether something that happens every `every` steps, and at the last one, happens now."""
    return bool(every) and step > 0 and (last or step % every == 0)


def position(run, step: int, skipped: int = 0) -> dict:
    """Where the data stream stands: with these the next batch, and every one after it, is given; and how many updates
    were left out so far, where any were.
    """
    batch_size = run.experiment.train.batch_size
    where = {'step': step, 'seed': run.experiment.seed, 'batch_size': batch_size, 'clips': run.data.dataset_id}
    where |= {'data': run.data.clip_config}
    made = {'codec': run.codec_fingerprint, 'text': run.data.text_fingerprint, SKIPPED: skipped}
    return where | {name: fingerprint for name, fingerprint in made.items() if fingerprint}


def validate(run, state) -> dict[str, float]:
    """Mean loss of the first EMA on held-out clips, with the same noise and times every time, in all and by time.

    Every clip counts as often as every other (those of a mixture by its weights, of buckets as their batches come, so
    some may come twice and others not at all): where validate_batches go round all of them and some more, those are
    left out.

    'validation_loss', and 'validation_loss_t/0.1' … for t in (0, 0.1] and so on, where there is any.
    """
    config = run.experiment.train
    order = run.data.held_out.order(config.batch_size, shuffle=False)
    count = clips_before(order, config.validate_batches)
    count -= count % order.size if count > order.size else 0
    params, left = ema.first(run.experiment.ema, state.ema), count
    found, sizes = [], []
    for index in range(config.validate_batches):
        if left <= 0:
            break
        bucket = order.bucket(index)
        sizes.append(order.batches[bucket])
        left -= sizes[-1]
        batch = batch_of(run.data.held_out, order.ids(index)[run.batches.local_rows[bucket]], run.model_config.scalars)
        found.append(run.programs.validation_step(params, run.batches.to_global(batch, bucket), index, run.frozen))
    real = [jax.tree.map(lambda rows, n=n: np.asarray(rows)[:n], each) for n, each in zip(sizes, found, strict=True)]
    loss = np.concatenate([each.loss for each in real])[:count]
    means = {name: np.concatenate([each.parts[name] for each in real])[:count].mean() for name in real[0].parts}
    found = {'validation_loss': loss.mean()} | {f'validation_{name}': mean for name, mean in means.items()}
    if real[0].t is not None:
        # Clips of other buckets have other numbers of frames.
        def rows(name):
            return [row for each in real for row in getattr(each, name)][:count]

        means = by_time(np.concatenate(rows('by_frame')), np.concatenate(rows('t')))
        found |= {f'validation_loss_t/{(i + 1) / 10}': mean for i, mean in enumerate(means) if np.isfinite(mean)}
    return {name: float(value) for name, value in found.items()}


def preview(run, state) -> np.ndarray:
    """A few samples of the first EMA, the same noise every time: uint8 (N, T, H, W, C)."""
    count = run.experiment.train.sample_count
    labels = np.arange(count) % max(run.model_config.classes, 1)
    params = ema.first(run.experiment.ema, state.ema)
    conditions = complete_conditions(run.data, run.network, {'label': labels})
    return generate_videos(run.generate, params, conditions, run.experiment.seed, count)


class Log:
    """Writes what happened, one step late, so that the host never waits for the device."""

    def __init__(self, run, metrics: Metrics, progress: Progress, watch: ResourceMonitor, budget: Budget):
        self._run, self._metrics, self._progress, self._watch = run, metrics, progress, watch
        self._budget = budget
        self.failure: NotFinite | None = None
        self._config = run.experiment.train
        self._last, self._named = None, {}
        self._samples = Outage('samples', progress.say)
        self._waited, self._since = 0.0, time.monotonic()

    def stretch(self, step: int, what: str) -> None:
        """Says that a schedule is stretched from this step on, where it is."""
        if what:
            self._progress.say(what)
            self._metrics.scalars(step, {'schedule': what})

    def step(self, step: int, scalars: dict, waited: float) -> None:
        self._waited += waited
        self.flush()
        self._last = (step, scalars)

    def flush(self) -> None:
        """Writes the step before this one; its numbers are on the host by now, or soon.

        Raises:
          NonFiniteError: its update was not finite, and is one too many.
        """
        if self._last is None:
            return
        (step, scalars), self._last = self._last, None
        scalars = jax.device_get(scalars)
        if not self._budget.take(step, scalars):
            self._progress.say(f'step {step}: the update is not finite and is left out ({self._budget.count} so far)')
        rates = tuple(float(scalars[name]) for name in RATES if name in scalars)
        self._progress.show(step, float(scalars['loss']), rates)
        if step % self._config.log_every == 0 or step == self._config.steps:
            values = {name: float(value) for name, value in scalars.items() if name != 'finite'}
            values |= {SKIPPED: self._budget.count} if self._config.nonfinite == 'skip' else {}
            now = time.monotonic()
            values['seconds'] = round(now - self._since, 4)
            values['waited_for_data'] = round(self._waited, 4)
            values |= self._watch.read()
            counters = self._run.data.reader.counters()
            self._metrics.scalars(step, values | {f'data/{name}': value for name, value in counters.items()})
            self.files(step)
            self._since, self._waited = now, 0.0

    def files(self, step: int) -> None:
        """Names the files that a source could not take as they are, once, on the console and in metrics.jsonl.

        Each process meets other files, and names its own; those of process 0 alone are in metrics.jsonl.
        """
        for kind, names in self._run.data.reader.names().items():
            fresh = [name for name in names if name not in self._named.setdefault(kind, set())]
            if fresh:
                self._named[kind].update(fresh)
                self._metrics.scalars(step, {f'data/{kind}': fresh})
                line = f'data: {len(fresh)} {kind}: {", ".join(fresh)}'
                self._progress.say(line)
                processes.print_from_worker(line)

    def validation(self, step: int, losses: dict[str, float]) -> None:
        self.flush()
        self._metrics.scalars(step, losses)
        self._progress.say(f'step {step}: validation loss {losses["validation_loss"]:.4f}')

    def samples(self, step: int, state, workdir) -> bool:
        """Draws and writes the samples of a step; whether all of them are finite, else `failure` says which are not."""
        self.flush()
        try:
            videos = preview(self._run, state)
        except NotFinite as error:
            self.failure = error
            return False
        if processes.is_primary():
            self._write(step, videos, workdir)
        return True

    def _write(self, step: int, videos: np.ndarray, workdir) -> None:
        with self._samples.tolerate():
            strip = workdir / 'samples' / f'step_{step:06d}.png'
            strip.parent.mkdir(exist_ok=True)
            media.write_strip(strip, videos)
        grid = media.grid(videos)
        fps = self._run.data.source.clip_fps or media.FPS
        self._metrics.clip(step, 'samples', media.gif_bytes(grid, fps), grid.shape[1:3])

    def saved(self, checkpoints: Checkpoints, step: int, state, where: dict, validation: dict[str, float]) -> None:
        self.flush()
        self._metrics.flush()  # the lines up to a step that is saved are safe before it is: nobody writes them again
        began = time.monotonic()
        checkpoints.save(step, state, where, validation)
        self._metrics.scalars(step, {'checkpoint_seconds': round(time.monotonic() - began, 4)})
        self._metrics.flush()  # that there is a checkpoint, too
