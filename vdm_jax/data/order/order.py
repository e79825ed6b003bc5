"""Which example comes when: a pure function of the step, the same for any number of hosts, threads and restarts."""

import dataclasses
import functools
import threading
from typing import ClassVar

import numpy as np

from vdm_jax.errors import UserError

# The last word of the Philox counter separates streams that share a seed: nothing drawn here repeats anywhere else.
_ORDER_STREAM, _CLIP_STREAM, MIX_STREAM, BUCKET_STREAM, VIEW_STREAM = 1, 2, 3, 4, 5
_LOCK = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Order:
    """The endless sequence of example ids, cut into global batches of `batch`.

    Position p (counted from 0 over the whole run) lies in epoch p // size; each epoch is its own permutation of all
    ids, and batches run over the ends of epochs: nothing is dropped. An epoch's permutation takes 8 bytes an id.
    Orders of one seed and different `stream` have nothing to do with each other.
    """

    size: int
    batch: int
    seed: int = 0
    shuffle: bool = True
    stream: int = 0

    def __post_init__(self):
        if self.size < 1:
            raise UserError(f'config.data: the source holds {self.size} clips; point it at data that is there')
        if self.batch < 1:
            raise UserError(f'config.train.batch_size is {self.batch}; set it to 1 or more')

    # What a loader asks of any order: the batches of its buckets (this one has one), the steps in a block, which bucket
    # each step of a block is of, and what is drawn for a row of a step.
    block: ClassVar[int] = 1

    @property
    def batches(self) -> tuple[int, ...]:
        return (self.batch,)

    def buckets(self, block):
        """Which bucket each step of a block takes, int64 (self.block,)."""
        del block
        return np.zeros(1, np.int64)

    def bucket(self, step) -> int:
        """The bucket of a step."""
        return int(self.buckets(step // self.block)[step % self.block])

    def place(self, step, row):
        """(example id, place in the run that no other example has) of one row of a step, or of many: int64."""
        position = step * self.batch + np.asarray(row, np.int64)
        return self.at(position), position

    def positions(self, step):
        """The places of a step's batch in the run, int64 (batch,)."""
        return np.arange(step * self.batch, (step + 1) * self.batch, dtype=np.int64)

    def at(self, positions):
        """The example ids at these positions, int64 of the same shape."""
        epochs, places = np.divmod(np.asarray(positions, np.int64), self.size)
        if not self.shuffle:
            return places
        ids = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            ids[here] = permutation(self.size, self.seed, int(epoch), self.stream)[places[here]]
        return ids

    def ids(self, step):
        """The global example ids of a step, int64 (batch,)."""
        return self.at(self.positions(step))


def clips_before(order, step: int) -> int:
    """How many clips come before a step; every block of an order's steps has each bucket as often as the others."""
    block, within = divmod(step, order.block)
    sizes = np.array(order.batches)
    return block * int(sizes[order.buckets(0)].sum()) + int(sizes[order.buckets(block)[:within]].sum())


def permutation(size, seed, epoch, stream=0):
    """All ids 0 ... size-1 in the order of one epoch, int64 (size,), read-only.

    It sorts raw Philox words, whose values numpy promises for ever; Generator.permutation may change between releases.
    """
    with _LOCK:  # otherwise every loader thread would sort the same new epoch
        return _epochs(size, seed, stream)(epoch)


@functools.lru_cache(maxsize=64)
def _epochs(size, seed, stream):
    """epoch -> permutation, the last three kept: of each stream, so that those of a mixture do not push others out."""

    @functools.lru_cache(maxsize=3)
    def permuted(epoch):
        ids = np.argsort(philox(_ORDER_STREAM, seed, epoch, stream).random_raw(size), kind='stable')
        ids.flags.writeable = False
        return ids

    return permuted


def clip_generator(seed, position):
    """The randomness of the clip at one position of the run (start frame, crop, flip): a numpy Generator."""
    return np.random.Generator(philox(_CLIP_STREAM, seed, position))


def philox(kind, seed, index, stream=0):
    """Raw words of their own for each kind, seed, index and stream."""
    key = np.array([seed % 2**64, index], np.uint64)
    return np.random.Philox(key=key, counter=np.array([0, 0, stream, kind], np.uint64))
