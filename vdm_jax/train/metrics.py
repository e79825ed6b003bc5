"""Numbers and clips of a run, to all of its loggers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from etils import epath

from vdm_jax.parallel import processes
from vdm_jax.train.loggers.json_lines import NAME, JsonLines
from vdm_jax.train.loggers.logger import GuardedLogger, Logger
from vdm_jax.train.loggers.tensorboard import TensorBoard
from vdm_jax.train.loggers.weights_biases import WandbConfig, WeightsBiases
from vdm_jax.train.types import Resolved


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
