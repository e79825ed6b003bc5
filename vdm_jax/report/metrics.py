"""metrics.jsonl -> curves, and what happened on the way: restarts, numbers that are not finite, files left out."""

import array
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.files import parse_json
from vdm_jax.report.numbers import to_float
from vdm_jax.train.best_metric import SCORE

NAME = 'metrics.jsonl'
LONGEST_LINE = 2**20  # bytes of a line that is read
MOST_CURVES = 500  # names of numbers that are taken from one file
MOST_NAMES = 200  # files that are listed, and numbers that are not finite

# What falls only where another process began: counts of it, and the most memory that it had.
OF_A_PROCESS = ('compilations', 'memory_peak')


@dataclass(frozen=True)
class Curve:
    """Numbers over training steps.

    Attributes:
      steps: float64 (N,), ascending.
      values: float64 (N,), nan and infinity among them.
    """

    steps: np.ndarray
    values: np.ndarray

    def is_finite(self) -> np.ndarray:
        """Return which values are finite, bool (N,)."""
        finite: np.ndarray = np.isfinite(self.values)
        return finite

    @property
    def last_count(self) -> int:
        """The last value that is finite, of a counter; 0 where there is none."""
        finite = self.values[self.is_finite()]
        return int(finite[-1]) if finite.size else 0


@dataclass(frozen=True)
class Restart:
    """A run that went on.

    Attributes:
      step: From where.
      moment: When, as text; '' where the file does not say.
      is_inferred: Whether it was concluded from the numbers, as of a run that did not write it.
    """

    step: int
    moment: str = ''
    is_inferred: bool = False


@dataclass
class Metrics:
    """What a metrics.jsonl holds.

    Attributes:
      curves: By name.
      restarts: In the order of the file.
      not_finite: (step, name, 'nan', 'inf' or '-inf') of the first numbers that are not finite, but for figures of
        scores, of which some cannot be measured.
      not_finite_count: How many there are in all.
      problem_files: {kind: names}, of files that the source could not take as they are.
      bad_samples: (step, how many samples were not finite).
      notes: (step, text), such as of a schedule that was stretched.
      broken_lines: Numbers of the lines that are no metrics, from 1 on.
      has_torn_end: Whether the last line has no end, as while it is being written.
      last_step: The highest step that was written, None where there is none.
    """

    curves: dict[str, Curve] = field(default_factory=dict)
    restarts: list[Restart] = field(default_factory=list)
    not_finite: list[tuple[int, str, str]] = field(default_factory=list)
    not_finite_count: int = 0
    problem_files: dict[str, list[str]] = field(default_factory=dict)
    bad_samples: list[tuple[int, int]] = field(default_factory=list)
    notes: list[tuple[int, str]] = field(default_factory=list)
    broken_lines: list[int] = field(default_factory=list)
    has_torn_end: bool = False
    last_step: int | None = None


def read_metrics(path: epath.Path) -> Metrics:
    """Return what a metrics.jsonl of any length holds; lines that are no metrics are counted."""
    reader = _Reader()
    with path.open('rb') as file:
        for number, line in enumerate(_read_lines(file), 1):
            reader.take(number, line)
    return reader.finish()


def _read_lines(file: Any) -> Iterator[bytes]:
    """Yield the lines of a binary file; one that is too long comes as its beginning alone."""
    while line := file.readline(LONGEST_LINE):
        is_cut = len(line) == LONGEST_LINE and not line.endswith(b'\n')
        has_end = not is_cut
        while not has_end and (rest := file.readline(LONGEST_LINE)):
            has_end = rest.endswith(b'\n')
        yield line + b'\n' if is_cut and has_end else line


