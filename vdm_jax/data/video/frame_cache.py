"""The frames of a small set of videos, kept in memory once they have been decoded and resized."""

import itertools
import math
import threading
from collections.abc import Hashable, Iterable

import numpy as np

from vdm_jax.data.video import decode, transforms


class FrameCache:
    """All resized frames of each video that was asked for twice; of none where they would not all fit.

    videos: (frames, height, width) of each; most: bytes that all their frames may take, resized to cover `picture`,
    (height, width), the one size that is kept.
    """

    def __init__(self, videos: Iterable[tuple[int, int, int]], picture: tuple[int, int], most: int):
        self._picture = picture
        sizes = (frames * 3 * math.prod(self._size(*size)) for frames, *size in videos)
        self._on = all(total <= most for total in itertools.accumulate(sizes))  # looks no further than that
        self._lock = threading.Lock()
        self._entries = {}

    def read(self, key: Hashable, video: decode.Video, indices: np.ndarray, height: int, width: int) -> np.ndarray:
        """What decode.read(video, indices, height, width) gives; `key` names the video."""
        if self._on and (height, width) == self._size(video.height, video.width):
            with self._lock:
                entry = self._entries.setdefault(key, _Entry())
            if (frames := entry.whole(video, height, width)) is not None:
                return frames[indices]
        return decode.read(video, indices, height, width)

    def _size(self, height, width):
        return transforms.cover(height, width, *self._picture)


class _Entry:
    """One video of the cache."""

    def __init__(self):
        self._lock = threading.Lock()
        self._asked, self._frames = 0, None

    def whole(self, video, height, width):
        """All frames, decoded when asked for the second time; None before, and where the whole does not decode."""
        with self._lock:
            self._asked += 1
            if self._asked == 2:
                try:
                    self._frames = decode.read(video, np.arange(video.frames), height, width)
                except decode.BrokenVideoError:
                    pass  # a part of it may still decode
            return self._frames
