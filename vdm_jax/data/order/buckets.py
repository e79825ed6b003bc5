"""The order of batches in buckets: which bucket a step takes, and which of its examples.

Like every order it is a pure function of the step.
"""

import dataclasses
import functools
from typing import ClassVar

import numpy as np

from vdm_jax.data.order.mixed import BLOCK, apportion, draw_block, owners_and_turns
from vdm_jax.data.order.order import BUCKET_STREAM, Order


@dataclasses.dataclass(frozen=True, eq=False)
class BucketOrder:
    """The endless sequence of batches, each of one bucket.

    In every BLOCK steps each bucket has the same number of slots, its share (at least one), in an order of the block's
    own; it fills them from its own order, which runs through epochs of its own. Its methods are those of Order.

    Attributes:
      orders: One for each bucket, over the numbers 0, 1, ... of its examples, its batch size in `batch`; None for an
        empty one.
      members: The ids of each bucket's examples, int64 (size of the order,).
      shares: How often each bucket's batches come, in proportion; 0 for an empty one.
      seed: Of the order of buckets.
    """

    orders: tuple[Order | None, ...]
    members: tuple[np.ndarray, ...]
    shares: tuple[float, ...]
    seed: int = 0

    block_size: ClassVar[int] = BLOCK

    @property
    def size(self) -> int:
        """Number of examples in all buckets."""
        return sum(map(len, self.members))

    @functools.cached_property
    def batch_sizes(self) -> tuple[int, ...]:
        """Examples in a batch of each bucket, 0 of an empty one."""
        return tuple(order.batch if order else 0 for order in self.orders)

    # Once an order and not once a clip, of which each asks for its turn.
    @functools.cached_property
    def slots(self) -> tuple[int, ...]:
        """How many of a block's steps each bucket has."""
        return apportion(self.shares, least=1)

    def buckets(self, block: int) -> np.ndarray:
        """Return the bucket of each step of a block: int64 (BLOCK,)."""
        buckets, _ = draw_block(self.slots, BUCKET_STREAM, self.seed, block)
        return buckets

    def bucket(self, step: int) -> int:
        """Return the bucket of a step."""
        bucket, _ = self._bucket_and_turn(step)
        return bucket

    def locate(self, step: int, row: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the example id of one row of a step, or of many, and its position in the run: int64 each.

        No two rows of a run have the same position.
        """
        bucket, turn = self._bucket_and_turn(step)
        order = self.orders[bucket]
        assert order is not None, 'an empty bucket has no steps'

        rows = np.asarray(row, np.int64)
        ids = self.members[bucket][order.ids_at(turn * order.batch + rows)]
        # Steps are as far apart as the largest batch is long, so that positions of two of them never meet.
        return ids, step * max(self.batch_sizes) + rows

    def ids(self, step: int) -> np.ndarray:
        """Return the example ids of a step: int64 (batch of its bucket,)."""
        ids, _ = self.locate(step, np.arange(self.batch_sizes[self.bucket(step)]))
        return ids

    def _bucket_and_turn(self, step: int) -> tuple[int, int]:
        """Return the bucket of a step, and how many steps that bucket had before."""
        buckets, turns = owners_and_turns(step, self.slots, BUCKET_STREAM, self.seed)
        return int(buckets), int(turns)