class _Reader:
    """Takes lines one after the other."""

    def __init__(self) -> None:
        self._metrics = Metrics()
        # 8 bytes a number: a run may have millions of them.
        self._steps: dict[str, array.array[float]] = {}
        self._values: dict[str, array.array[float]] = {}
        self._last: dict[str, float] = {}  # of what falls only with a new process
        self._inferred: list[int] = []
        self._position = 0  # the step that the next line's seconds count from

    def take(self, number: int, line: bytes) -> None:
        """Take a line of the file."""
        if not line.strip():
            return
        values = _parse(line)
        if values is None:
            # The end of a file that grows may be half a line.
            self._metrics.has_torn_end = not line.endswith(b'\n')
            if not self._metrics.has_torn_end:
                self._metrics.broken_lines.append(number)
            return

        step: int = values.pop('step')
        self._metrics.last_step = max(step, self._metrics.last_step or 0)
        not_finite = values.pop('not_finite', None)
        for name, what in not_finite.items() if isinstance(not_finite, dict) else ():
            if what in ('nan', 'inf', '-inf'):
                values[name] = float(what)
        self._note_events(step, values)
        numbers = {name: to_float(value) for name, value in values.items() if type(value) in (int, float)}
        is_new_process = self._is_new_process(numbers)
        if is_new_process:
            self._inferred.append(self._position)
        for name, value in numbers.items():
            self._add(name, step, value)
        self._add_rates(step, numbers, is_new_process)

    def _note_events(self, step: int, values: dict[str, Any]) -> None:
        metrics = self._metrics
        for name, value in values.items():
            if name == 'resumed':
                metrics.restarts.append(Restart(step, str(value)))
                self._position = step
            elif name == 'samples_not_finite' and isinstance(value, list):
                metrics.bad_samples.append((step, len(value)))
            elif isinstance(value, list) and name.startswith('data/'):
                names = metrics.problem_files.setdefault(name.removeprefix('data/'), [])
                names += [str(item)[:500] for item in value if str(item)[:500] not in names]
            elif isinstance(value, str):
                metrics.notes.append((step, value[:1000]))
            # A figure of a score that could not be measured is no mishap of the run.
            elif isinstance(value, float) and not math.isfinite(value) and not name.startswith(SCORE):
                metrics.not_finite_count += 1
                if len(metrics.not_finite) < MOST_NAMES:
                    metrics.not_finite.append((step, name, str(value)))

    def _is_new_process(self, numbers: dict[str, float]) -> bool:
        """Return whether a line was written by another process than the one before."""
        current = {name: numbers[name] for name in OF_A_PROCESS if name in numbers}
        fell = any(value < self._last.get(name, value) for name, value in current.items())
        self._last |= current
        return fell

    def _add_rates(self, step: int, numbers: dict[str, float], is_new_process: bool) -> None:
        """Add what follows from the seconds since the line before."""
        seconds = numbers.get('seconds', 0)
        if not (math.isfinite(seconds) and seconds > 0):
            return
        steps = step - self._position
        # Of a restart that nobody wrote down it is not known how many steps the seconds are of.
        if steps > 0 and not is_new_process:
            self._add('steps_per_second', step, steps / seconds)
        if 'waited_for_data' in numbers:
            self._add('waiting_share', step, 100 * numbers['waited_for_data'] / seconds)
        self._position = step

    def _add(self, name: str, step: int, value: float) -> None:
        if name not in self._steps:
            if len(self._steps) >= MOST_CURVES:
                return
            self._steps[name] = array.array('d')
            self._values[name] = array.array('d')
        self._steps[name].append(step)
        self._values[name].append(value)

    def finish(self) -> Metrics:
        """Return what was taken."""
        metrics = self._metrics
        for name, steps in self._steps.items():
            x = np.array(steps)
            order = np.argsort(x, kind='stable')
            metrics.curves[name] = Curve(x[order], np.array(self._values[name])[order])
        # A run that writes its restarts needs no guesses.
        if not metrics.restarts:
            metrics.restarts = [Restart(step, is_inferred=True) for step in self._inferred]
        return metrics


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the values of a line of metrics, None for what is none."""
    try:
        values = parse_json(line.decode(), NAME)
    except (UnicodeDecodeError, UserError):
        return None
    step = values.get('step') if isinstance(values, dict) else None
    # Floats have no whole numbers beyond 2 ** 53.
    return values if type(step) is int and 0 <= step < 2**53 else None
