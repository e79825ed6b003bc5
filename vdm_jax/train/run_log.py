"""The lines of a run, on the console and in its metrics, one step late."""

from __future__ import annotations

import datetime
import time
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from etils import epath

from vdm_jax import media
from vdm_jax.errors import NotFinite
from vdm_jax.evals.score import Score
from vdm_jax.parallel import processes
from vdm_jax.train.best_metric import SCORE
from vdm_jax.train.finite import Budget
from vdm_jax.train.loggers.logger import Logger, Outage
from vdm_jax.train.optimizers import RATES
from vdm_jax.train.position import SKIPPED
from vdm_jax.train.profiling import ResourceMonitor
from vdm_jax.train.progress import NullProgress, Progress
from vdm_jax.train.types import Scalars

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run


SHOWN_METRICS = 4  # of a score, on the console


class RunLog:
    """Writes what happened, one step late, so that the host never waits for the device."""

    def __init__(
        self,
        run: Run,
        metrics: Logger,
        progress: Progress | NullProgress,
        monitor: ResourceMonitor,
        budget: Budget,
    ):
        self._run = run
        self._config = run.experiment.train
        self._metrics = metrics
        self._progress = progress
        self._monitor = monitor
        self._budget = budget
        self._samples = Outage('samples', progress.say)

        self._pending: tuple[int, Scalars] | None = None
        self._reported: dict[str, set[str]] = {}
        self._waited = 0.0
        self._since = time.monotonic()

    def stretch(self, step: int, explanation: str) -> None:
        """Say that a schedule is stretched from this step on, where there is something to explain."""
        if explanation:
            self._progress.say(explanation)
            self._metrics.scalars(step, {'schedule': explanation})

    def resumption(self, step: int) -> None:
        """Write that the run goes on from a step, and when, where it does not begin."""
        if step:
            moment = datetime.datetime.now(datetime.UTC)
            self._metrics.scalars(step, {'resumed': moment.isoformat(timespec='seconds')})

    def step(self, step: int, scalars: Scalars, waited: float) -> None:
        """Take the scalars of a step, still on the device, and write those of the one before.

        waited: Seconds that the step waited for its batch.
        """
        self._waited += waited
        self.flush()
        self._pending = (step, scalars)

    def flush(self) -> None:
        """Write the step that waits; its numbers are on the host by now, or soon.

        Raises:
          NonFiniteError: Its update was not finite, and is one too many.
        """
        if self._pending is None:
            return
        step, on_device = self._pending
        self._pending = None

        # Where the next step took it here, that one is on the device already, which works on while the host waits.
        scalars = jax.device_get(on_device)
        if not self._budget.check(step, scalars):
            self._progress.say(f'step {step}: the update is not finite and is left out ({self._budget.count} so far)')
        rates = tuple(float(scalars[name]) for name in RATES if name in scalars)
        self._progress.show(step, float(scalars['loss']), rates)
        if step % self._config.log_every == 0 or step == self._config.steps:
            self._write_metrics(step, scalars)

    def _write_metrics(self, step: int, scalars: dict[str, Any]) -> None:
        now = time.monotonic()
        values: dict[str, Any] = {name: float(value) for name, value in scalars.items() if name != 'finite'}
        # Only where it may be more than 0: a run that stops at the first has none to count.
        if self._config.nonfinite == 'skip':
            values[SKIPPED] = self._budget.count
        values['seconds'] = round(now - self._since, 4)
        values['waited_for_data'] = round(self._waited, 4)
        values |= self._monitor.read()
        values |= {f'data/{name}': value for name, value in self._run.data.reader.counters().items()}
        self._metrics.scalars(step, values)

        self.files(step)
        self._since = now
        self._waited = 0.0

    def files(self, step: int) -> None:
        """Name the files that a source could not take as they are, once, on the console and in metrics.jsonl.

        Each process meets other files, and names its own; those of process 0 alone are in metrics.jsonl.
        """
        for kind, names in self._run.data.reader.problem_files().items():
            reported = self._reported.setdefault(kind, set())
            fresh = [name for name in names if name not in reported]
            if not fresh:
                continue
            reported.update(fresh)
            self._metrics.scalars(step, {f'data/{kind}': fresh})
            line = f'data: {len(fresh)} {kind}: {", ".join(fresh)}'
            self._progress.say(line)
            processes.print_from_worker(line)

    def validation(self, step: int, losses: dict[str, float]) -> None:
        """Write the losses of a validation."""
        # The step before is written first: lines come in the order of their steps.
        self.flush()
        self._metrics.scalars(step, losses)
        self._progress.say(f'step {step}: validation loss {losses["validation_loss"]:.4f}')

    def say(self, text: str, keep: bool = True) -> None:
        """Print a line."""
        self._progress.say(text, keep)

    def evaluating(self, step: int, done: int, count: int) -> None:
        """Show how far an evaluation is."""
        self._progress.say(f'step {step}: evaluating, {done} of {count} samples', keep=False)

    def evaluation(self, step: int, score: Score, metrics: dict[str, float], seconds: float) -> None:
        """Write the metrics of a score, and the seconds for which it held up the run."""
        self._metrics.scalars(step, metrics | {'evaluate_seconds': round(seconds, 4)})
        pairs = list(metrics.items())[:SHOWN_METRICS]
        figures = ', '.join(f'{name.removeprefix(SCORE)} {value:.4g}' for name, value in pairs)
        verdict = f', {"passed" if score.passed else "not passed"}' if score.verdict else ''
        self._progress.say(f'step {step}: {score.name}{verdict}, in {seconds:.1f} s: {figures}')

    def leave_out(self, seconds: float) -> None:
        """Leave seconds that have just gone by out of the time that steps take."""
        self._since += seconds
        self._progress.leave_out(seconds)

    def samples(self, step: int, videos: np.ndarray, workdir: epath.Path) -> None:
        """Write the samples of a step, uint8 (N, T, H, W, C), from the primary process."""
        if not processes.is_primary():
            return
        fps = self._run.data.source.clip_fps or media.FPS
        with self._samples.tolerate():
            strip = workdir / 'samples' / f'step_{step:06d}.png'
            strip.parent.mkdir(exist_ok=True)
            media.write_strip(strip, videos, fps=fps)
        grid = media.grid(videos)
        self._metrics.clip(step, 'samples', media.gif_bytes(grid, fps), grid.shape[1:3])

    def bad_samples(self, step: int, error: NotFinite) -> None:
        """Write which samples of a step are not finite."""
        self._metrics.scalars(step, {'samples_not_finite': list(error.numbers)})

    def sync(self) -> None:
        """Return once all lines are safe where they are written."""
        self.flush()
        self._metrics.flush()

    def checkpoint(self, step: int, seconds: float) -> None:
        """Write that a step is saved, and the seconds for which that held up the run."""
        self._metrics.scalars(step, {'checkpoint_seconds': round(seconds, 4)})
        # That there is a checkpoint is on disk, too.
        self._metrics.flush()
