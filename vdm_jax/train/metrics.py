"""What a run tells: numbers and clips to its loggers, words to the console."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from vdm_jax.parallel import processes
from vdm_jax.train.loggers.json_lines import NAME, JsonLines
from vdm_jax.train.loggers.logger import Guarded, Logger
from vdm_jax.train.loggers.tensorboard import TensorBoard
from vdm_jax.train.loggers.weights_biases import WandbConfig, WeightsBiases


@dataclass(frozen=True)
class LogConfig:
    """Where numbers go beside metrics.jsonl and the console: TensorBoard (where tensorboardX is installed), W&B."""

    tensorboard: bool = True
    wandb: WandbConfig = WandbConfig()


class Metrics(Logger):
    """Writes scalars, notes and clips of one run to all of its loggers, none of which can stop it; a run that goes on
    drops what it had written past its checkpoint.

    Args:
      workdir: the run directory.
      start_step: the step that the run goes on from.
      config: which loggers.
      resolved: the experiment as JSON values, for loggers that show it.
      say: prints a line, of what goes wrong.
    """

    def __init__(
        self,
        workdir,
        start_step: int,
        config: LogConfig = LogConfig(),
        resolved: dict | None = None,
        say: Callable[[str], None] = processes.say,
    ):
        lines = JsonLines(workdir, start_step, say)
        self._loggers = [Guarded(lines, NAME, say)]
        if config.tensorboard:
            try:
                self._loggers.append(Guarded(TensorBoard(workdir, start_step), 'TensorBoard', say))
            except ImportError:
                pass
        if config.wandb.mode != 'off':
            self._loggers.append(Guarded(WeightsBiases(workdir, config.wandb, resolved or {}, say), 'W&B', say))
        self.flush()

    def scalars(self, step, values):
        for logger in self._loggers:
            logger.scalars(step, values)

    def clip(self, step, name, gif, shape):
        for logger in self._loggers:
            logger.clip(step, name, gif, shape)

    def flush(self):
        for logger in self._loggers:
            logger.flush()

    def close(self):
        for logger in self._loggers:
            logger.close()


class Silence:
    """Metrics and Progress of a process that says and writes nothing: whatever it is told is gone."""

    def __getattr__(self, name):
        return lambda *_, **__: None


class Progress:
    """The live line of a run: step, loss, videos/s, time left; rewritten on a terminal, else printed now and then."""

    def __init__(self, steps: int, start_step: int, batch: float, stream=None):
        self._steps, self._start, self._batch = steps, start_step, batch
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._began = self._shown = None

    def show(self, step: int, loss: float, rates: tuple[float, ...] = ()) -> None:
        """Called after each step, with its learning rates; the first call, which saw the compilation, only starts the
        clock.
        """
        now = time.monotonic()
        if self._began is None:
            self._began, self._start, self._shown = now, step, now
            return
        last = step == self._steps
        if not last and now - self._shown < (0.2 if self._live else 10.0):
            return
        self._shown = now
        rate = (step - self._start) / max(now - self._began, 1e-9)
        left = (self._steps - step) / max(rate, 1e-9)
        share = step / self._steps
        bar = '█' * int(24 * share) + '░' * (24 - int(24 * share))
        lr = f'  lr {" and ".join(f"{each:.2e}" for each in rates)}' if rates else ''
        line = f'{bar} step {step}/{self._steps}  loss {loss:.4f}{lr}'
        line += f'  {rate * self._batch:.1f} videos/s  {_clock(left)} left'
        self.say(line, keep=not self._live or last)

    def say(self, text: str, keep: bool = True) -> None:
        """Prints a line; keep=False lets the next one overwrite it."""
        if self._live:
            processes.write(self._stream, '\r\033[K' + text + ('\n' if keep else ''))
        elif keep:
            processes.write(self._stream, text + '\n')


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'
