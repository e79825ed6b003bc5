"""Which checkpoints stay, and what to do about a damaged one: config.checkpoint."""

from dataclasses import dataclass
from typing import Literal

from vdm_jax.config.ranges import Count, Ranged
from vdm_jax.train.best_metric import parse_rule


@dataclass(frozen=True)
class CheckpointConfig(Ranged, where='config.checkpoint'):
    """Which checkpoints stay: the last ones, every so many steps one, and the best.

    Attributes:
      keep_last: How many of the newest stay.
      keep_every: Every one whose step is a multiple of it stays.
      best: METRIC[:min|max], a metric of validation such as validation_loss:min or of scores such as evaluate/kept:max:
        the step where it was best so far is saved, also where no checkpoint is due, and stays; --step=best takes it.
      fallback: What a run does whose newest checkpoint is damaged: go on from the one before it, or fail.
    """

    keep_last: Count = 3
    keep_every: Count | None = None
    best: str | None = None
    fallback: Literal['previous', 'fail'] = 'previous'

    def __post_init__(self) -> None:
        super().__post_init__()
        # For its mistakes alone, which so are found with the config.
        parse_rule(self.best)

    def keeps(self, step: int, steps: list[int]) -> bool:
        """Return whether `step` stays once `steps` are there, be it the best or not."""
        if step in sorted(steps)[-self.keep_last :]:
            return True
        return self.keep_every is not None and step % self.keep_every == 0
