"""Which bucket, and which of its examples, comes when: a pure function of the step."""

import dataclasses
import functools

import numpy as np

from vdm_jax.data.order.mixed import BLOCK, apportion, block, turns
from vdm_jax.data.order.order import BUCKET_STREAM, Order


@dataclasses.dataclass(frozen=True, eq=False)
class BucketOrder:
    """The endless sequence of batches, each of one bucket.

    In every BLOCK steps each bucket has the same number of places, its share (at least one), in an order of the block's
    own; it fills them from its own `orders`, which runs through epochs of its own. The answers are those of Order.

    orders: one a bucket, over the numbers 0, 1, ... of its examples, its batch size in `batch`; None for an empty one.
    members: the ids of each bucket's examples, int64 (size of the order,).
    shares: how often each bucket's batches come, in proportion; 0 for an empty one.
    """

    orders: tuple[Order | None, ...]
    members: tuple[np.ndarray, ...]
    shares: tuple[float, ...]
    seed: int = 0

    block = BLOCK

    @property
    def size(self) -> int:
        return sum(map(len, self.members))

    @functools.cached_property
    def batches(self) -> tuple[int, ...]:
        return tuple(order.batch if order else 0 for order in self.orders)

    @functools.cached_property
    def places(self) -> tuple[int, ...]:
        """How many of a block's steps each bucket has."""
        return apportion(self.shares, least=1)

    def buckets(self, number):
        """Which bucket each step of a block takes, int64 (BLOCK,)."""
        return block(self.places, BUCKET_STREAM, self.seed, number)[0]

    def bucket(self, step) -> int:
        return int(turns(step, self.places, BUCKET_STREAM, self.seed)[0])

    def place(self, step, row):
        """(example id, place in the run that no other example has) of one row of a step, or of many: int64."""
        bucket, turn = map(int, turns(step, self.places, BUCKET_STREAM, self.seed))
        order, row = self.orders[bucket], np.asarray(row, np.int64)
        return self.members[bucket][order.at(turn * order.batch + row)], step * max(self.batches) + row

    def ids(self, step):
        """The example ids of a step, int64 (batch of its bucket,)."""
        return self.place(step, np.arange(self.batches[self.bucket(step)]))[0]
