"""Cache of the indexes of videos that are held as bytes, so that each is probed once.

They are read as they are stored: the shape of their pixels was decided when the set was built.
"""

import dataclasses
import threading

from vdm_jax.data.video import decode
from vdm_jax.data.video.limits import Limits

VIDEO_BYTES = 2000  # about what a Video takes beside the arrays of its index


class ProbeCache:
    """The Videos of records by number, without their bytes, until they take `max_bytes`; no more are kept then."""

    def __init__(self, limits: Limits, max_bytes: int = 2**26):
        self._limits = limits
        self._bytes_left = max_bytes
        self._lock = threading.Lock()
        self._videos: dict[int, decode.Video] = {}

    def video(self, number: int, data: bytes) -> decode.Video:
        """Return the Video of these bytes, those of record `number`.

        Raises:
          BrokenVideoError: As decode.probe does.
        """
        cached = self._videos.get(number)
        if cached is not None:
            return dataclasses.replace(cached, path=data)

        video = decode.probe(data, self._limits, square=False)
        size = VIDEO_BYTES + video.index.nbytes
        with self._lock:
            # Another thread may have probed it in the meantime.
            if number not in self._videos and size <= self._bytes_left:
                self._bytes_left -= size
                # Without the bytes, which are those of the whole set in the end.
                self._videos[number] = dataclasses.replace(video, path=b'')
        return video
