"""The interface of a logger, and the guard that keeps its failures from the run."""

import collections
import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

from vdm_jax.errors import first_line

Say = Callable[[str], None]  # prints a line

ROOM = 2**26  # bytes that may wait in memory for one logger
FIRST_PAUSE = 1.0  # seconds after which a logger that failed is tried again, doubled each time
LONGEST_PAUSE = 60.0
SLOW = 1.0  # seconds from which on an attempt that failed held up the run
REST = 4.0  # t seconds of a slow attempt are followed by REST * t without: a run spends a fifth on them at most


class Logger:
    """A destination of numbers and clips. A call that raises OSError has done nothing and may be made again."""

    shows_clips: ClassVar[bool] = False

    def scalars(self, step: int, values: dict[str, Any]) -> None:
        """Log JSON values by name, of one step; several calls may be of the same step."""

    def clip(self, step: int, name: str, gif: bytes, shape: tuple[int, int]) -> None:
        """Log an animated clip as the bytes of a GIF; shape is (H, W)."""

    def flush(self) -> None:
        """Make everything so far visible in the run directory, and safe there."""

    def close(self) -> None:
        """Flush, and close what is open."""


class Outage:
    """The time in which a writer fails: it costs a line when that begins and another when it is over, never the run.

    Attributes:
      lasts: Whether the writer fails now.
    """

    def __init__(self, name: str, say: Say, meanwhile: str = 'training goes on without'):
        """Start with a writer that works.

        Args:
          name: What the lines call the writer.
          say: Prints a line.
          meanwhile: What happens until it works again.
        """
        self._name = name
        self._say = say
        self._meanwhile = meanwhile
        self.lasts = False

    def begin(self, error: Exception) -> None:
        """Note that the writer failed."""
        if not self.lasts:
            self._say(f'{self._name}: {describe_error(error)}; {self._meanwhile}')
        self.lasts = True

    def end(self, remark: str = '') -> None:
        """Note that the writer works."""
        if self.lasts:
            self._say(f'{self._name}: works again{remark}')
        self.lasts = False

    @contextlib.contextmanager
    def tolerate(self) -> Iterator[None]:
        """Leave out what fails within."""
        try:
            yield
        except Exception as error:  # stores raise whatever their clients do
            self.begin(error)
        else:
            self.end()


class Entry(NamedTuple):
    """A call that waits.

    Attributes:
      size: Bytes that it takes in memory, about.
      write: Makes the call.
    """

    size: int
    write: Callable[[], None]


class GuardedLogger(Logger):
    """A logger that never raises and seldom waits.

    What cannot be written waits in memory, the oldest leaving first where there is no room, and is tried again with
    what comes later, after a pause, and at every flush. Where an attempt fails slowly, as in a store that refuses, a
    flush pauses too.
    """

    def __init__(self, logger: Logger, name: str, say: Say, room: int = ROOM):
        """Guard a logger.

        Args:
          logger: One whose calls may raise OSError or MemoryError, which stand for a state of the machine, and pass; a
            call that raises another exception is dropped, as it would never succeed.
          name: What the lines on the console call it.
          say: Prints a line.
          room: Bytes that may wait.
        """
        self._logger = logger
        self._name = name
        self._say = say
        self._room = room
        self._outage = Outage(name, say, 'training goes on, and what is to be written waits in memory')

        self._waiting: collections.deque[Entry] = collections.deque()
        self._bytes = 0  # of the entries that wait
        self._dropped = 0  # entries since the outage began
        self._pause = FIRST_PAUSE
        self._next_attempt = 0.0
        self._next_flush = 0.0
        self._flush_failed = False

    def scalars(self, step: int, values: dict[str, Any]) -> None:
        # 64 bytes stand for the entry itself.
        self._log(Entry(64 + len(str(values)), functools.partial(self._logger.scalars, step, values)))

    def clip(self, step: int, name: str, gif: bytes, shape: tuple[int, int]) -> None:
        if self._logger.shows_clips:
            self._log(Entry(len(gif), functools.partial(self._logger.clip, step, name, gif, shape)))

    def flush(self) -> None:
        if time.monotonic() >= self._next_flush:
            self._flush()

    def close(self) -> None:
        # The last attempt is made whenever the one before was.
        self._flush()
        try:
            self._logger.close()
        except Exception as error:
            self._say(f'{self._name}: {describe_error(error)}')
        if self._waiting or self._dropped:
            self._say(f'{self._name}: {len(self._waiting) + self._dropped} entries could not be written')

    def _flush(self) -> None:
        # Flushing is of no use while earlier entries cannot be written.
        if not self._write_waiting():
            return
        began = time.monotonic()
        try:
            self._logger.flush()
        except Exception as error:
            self._flush_failed = True
            self._next_flush = _next_attempt(began)
            self._outage.begin(error)
        else:
            self._flush_failed = False
            self._end_outage()

    def _log(self, entry: Entry) -> None:
        self._waiting.append(entry)
        self._bytes += entry.size
        while self._bytes > self._room:
            self._drop_oldest()

        if time.monotonic() < self._next_attempt:
            return
        # A flush that failed is over only once another one succeeds.
        if self._write_waiting() and not self._flush_failed:
            self._end_outage()

    def _write_waiting(self) -> bool:
        """Write what waits; return whether nothing does any more."""
        began = time.monotonic()
        try:
            while self._waiting:
                self._write_oldest()
        except Exception as error:
            self._next_flush = _next_attempt(began)
            self._next_attempt = max(self._next_flush, time.monotonic() + self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._outage.begin(error)
            return False
        self._pause = FIRST_PAUSE
        self._next_attempt = 0.0
        return True

    def _write_oldest(self) -> None:
        try:
            self._waiting[0].write()
        # A state of the machine, which passes: the entry stays.
        except (OSError, MemoryError):
            raise
        except Exception:
            # It would fail for ever, and hold back all behind it.
            self._drop_oldest()
            raise
        self._bytes -= self._waiting.popleft().size

    def _drop_oldest(self) -> None:
        self._bytes -= self._waiting.popleft().size
        self._dropped += 1

    def _end_outage(self) -> None:
        if self._outage.lasts:
            self._outage.end(f', {self._dropped} entries are lost' if self._dropped else ', nothing is lost')
            self._dropped = 0


def _next_attempt(began: float) -> float:
    """Return the time of time.monotonic() before which nothing is tried again, after an attempt that just failed."""
    now = time.monotonic()
    took = now - began
    return now + REST * took if took > SLOW else now


def describe_error(error: Exception) -> str:
    """Return what went wrong, in one line: 'No space left on device (/runs/a/metrics.jsonl)'."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f' ({error.filename})' if error.filename else '')
    text = first_line(error)
    kind = type(error).__name__
    return text if isinstance(error, OSError) or text == kind else f'{kind}: {text}'
