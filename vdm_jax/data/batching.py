"""Clips one after the other, stacked to batches that need not be alike in size, as a Grain dataset.

Grain's own `batch` takes one size. Imported where batches are loaded, as Grain need not be installed elsewhere.
"""

from collections.abc import Callable

import grain
import numpy as np


class Stacked(grain.IterDataset):
    """Batch number n is the next size(n) clips: dicts of arrays, stacked by name."""

    def __init__(self, clips: grain.IterDataset, size: Callable[[int], int], count: int):
        super().__init__(clips)
        self._size, self._count = size, count

    def __iter__(self):
        return _Stacking(self._parent.__iter__(), self._size, self._count)


class _Stacking(grain.DatasetIterator):
    def __init__(self, clips, size, count):
        super().__init__(clips)
        self._size, self._count, self._done = size, count, 0

    def __next__(self):
        if self._done >= self._count:
            raise StopIteration
        clips = [next(self._parent) for _ in range(self._size(self._done))]
        self._done += 1
        return {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}

    def get_state(self):
        """How far it is: the position of a run is its step, and nothing here is saved."""
        return {'done': self._done, 'clips': self._parent.get_state()}

    def set_state(self, state):
        self._done = state['done']
        self._parent.set_state(state['clips'])
