"""What a source counts while many threads read it."""

import collections
import threading
from collections.abc import Mapping


class Tally:
    """Counts by name, and which items are broken, with the reason. `known`: counts that stand from the beginning."""

    def __init__(self):
        self._lock = threading.Lock()
        self._counts = collections.Counter()
        self._broken = {}
        self.known: Mapping[str, int] = {}

    def add(self, **counts: int) -> None:
        with self._lock:
            for name, count in counts.items():
                self._counts[name] += count

    def broken(self, item, reason: str) -> int:
        """Notes that an item is broken; returns how many are by now. The reason names the item."""
        with self._lock:
            self._broken[item] = reason
            return len(self._broken)

    def counts(self, *names: str) -> dict[str, int]:
        """What was counted under these names."""
        with self._lock:
            return {name: int(self._counts[name]) for name in names}

    def counters(self, broken: str, *names: str) -> dict[str, int]:
        """What is known, how many are broken, under the name `broken`, and the counts of these names."""
        return {**self.known, broken: len(self._broken), **self.counts(*names)}

    def broken_lines(self) -> list[str]:
        """The reasons, in the order of the items."""
        with self._lock:
            return [self._broken[item] for item in sorted(self._broken)]

    def listed(self, most: int = 8) -> str:
        """The reasons as one line."""
        lines = self.broken_lines()
        return ', '.join(lines[:most]) + (f' and {len(lines) - most} more' if len(lines) > most else '') or 'none'
