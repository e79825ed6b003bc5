"""A Grain dataset that stacks clips to batches of several sizes.

Grain's own `batch` takes one size. Imported where batches are loaded, as Grain need not be installed elsewhere.
"""

from collections.abc import Callable
from typing import Any

import grain
import numpy as np

from vdm_jax.data.source import stack_clips


class StackedBatches(grain.IterDataset):  # type: ignore[misc]
    """Batch number n is the next size(n) clips: dicts of arrays, stacked by name."""

    def __init__(self, clips: grain.IterDataset, size: Callable[[int], int], count: int):
        super().__init__(clips)
        self._size = size
        self._count = count

    def __iter__(self) -> '_StackingIterator':
        return _StackingIterator(self._parent.__iter__(), self._size, self._count)


class _StackingIterator(grain.DatasetIterator):  # type: ignore[misc]
    def __init__(self, clips: grain.DatasetIterator, size: Callable[[int], int], count: int):
        super().__init__(clips)
        self._size = size
        self._count = count
        self._done = 0

    def __next__(self) -> dict[str, np.ndarray]:
        if self._done >= self._count:
            raise StopIteration
        clips = [next(self._parent) for _ in range(self._size(self._done))]
        self._done += 1
        return stack_clips(clips)

    # Grain wants these. Nothing is saved with them: the position of a run is its step.

    def get_state(self) -> dict[str, Any]:
        """Return how far it is."""
        return {'done': self._done, 'clips': self._parent.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state that `get_state` returned."""
        self._done = state['done']
        self._parent.set_state(state['clips'])
