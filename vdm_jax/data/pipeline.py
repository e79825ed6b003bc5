"""Step -> this host's batch of clips, decoded and stacked ahead of time by Grain.

The stream is a function of (source, order, step) alone: the id of a clip comes from the order, its randomness from the
seed and its global position, so neither hosts nor threads nor the step of a restart change one byte of it. There is no
iterator state to save: the position is the step.
"""

import collections
import concurrent.futures
import functools
import itertools
import weakref
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np

from vdm_jax.data.order.buckets import BucketOrder
from vdm_jax.data.order.order import Order, clip_generator
from vdm_jax.data.scalars import attach_scalars
from vdm_jax.data.source import Clip, Reader, stack_clips

_AHEAD = 2  # batches gathered at once, beside the one in use


Batch = dict[str, np.ndarray]
Rows = Sequence[np.ndarray]  # those of the global batch that a host reads, of each bucket


def batches(
    reader: Reader,
    order: Order | BucketOrder,
    start_step: int = 0,
    stop_step: int | None = None,
    rows: Sequence[Sequence[int] | np.ndarray] | None = None,
    scalars: Sequence[str] = (),
) -> 'BatchStream':
    """Return an iterator, and context manager, over this host's batches of steps start_step, ..., stop_step - 1.

    About three batches are held in memory: one being drawn, one stacked, one in use. An exception in a clip comes out
    of `next`. Close it (or leave the `with`) to stop the threads.

    Args:
      reader: Of the clips.
      order: Over all of them.
      start_step: The first.
      stop_step: The one after the last; None: it never ends.
      rows: Which rows of the global batch are read, in any order and as often as they are named, for each of the
        order's buckets; None: all of them.
      scalars: The names of those that batches have.

    Returns:
      Batches as dicts of arrays: {'video': uint8 (b, T, H, W, C), 'label': int32 (b,), ...}, and scalars by name,
      float32 (b,).
    """
    if order.size != len(reader):
        raise ValueError(f'the order is over {order.size} clips, the source holds {len(reader)}')
    if rows is None:
        rows = [np.arange(batch) for batch in order.batch_sizes]
    own_rows = [np.asarray(each) for each in rows]
    if reader.loading == 'constant':
        steps = None if stop_step is None else stop_step - start_step
        return _Constant(reader, order, own_rows[0], steps, scalars)
    if reader.loading == 'batches':
        return _Gathered(reader, order, start_step, stop_step, own_rows, scalars)
    return _Loaded(reader, order, start_step, stop_step, own_rows, scalars)


class Walk:
    """This host's clips one after the other, from a step on: clip k is `locate(k)`, a step and a row of its batch."""

    def __init__(self, order: Order | BucketOrder, rows: Rows, start_step: int):
        self._order = order
        self._rows = rows
        self._sizes = np.array([len(each) for each in rows])

        # Every block has each bucket as often as the others, so the first one stands for all, and no step has to be
        # counted up to.
        self._in_block = int(self._sizes[order.buckets(0)].sum())

        # Threads draw ahead over the end of a block, so a few blocks are asked for in turn.
        @functools.lru_cache(maxsize=4)
        def ends(block: int) -> np.ndarray:
            """Return how many of a block's clips have come by the end of each of its steps."""
            return np.cumsum(self._sizes[order.buckets(block)])

        self._ends = ends
        self._first = self._clips_until(start_step)

    def size(self, step: int) -> int:
        """Return how many rows of a step this host reads."""
        return int(self._sizes[self._order.bucket(step)])

    def clips_before(self, step: int) -> int:
        """Return how many clips come before a step, from the first one of the walk on."""
        return self._clips_until(step) - self._first

    def _clips_until(self, step: int) -> int:
        """Return how many clips come before a step, from step 0 on."""
        block, within = divmod(step, self._order.block_size)
        in_started_block = int(self._ends(block)[within - 1]) if within else 0
        return block * self._in_block + in_started_block

    def locate(self, k: int) -> tuple[int, int]:
        """Return the step of clip k, and its row of the global batch."""
        block, rest = divmod(self._first + k, self._in_block)
        ends = self._ends(block)
        # 'right' passes over steps of whose batch this host reads no row.
        within = int(np.searchsorted(ends, rest, 'right'))
        step = block * self._order.block_size + within
        row = rest - (int(ends[within - 1]) if within else 0)
        return step, int(self._rows[self._order.bucket(step)][row])


class BatchStream(Iterator[Batch]):
    """This host's batches, one a step; closed when it is left."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop whatever draws clips ahead."""
        raise NotImplementedError


