"""Scores on a schedule: samples of a run that trains, under its protocol, as the command evaluate scores them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from etils import epath

from vdm_jax.evals import runner
from vdm_jax.evals.protocol import Protocol
from vdm_jax.evals.score import Score
from vdm_jax.parallel import processes
from vdm_jax.train import ema
from vdm_jax.train.best_metric import SCORE
from vdm_jax.train.loggers.logger import Outage
from vdm_jax.train.run_log import RunLog
from vdm_jax.train.state import TrainState

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run


class StopRequested(Exception):  # noqa: N818, as it is no error
    """An evaluation was left, as the run is to stop; what it has measured lies on the disk."""


class Evaluation:
    """Scores the first average of a run that trains; nothing of the run's state is touched."""

    def __init__(self, run: Run, workdir: epath.Path, log: RunLog):
        """Start with no score.

        Args:
          run: The objects of the experiment.
          workdir: The run directory.
          log: What is printed and written.
        """
        self._run = run
        self._workdir = workdir
        self._log = log
        self._outage = Outage('evals', log.say)

    def score(self, step: int, state: TrainState, stop: Callable[[], bool]) -> dict[str, float]:
        """Score samples, write the score and log it; all processes call it, once the lines of the step are written.

        Args:
          step: Of the state.
          state: Of the run.
          stop: Asked after each batch of samples, with the same answer on all processes: whether to leave.

        Returns:
          'evaluate/FIGURE' of the row of the samples, nan where it could not be measured; 'evaluate/verdict/NAME' and
          'evaluate/passed', 1 or 0, where the protocol has a bar.

        Raises:
          StopRequested: The run is to stop.
          NotFinite: Samples are not finite.
          UserError: The protocol cannot score them.
        """

        def after_batch(done: int, count: int) -> None:
            self._log.evaluating(step, done, count)
            if stop() and done < count:
                raise StopRequested

        began = time.monotonic()
        self._log.say(f'step {step}: evaluating')
        params = ema.first(self._run.experiment.ema, state.ema)
        evals = self._workdir / 'evals'
        try:
            score = self._run.score_average(params, self._workdir, step, evals, after_batch)
        except StopRequested:
            self._log.say(f'step {step}: the evaluation is left, and goes on when the run does')
            raise
        finally:
            self._log.leave_out(time.monotonic() - began)

        if processes.is_primary():
            # Another disk than that of checkpoints, or none, is no reason to end a run.
            with self._outage.tolerate():
                runner.write(score, evals, self._run.data.source.movable_keys)
        metrics = list_metrics(score, self._run.protocol.samples_row)
        self._log.evaluation(step, score, metrics, time.monotonic() - began)
        return metrics


def list_names(protocol: Protocol) -> tuple[str, ...]:
    """Return the names of all metrics that `list_metrics` may give of scores under a protocol."""
    figures = [f'{SCORE}{name}' for name in protocol.figures]
    verdicts = [f'{SCORE}verdict/{name}' for name in protocol.verdicts]
    return (*figures, *verdicts, *([f'{SCORE}passed'] if verdicts else []))


def list_metrics(score: Score, row: str) -> dict[str, float]:
    """Return the figures of a row of a score, and its verdicts, by their names in metrics."""
    figures = {name: math.nan if value is None else float(value) for name, value in score.figures[row].items()}
    metrics = {f'{SCORE}{name}': value for name, value in figures.items()}
    if score.verdict:
        metrics |= {f'{SCORE}verdict/{name}': float(is_good) for name, is_good in score.verdict.items()}
        metrics[f'{SCORE}passed'] = float(score.passed)
    return metrics
