"""How long a run trains, and what is written on its way: config.train."""

from dataclasses import dataclass
from typing import Annotated, Literal

from vdm_jax.config.ranges import BatchSize, Between, Count, Ranged, Whole
from vdm_jax.errors import UserError


@dataclass(frozen=True)
class TrainConfig(Ranged, where='config.train'):
    """How long, how much at once, and how often something is written.

    A cadence of 0 is off; the last step is saved all the same.

    Attributes:
      steps: Steps of the run.
      batch_size: Clips of a batch, on all devices together.
      accumulate: Microbatches that a batch is worked through in, one after the other: less memory, no other change.
      log_every: Steps between lines of metrics.
      checkpoint_every: Steps between checkpoints.
      sample_every: Steps between samples.
      sample_count: How many samples.
      validate_every: Steps between validations.
      validate_batches: Batches of held-out clips of a validation.
      evaluate_every: Steps between evaluations: samples of the first average are scored as config.evaluate says.
      nonfinite: What becomes of an update whose loss or norms are not finite: 'stop' ends the run before it is saved,
        'skip' leaves the update out.
      nonfinite_budget: How many updates may be left out.
    """

    steps: Count = 1000
    batch_size: BatchSize = 32
    accumulate: BatchSize = 1
    log_every: Count = 10
    checkpoint_every: Whole = 200
    sample_every: Whole = 0
    sample_count: Annotated[int, Between(1, 4096)] = 4
    validate_every: Whole = 0
    validate_batches: Annotated[int, Between(1, 10**6)] = 4
    evaluate_every: Whole = 0
    nonfinite: Literal['stop', 'skip'] = 'stop'
    nonfinite_budget: Whole = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.accumulate > self.batch_size:
            raise UserError(
                f'config.train.accumulate={self.accumulate}: want no more microbatches than the clips of a batch, '
                f'config.train.batch_size={self.batch_size}'
            )
