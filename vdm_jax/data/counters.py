"""What a source counts while many threads read it."""

import collections
import threading
from typing import Any


class Tally:
    """Counts by name, and which items are broken, with the reason.

    Attributes:
      known: Counts that do not change while clips are read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()
        self._broken: dict[Any, str] = {}
        self.known: dict[str, int] = {}

    def add(self, **counts: int) -> None:
        """Add to the counts of these names."""
        with self._lock:
            for name, count in counts.items():
                self._counts[name] += count

    def note_broken(self, item: int | str, reason: str) -> int:
        """Note that an item is broken, and return how many are by now. The reason names the item."""
        with self._lock:
            # By item and not as a number: threads, and later epochs, meet the same broken file again.
            self._broken[item] = reason
            return len(self._broken)

    def counts(self, *names: str) -> dict[str, int]:
        """Return what was counted under these names."""
        with self._lock:
            return {name: int(self._counts[name]) for name in names}

    def counters(self, broken: str, *names: str) -> dict[str, int]:
        """Return what is known, how many are broken, under the name `broken`, and the counts of these names."""
        return {**self.known, broken: len(self._broken), **self.counts(*names)}

    def broken_lines(self) -> list[str]:
        """Return the reasons, in the order of the items."""
        with self._lock:
            # Not in the order in which threads met them, which changes from run to run.
            return [self._broken[item] for item in sorted(self._broken)]

    def summarize_broken(self, most: int = 8) -> str:
        """Return the first reasons as one line."""
        lines = self.broken_lines()
        if not lines:
            return 'none'
        more = f' and {len(lines) - most} more' if len(lines) > most else ''
        return ', '.join(lines[:most]) + more
