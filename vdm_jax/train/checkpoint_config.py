"""Which checkpoints stay, and what to do about a damaged one: config.checkpoint."""

from dataclasses import dataclass
from typing import Literal

from vdm_jax.ranges import Count, Ranged
from vdm_jax.train.best import rule_of


@dataclass(frozen=True)
class CheckpointConfig(Ranged, where='config.checkpoint'):
    """How many checkpoints stay: the last keep_last, and every one whose step is a multiple of keep_every.

    best: METRIC[:min|max], a metric of validation such as validation_loss:min: the step where it was best so far is
    saved, also where no checkpoint is due, and stays; --step=best takes it.
    fallback: what a run does whose newest checkpoint is damaged: go on from the one before it, or fail.
    """

    keep_last: Count = 3
    keep_every: Count | None = None
    best: str | None = None
    fallback: Literal['previous', 'fail'] = 'previous'

    def __post_init__(self):
        super().__post_init__()
        rule_of(self.best)

    def keeps(self, step: int, steps: list[int]) -> bool:
        """Whether `step` stays once `steps` are there, be it the best or not."""
        return step in sorted(steps)[-self.keep_last :] or bool(self.keep_every and step % self.keep_every == 0)
