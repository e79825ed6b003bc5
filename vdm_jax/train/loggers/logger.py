"""Where the numbers of a run go, one small class a place, and the guard that keeps their mishaps from the run."""

import collections
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

ROOM = 2**26  # bytes that may wait in memory for one logger
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between two attempts of a logger that fails


class Logger:
    """A place for numbers and clips. A call that raises OSError has done nothing and may be made again."""

    shows_clips: ClassVar[bool] = False

    def scalars(self, step: int, values: dict) -> None:
        """JSON values by name, of one step; several calls may be of the same step."""

    def clip(self, step: int, name: str, gif: bytes, shape: tuple[int, int]) -> None:
        """An animated clip as the bytes of a GIF; shape is (H, W)."""

    def flush(self) -> None:
        """Makes everything so far visible in the run directory, and safe there."""

    def close(self) -> None:
        """Flushes, and lets go of what is open."""


class Outage:
    """A writer that fails costs a line when that begins and another when it is over, and never the run."""

    def __init__(self, name: str, say: Callable[[str], None], meanwhile: str = 'training goes on without'):
        self._name, self._say, self._meanwhile = name, say, meanwhile
        self.lasts = False

    def begin(self, error: Exception) -> None:
        if not self.lasts:
            self._say(f'{self._name}: {reason(error)}; {self._meanwhile}')
        self.lasts = True

    def end(self, but: str = '') -> None:
        if self.lasts:
            self._say(f'{self._name}: works again{but}')
        self.lasts = False

    @contextlib.contextmanager
    def weathered(self) -> Iterator[None]:
        """What fails within is left out."""
        try:
            yield
        except Exception as error:  # stores raise whatever their clients do
            self.begin(error)
        else:
            self.end()


class Guarded(Logger):
    """A logger that never raises and never waits: what cannot be written waits in memory, the oldest leaving first
    where there is no room, and is tried again with what comes later, after a pause, and whenever one flushes.

    Args:
      logger: one whose calls may raise OSError, which stands for a state of the disk, and passes; what another
        exception is raised for is dropped, as it would never be written.
      name: what the lines on the console call it.
      say: prints a line.
      room: bytes that may wait.
    """

    def __init__(self, logger: Logger, name: str, say: Callable[[str], None], room: int = ROOM):
        self._logger, self._name, self._say, self._room = logger, name, say, room
        self._outage = Outage(name, say, 'training goes on, and what is to be written waits in memory')
        self._waiting = collections.deque()  # (bytes, method, arguments)
        self._bytes = 0
        self._lost = 0
        self._pause, self._next_attempt = FIRST_PAUSE, 0.0
        self._flush_failed = False

    def scalars(self, step, values):
        self._take(64 + len(str(values)), self._logger.scalars, step, values)

    def clip(self, step, name, gif, shape):
        if self._logger.shows_clips:
            self._take(len(gif), self._logger.clip, step, name, gif, shape)

    def flush(self):
        if not self._write_waiting():
            return
        try:
            self._logger.flush()
        except Exception as error:
            self._flush_failed = True
            self._outage.begin(error)
        else:
            self._flush_failed = False
            self._recover()

    def close(self):
        self.flush()
        try:
            self._logger.close()
        except Exception as error:
            self._say(f'{self._name}: {reason(error)}')
        if self._waiting or self._lost:
            self._say(f'{self._name}: {len(self._waiting) + self._lost} entries could not be written')

    def _take(self, size: int, method: Callable, *arguments) -> None:
        self._waiting.append((size, method, arguments))
        self._bytes += size
        while self._bytes > self._room:
            self._drop()
        if time.monotonic() >= self._next_attempt and self._write_waiting() and not self._flush_failed:
            self._recover()

    def _write_waiting(self) -> bool:
        """Writes what waits; whether nothing does any more."""
        try:
            while self._waiting:
                self._write_oldest()
        except Exception as error:
            self._next_attempt = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._outage.begin(error)
            return False
        self._pause, self._next_attempt = FIRST_PAUSE, 0.0
        return True

    def _write_oldest(self) -> None:
        _, method, arguments = self._waiting[0]
        try:
            method(*arguments)
        except (OSError, MemoryError):
            raise
        except Exception:
            self._drop()
            raise
        self._bytes -= self._waiting.popleft()[0]

    def _recover(self) -> None:
        if self._outage.lasts:
            self._outage.end(f', {self._lost} entries are lost' if self._lost else ', nothing is lost')
            self._lost = 0

    def _drop(self) -> None:
        self._bytes -= self._waiting.popleft()[0]
        self._lost += 1


def reason(error: Exception) -> str:
    """What went wrong, in one line: 'No space left on device (/runs/a/metrics.jsonl)'."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f' ({error.filename})' if error.filename else '')
    text = str(error).strip().split('\n')[0][:200]
    return text if isinstance(error, OSError) and text else f'{type(error).__name__}: {text}'
