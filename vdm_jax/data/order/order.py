"""The order of examples: which one is trained on when.

It is a pure function of the step, so it is the same for any number of hosts, threads and restarts.
"""

import dataclasses
import functools
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from vdm_jax.errors import UserError

if TYPE_CHECKING:
    from vdm_jax.data.order.buckets import BucketOrder

# The last word of the Philox counter separates streams that share a seed: nothing drawn here repeats anywhere else.
_ORDER_STREAM = 1
_CLIP_STREAM = 2
MIX_STREAM = 3
BUCKET_STREAM = 4
VIEW_STREAM = 5

_PERMUTATION_LOCK = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Order:
    """The endless sequence of example ids, cut into global batches.

    Position p (counted from 0 over the whole run) lies in epoch p // size; each epoch is its own permutation of all
    ids, and batches run over the ends of epochs: nothing is dropped. An epoch's permutation takes 8 bytes an id.

    Attributes:
      size: Number of examples.
      batch: Examples in a global batch.
      seed: Of the permutations.
      shuffle: Whether epochs are permuted; otherwise ids ascend.
      stream: Orders of one seed and different streams have nothing to do with each other.
    """

    size: int
    batch: int
    seed: int = 0
    shuffle: bool = True
    stream: int = 0

    # Every order has these: the steps of a block, the batch size of each bucket, and the buckets of a block's steps.
    # This one has a single bucket.
    block_size: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise UserError(f'config.data: the source holds {self.size} clips; point it at data that is there')
        if self.batch < 1:
            raise UserError(f'config.train.batch_size is {self.batch}; set it to 1 or more')

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Examples in a batch of each bucket."""
        return (self.batch,)

    def buckets(self, block: int) -> np.ndarray:
        """Return the bucket of each step of a block: int64 (block_size,)."""
        del block
        return np.zeros(1, np.int64)

    def bucket(self, step: int) -> int:
        """Return the bucket of a step."""
        block, within = divmod(step, self.block_size)
        return int(self.buckets(block)[within])

    def locate(self, step: int, row: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the example id of one row of a step, or of many, and its position in the run: int64 each.

        No two rows of a run have the same position.
        """
        position = step * self.batch + np.asarray(row, np.int64)
        return self.ids_at(position), position

    def positions(self, step: int) -> np.ndarray:
        """Return the positions of a step's batch in the run: int64 (batch,)."""
        return np.arange(step * self.batch, (step + 1) * self.batch, dtype=np.int64)

    def ids_at(self, positions: int | np.ndarray) -> np.ndarray:
        """Return the example ids at these positions: int64 of the same shape."""
        epochs, ranks = np.divmod(np.asarray(positions, np.int64), self.size)
        if not self.shuffle:
            return ranks

        ids = np.empty_like(ranks)
        for epoch in np.unique(epochs):
            in_epoch = epochs == epoch
            ids[in_epoch] = permutation(self.size, self.seed, int(epoch), self.stream)[ranks[in_epoch]]
        return ids

    def ids(self, step: int) -> np.ndarray:
        """Return the example ids of a step's global batch: int64 (batch,)."""
        return self.ids_at(self.positions(step))


def clips_before(order: 'Order | BucketOrder', step: int) -> int:
    """Return how many clips come before a step."""
    block, within = divmod(step, order.block_size)
    sizes = np.array(order.batch_sizes)

    # Every block has each bucket as often as the others, so full blocks need not be walked through.
    full_blocks = block * int(sizes[order.buckets(0)].sum())
    return full_blocks + int(sizes[order.buckets(block)[:within]].sum())


def permutation(size: int, seed: int, epoch: int, stream: int = 0) -> np.ndarray:
    """Return all ids 0 ... size-1 in the order of one epoch: int64 (size,), read-only.

    It sorts raw Philox words, whose values numpy promises for ever; Generator.permutation may change between releases.
    """
    with _PERMUTATION_LOCK:  # otherwise every loader thread would sort the same new epoch
        return _epoch_permutations(size, seed, stream)(epoch)


@functools.lru_cache(maxsize=64)
def _epoch_permutations(size: int, seed: int, stream: int) -> Callable[[int], np.ndarray]:
    """Return a function from an epoch to its permutation.

    It caches the last three of each stream, so that the streams of a mixture do not push each other out.
    """

    @functools.lru_cache(maxsize=3)
    def permute(epoch: int) -> np.ndarray:
        ids = np.argsort(philox(_ORDER_STREAM, seed, epoch, stream).random_raw(size), kind='stable')
        ids.flags.writeable = False
        return ids

    return permute


def clip_generator(seed: int, position: int) -> np.random.Generator:
    """Return the generator of the clip at one position of the run: it draws start frame, crop and flip."""
    return np.random.Generator(philox(_CLIP_STREAM, seed, position))


def philox(kind: int, seed: int, index: int, stream: int = 0) -> np.random.Philox:
    """Return a bit generator whose raw words no other kind, seed, index or stream has."""
    key = np.array([seed % 2**64, index], np.uint64)
    return np.random.Philox(key=key, counter=np.array([0, 0, stream, kind], np.uint64))
