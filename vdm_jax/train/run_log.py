"""What a run says and writes about itself, one step late."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from etils import epath

from vdm_jax import media
from vdm_jax.errors import NotFinite
from vdm_jax.parallel import processes
from vdm_jax.train.checkpoint import Checkpoints
from vdm_jax.train.finite import Budget
from vdm_jax.train.loggers.logger import Outage
from vdm_jax.train.metrics import Metrics, NullLogger, NullProgress, Progress
from vdm_jax.train.optimizers import RATES
from vdm_jax.train.position import SKIPPED
from vdm_jax.train.profiling import ResourceMonitor
from vdm_jax.train.state import TrainState
from vdm_jax.train.types import Position, Scalars
from vdm_jax.train.validation import preview

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run


class RunLog:
    """Writes what happened, one step late, so that the host never waits for the device.

    Attributes:
      failure: Why the samples of a step could not be shown, None where they could.
    """

    def __init__(
        self,
        run: Run,
        metrics: Metrics | NullLogger,
        progress: Progress | NullProgress,
        monitor: ResourceMonitor,
        budget: Budget,
    ):
        self.failure: NotFinite | None = None
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
        if not self._budget.take(step, scalars):
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

    def samples(self, step: int, state: TrainState, workdir: epath.Path) -> bool:
        """Draw and write the samples of a step.

        Returns:
          Whether all of them are finite; else `failure` says which are not.
        """
        self.flush()
        try:
            videos = preview(self._run, state)
        except NotFinite as error:
            self.failure = error
            return False
        if processes.is_primary():
            self._write_samples(step, videos, workdir)
        return True

    def _write_samples(self, step: int, videos: np.ndarray, workdir: epath.Path) -> None:
        with self._samples.tolerate():
            strip = workdir / 'samples' / f'step_{step:06d}.png'
            strip.parent.mkdir(exist_ok=True)
            media.write_strip(strip, videos)
        grid = media.grid(videos)
        fps = self._run.data.source.clip_fps or media.FPS
        self._metrics.clip(step, 'samples', media.gif_bytes(grid, fps), grid.shape[1:3])

    def save(
        self, checkpoints: Checkpoints, step: int, state: TrainState, position: Position, losses: dict[str, float]
    ) -> None:
        """Save a checkpoint between two lines of metrics.

        losses: Of the validation at this step, which the checkpoint carries.
        """
        self.flush()
        # The lines up to a step that is saved are safe before it is: nobody writes them again.
        self._metrics.flush()
        began = time.monotonic()
        checkpoints.save(step, state, position, losses)
        self._metrics.scalars(step, {'checkpoint_seconds': round(time.monotonic() - began, 4)})
        # That there is a checkpoint is on disk, too.
        self._metrics.flush()