class _Loaded(BatchStream):
    """Grain: clips drawn in source.threads threads, batches stacked one ahead in a thread of their own.

    Batches are stacked on the thread that takes them, and Grain's readers refill their buffer only then: without the
    second prefetch the training loop would stack, and wait for the tail of every batch.
    """

    def __init__(
        self,
        reader: Reader,
        order: Order | BucketOrder,
        start_step: int,
        stop_step: int | None,
        rows: Rows,
        scalars: Sequence[str],
    ):
        # Imported here: Grain need not be installed where clips come in whole batches, or are made once.
        import grain

        from vdm_jax.data.batching import StackedBatches

        walk = Walk(order, rows, start_step)
        # A range of Grain has an end: a run without one gets more steps than it can ever take.
        steps = max(stop_step - start_step, 0) if stop_step is not None else 2**40

        def clip(k: int) -> Clip:
            i, position = map(int, order.locate(*walk.locate(k)))
            return attach_scalars(reader.draw(i, clip_generator(order.seed, position)), scalars)

        def size(number: int) -> int:
            return walk.size(start_step + number)

        self._open_iterators: list[Any] = []  # the iterator, until it is closed
        # Also when this is dropped, or left open at exit, where Grain's own __del__ prints a traceback.
        self._finalizer = weakref.finalize(self, _close_all, self._open_iterators)
        # Grain refuses an empty range.
        if not steps:
            return

        # At least one full batch of clips is under way while the last one is stacked.
        ahead = max(reader.source.prefetch, *map(len, rows))
        options = grain.ReadOptions(num_threads=reader.source.threads, prefetch_buffer_size=ahead)
        clips = grain.MapDataset.range(0, walk.clips_before(start_step + steps)).map(clip).to_iter_dataset(options)
        stacked = StackedBatches(clips, size, steps)
        iterator = iter(grain.experimental.ThreadPrefetchIterDataset(stacked, prefetch_buffer_size=1))
        self._open_iterators.append(iterator)
        # The first batch is read while the model compiles.
        iterator.start_prefetch()

    def __next__(self) -> Batch:
        if not self._open_iterators:
            raise StopIteration
        batch: Batch = next(self._open_iterators[0])
        return batch

    def close(self) -> None:
        self._finalizer()


def _close_all(iterators: list[Any]) -> None:
    while iterators:
        iterators.pop().close()


class _Gathered(BatchStream):
    """Without Grain: whole batches, reader.gather(ids, positions, seed, scalars), made in threads of their own.

    Where a clip takes microseconds, handling each of them by itself is what costs.
    """

    def __init__(
        self,
        reader: Reader,
        order: Order | BucketOrder,
        start_step: int,
        stop_step: int | None,
        rows: Rows,
        scalars: Sequence[str],
    ):
        endless = itertools.count(start_step)
        self._steps: Iterator[int] = endless if stop_step is None else iter(range(start_step, stop_step))
        self._pool = concurrent.futures.ThreadPoolExecutor(_AHEAD)
        self._ahead: collections.deque[concurrent.futures.Future[Batch]] = collections.deque()

        def gather(step: int) -> Batch:
            ids, positions = order.locate(step, rows[order.bucket(step)])
            return reader.gather(ids, positions, order.seed, scalars)

        self._gather = gather
        for _ in range(_AHEAD):
            self._submit_next()

    def _submit_next(self) -> None:
        step = next(self._steps, None)
        if step is not None:
            self._ahead.append(self._pool.submit(self._gather, step))

    def __next__(self) -> Batch:
        if not self._ahead:
            raise StopIteration
        batch = self._ahead.popleft().result()
        self._submit_next()
        return batch

    def close(self) -> None:
        # From here on `next` ends, in place of waiting for a batch that was cancelled.
        self._steps = iter(())
        self._ahead.clear()
        self._pool.shutdown(cancel_futures=True)


class _Constant(BatchStream):
    """The same batch at every step, without Grain: row r of the global batch is clip r modulo the source's size."""

    def __init__(
        self,
        reader: Reader,
        order: Order | BucketOrder,
        rows: np.ndarray,
        steps: int | None,
        scalars: Sequence[str],
    ):
        def draw(row: int) -> Clip:
            return reader.draw(row % len(reader), clip_generator(order.seed, row))

        self._batch = stack_clips([attach_scalars(draw(row), scalars) for row in rows.tolist()])
        for array in self._batch.values():
            # Every step hands out this very array: whoever wrote into it would change all later batches.
            array.flags.writeable = False
        self._left = steps

    def __next__(self) -> Batch:
        if self._left is not None:
            if self._left <= 0:
                raise StopIteration
            self._left -= 1
        return self._batch

    def close(self) -> None:
        self._left = 0
