"""A disk that fails for a while."""

import os

from vdm_jax.train.loggers import append_file


class Faults:
    """Has the system's calls for files below some places fail with `number` while that is set."""

    def __init__(self, monkeypatch, *places):
        self.number = None
        self.calls = 0
        for name in ('pwrite', 'fsync', 'open', 'mkdir'):
            monkeypatch.setattr(append_file.os, name, self._failing(name, getattr(os, name), places))

    def _failing(self, name, real, places):
        def call(first, *rest, **more):
            path = os.readlink(f'/proc/self/fd/{first}') if isinstance(first, int) else str(first)
            if self.number is None or not any(str(place) in path for place in places):
                return real(first, *rest, **more)
            self.calls += 1
            if name == 'pwrite' and self.calls % 3:  # half of it has been written when the disk fails
                real(first, bytes(rest[0])[: len(rest[0]) // 2], rest[1])
            raise OSError(self.number, os.strerror(self.number))

        return call
