"""Lines on the console while a run trains."""

import sys
import time
from typing import TextIO

from vdm_jax.parallel import processes

LIVE_SECONDS = 0.2  # between two lines on a terminal, each of which overwrites the last
PRINT_SECONDS = 10.0  # between two lines elsewhere
BAR = 24  # characters


class Progress:
    """The live line of a run: step, loss, videos/s, time left; rewritten on a terminal, else printed now and then."""

    def __init__(self, steps: int, start_step: int, clips_per_step: float, stream: TextIO | None = None):
        """Start with no clock running.

        Args:
          steps: The last step.
          start_step: The step that the run begins with.
          clips_per_step: On average, as batches of buckets have several sizes.
          stream: Where to print, sys.stderr by default.
        """
        self._steps = steps
        self._start = start_step
        self._clips_per_step = clips_per_step
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
            f'  {steps_per_second * self._clips_per_step:.1f} videos/s  {_format_time(seconds_left)} left'
        )

    def leave_out(self, seconds: float) -> None:
        """Leave seconds that have just gone by out of videos/s and of the time left."""
        if self._start_time is not None:
            self._start_time += seconds

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

    def leave_out(self, seconds: float) -> None:
        """Leave nothing out."""

    def say(self, text: str, keep: bool = True) -> None:
        """Print nothing."""


def _format_time(seconds: float) -> str:
    minutes, seconds = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'
