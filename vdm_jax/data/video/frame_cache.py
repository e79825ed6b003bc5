"""The frames of a small set of videos, kept in memory once they have been decoded and resized."""

import itertools
import math
import threading
from collections.abc import Hashable, Iterable

import numpy as np

from vdm_jax.data.video import decode, transforms
from vdm_jax.data.video.broken import BrokenVideoError


class FrameCache:
    """All resized frames of each video that was read twice; of none where they would not all fit."""

    def __init__(self, videos: Iterable[tuple[int, int, int]], picture: tuple[int, int], max_bytes: int):
        """Decide whether to cache.

        Args:
          videos: (frames, height, width) of each.
          picture: (height, width) that frames are resized to cover, the one size that is kept.
          max_bytes: What all frames of that size may take.
        """
        self._picture = picture
        sizes = (frames * 3 * math.prod(self._covering_size(height, width)) for frames, height, width in videos)
        # Stops at the first video that is too much: there may be millions.
        self._is_on = all(total <= max_bytes for total in itertools.accumulate(sizes))
        self._lock = threading.Lock()
        self._entries: dict[Hashable, _Entry] = {}

    def read(self, key: Hashable, video: decode.Video, indices: np.ndarray, height: int, width: int) -> np.ndarray:
        """Return what decode.read(video, indices, height, width) does; `key` names the video."""
        if self._is_on and (height, width) == self._covering_size(video.height, video.width):
            with self._lock:
                entry = self._entries.setdefault(key, _Entry())
            frames = entry.all_frames(video, height, width)
            if frames is not None:
                selection: np.ndarray = frames[indices]
                return selection
        return decode.read(video, indices, height, width)

    def _covering_size(self, height: int, width: int) -> tuple[int, int]:
        return transforms.cover(height, width, *self._picture)


class _Entry:
    """One video of the cache."""

    def __init__(self) -> None:
        # A lock for each video: threads that want others are not held up while this one is decoded.
        self._lock = threading.Lock()
        self._reads = 0
        self._frames: np.ndarray | None = None

    def all_frames(self, video: decode.Video, height: int, width: int) -> np.ndarray | None:
        """Return all frames, decoded at the second call; None before, and where they do not all decode."""
        with self._lock:
            self._reads += 1
            # At the second read: in a run of one epoch, a whole video would be decoded for its only clip.
            if self._reads == 2:
                try:
                    self._frames = decode.read(video, np.arange(video.frames), height, width)
                except BrokenVideoError:
                    pass  # a part of it may still decode
            return self._frames
