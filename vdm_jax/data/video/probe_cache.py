"""What is known of videos that are held as bytes, kept so that each is walked through once.

They are read as they are stored: what their pixels are was decided when the set was built.
"""

import dataclasses
import threading

from vdm_jax.data.video import decode


class Timelines:
    """The Videos of records by number, without their bytes, until they take `most` bytes; then no more are kept."""

    def __init__(self, limits: decode.Limits, most: int = 2**26):
        self._limits, self._most, self._lock, self._kept = limits, most, threading.Lock(), {}

    def video(self, number: int, data: bytes) -> decode.Video:
        """The Video of these bytes, those of record `number`. Raises BrokenVideoError as decode.probe does."""
        kept = self._kept.get(number)
        if kept is not None:
            return dataclasses.replace(kept, path=data)
        video = decode.probe(data, self._limits, square=False)
        size = 2000 + video.index.nbytes
        with self._lock:
            if number not in self._kept and size <= self._most:
                self._most -= size
                self._kept[number] = dataclasses.replace(video, path=b'')
        return video
