"""What a run reports: numbers and clips to its loggers, lines to the console."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

from etils import epath

from vdm_jax.parallel import processes
from vdm_jax.train.loggers.json_lines import NAME, JsonLines
from vdm_jax.train.loggers.logger import GuardedLogger, Logger
from vdm_jax.train.loggers.tensorboard import TensorBoard
from vdm_jax.train.loggers.weights_biases import WandbConfig, WeightsBiases
from vdm_jax.train.types import Resolved

LIVE_SECONDS = 0.2  # between two lines on a terminal, each of which overwrites the last
PRINT_SECONDS = 10.0  # between two lines elsewhere
BAR = 24  # characters


@dataclass(frozen=True)
class LogConfig:
    """Where numbers go beside metrics.jsonl and the console.

    Attributes:
      tensorboard: Whether to TensorBoard, where tensorboardX is installed.
      wandb: Whether and how to Weights & Biases.
    """

    tensorboard: bool = True
    wandb: WandbConfig = WandbConfig()


class Metrics(Logger):
    """All loggers of a run, none of which can stop it; a run that resumes drops what it had written past its step."""

    def __init__(
        self,
        workdir: epath.PathLike,
        start_step: int,
        config: LogConfig = LogConfig(),
        resolved: Resolved | None = None,
        say: Callable[[str], None] = processes.print_on_primary,
    ):
        """Open the loggers.

        Args:
          workdir: The run directory.
          start_step: The step that the run resumes from.
          config: Which loggers.
          resolved: The experiment as JSON values, for loggers that show it.
          say: Prints a line, of what goes wrong.
        """
        self._loggers = [GuardedLogger(JsonLines(workdir, start_step, say), NAME, say)]
        if config.tensorboard:
            try:
                self._loggers.append(GuardedLogger(TensorBoard(workdir, start_step), 'TensorBoard', say))
            # It is on by default, and no mistake of the user's where tensorboardX is not installed.
            except ImportError:
                pass
        if config.wandb.mode != 'off':
            wandb = WeightsBiases(workdir, config.wandb, resolved or {}, say)
            self._loggers.append(GuardedLogger(wandb, 'W&B', say))
        # What cannot be opened is reported now, and not when the first step is logged.
        self.flush()

    def scalars(self, step: int, values: dict[str, Any]) -> None:
        for logger in self._loggers:
            logger.scalars(step, values)

    def clip(self, step: int, name: str, gif: bytes, shape: tuple[int, int]) -> None:
        for logger in self._loggers:
            logger.clip(step, name, gif, shape)

    def flush(self) -> None:
        for logger in self._loggers:
            logger.flush()

    def close(self) -> None:
        for logger in self._loggers:
            logger.close()


class NullLogger(Logger):
    """The metrics of a process that writes nothing."""


class Progress:
    """The live line of a run: step, loss, videos/s, time left; rewritten on a terminal, else printed now and then."""

    def __init__(self, steps: int, start_step: int, batch: float, stream: TextIO | None = None):
        """Start with no clock running.

        Args:
          steps: The last step.
          start_step: The step that the run begins with.
          batch: Clips of a step, on average.
          stream: Where to print, sys.stderr by default.
        """
        self._steps = steps
        self._start = start_step
        self._batch = batch
        self._stream = stream or sys.stderr
        self._is_live = self._stream.isatty()
        self._start_time: float | None = None
        self._last_shown = 0.0

    def show(self, step: int, loss: float, rates: tuple[float, ...] = ()) -> None:
        """Show a step; called after each of them, with its learning rates.

        The first call, whose step saw the compilation, only starts the clock.
        """
        now = time.monotonic()
        if self._start_time is None:
            self._start_time = now
            self._start = step
            self._last_shown = now
            return

        is_last = step == self._steps
        pause = LIVE_SECONDS if self._is_live else PRINT_SECONDS
        if not is_last and now - self._last_shown < pause:
            return
        self._last_shown = now
        # The last line stays on a terminal; all others are overwritten.
        line = self._format(step, loss, rates, now - self._start_time)
        self.say(line, keep=not self._is_live or is_last)

    def _format(self, step: int, loss: float, rates: tuple[float, ...], seconds: float) -> str:
        # Two calls may come within one tick of the clock.
        steps_per_second = (step - self._start) / max(seconds, 1e-9)
        seconds_left = (self._steps - step) / max(steps_per_second, 1e-9)
        filled = int(BAR * (step / self._steps))
        bar = '█' * filled + '░' * (BAR - filled)
        lr = f'  lr {" and ".join(f"{rate:.2e}" for rate in rates)}' if rates else ''
        return (
            f'{bar} step {step}/{self._steps}  loss {loss:.4f}{lr}'
            f'  {steps_per_second * self._batch:.1f} videos/s  {_format_time(seconds_left)} left'
        )

    def say(self, text: str, keep: bool = True) -> None:
        """Print a line; keep=False lets the next one overwrite it."""
        if self._is_live:
            # To the start of the line, and what stood there erased.
            processes.write(self._stream, '\r\033[K' + text + ('\n' if keep else ''))
        elif keep:
            processes.write(self._stream, text + '\n')


class NullProgress:
    """The progress of a process that prints nothing."""

    def show(self, step: int, loss: float, rates: tuple[float, ...] = ()) -> None:
        """Show nothing."""

    def say(self, text: str, keep: bool = True) -> None:
        """Print nothing."""


def _format_time(seconds: float) -> str:
    minutes, seconds = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'
