"""What was measured of the first samples of an evaluation, on disk, so that one that is interrupted goes on from there.

Rows lie in numbered files of a directory, each flushed before the next is begun; the directory goes when the score is
written. It is found again by the evaluation that asks the same question, and by no other.
"""

import contextlib
import io
import re
import time

import numpy as np
from etils import epath

from vdm_jax import files
from vdm_jax.errors import UserError, first_line
from vdm_jax.evals.judge import Rows

SECONDS = 30.0  # between two writes: what an interruption costs at the most
DIGEST = 'sha256'  # of each video, beside what was measured of it
PART = re.compile(r'rows_(\d{8})\.npz')


class MemoryRows:
    """The rows of one evaluation so far, in memory alone."""

    def __init__(self) -> None:
        """Start with none."""
        self._rows: list[Rows] = []

    @property
    def count(self) -> int:
        """Videos of which there are rows."""
        return sum(len(rows[DIGEST]) for rows in self._rows)

    def add(self, rows: Rows) -> None:
        """Take the rows of the next videos."""
        self._rows.append(rows)

    def flush(self) -> None:
        """Do nothing."""

    def all_rows(self) -> Rows:
        """Return all rows, in order."""
        return stack_rows(self._rows)

    def remove(self) -> None:
        """Do nothing."""


class PartialRows(MemoryRows):
    """The rows of one evaluation so far; of processes that run together the primary one alone has it."""

    def __init__(self, directory: epath.PathLike):
        """Read what is there.

        Args:
          directory: That of this evaluation alone; it need not be there.

        Raises:
          UserError: A file there is damaged.
        """
        super().__init__()
        self._directory = epath.Path(directory)
        self._pending: list[Rows] = []
        self._last_write = time.monotonic()
        self._read()

    def add(self, rows: Rows) -> None:
        """Take the rows of the next videos, and write those that are not written where it is time to."""
        super().add(rows)
        self._pending.append(rows)
        if time.monotonic() - self._last_write >= SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are not written; where the disk takes none, the evaluation goes on without."""
        if not self._pending:
            return
        pending = stack_rows(self._pending)
        content = io.BytesIO()
        np.savez(content, **pending)
        first = self.count - len(pending[DIGEST])
        # What is lost is the way back into an evaluation that is interrupted, and not the evaluation.
        with contextlib.suppress(OSError):
            files.write_atomically(str(self._directory / f'rows_{first:08d}.npz'), content.getvalue())
            self._pending = []
        self._last_write = time.monotonic()

    def remove(self) -> None:
        """Remove what is on disk; what cannot be removed is found by nobody who asks another question."""
        with contextlib.suppress(OSError):
            if self._directory.exists():
                self._directory.rmtree(missing_ok=True)

    def _read(self) -> None:
        if not self._directory.exists():
            return
        names = sorted(path.name for path in self._directory.iterdir() if PART.fullmatch(path.name))
        for name in names:
            path = self._directory / name
            # A gap would shift all that comes after it.
            if name != f'rows_{self.count:08d}.npz':
                raise UserError(f'{path}: rows before it are missing; remove {self._directory} to begin anew')
            rows = read_rows(path, f'remove {self._directory} to begin anew')
            if self._rows and [*rows] != [*self._rows[0]]:
                raise UserError(f'{path}: has other columns than those before; remove {self._directory} to begin anew')
            self._rows.append(rows)


def read_rows(path: epath.Path, remedy: str) -> Rows:
    """Return the rows in a file.

    Raises:
      UserError: It is damaged, or something else; the message ends with the remedy.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            rows = dict(arrays)
    # Readers of damaged files have errors of every kind.
    except Exception as error:
        raise UserError(f'{path}: damaged ({first_line(error)}); {remedy}') from None
    if DIGEST not in rows or 0 in {values.ndim for values in rows.values()}:
        raise UserError(f'{path}: these are no rows of an evaluation; {remedy}')
    if len({len(values) for values in rows.values()}) != 1:
        raise UserError(f'{path}: its columns have several lengths; {remedy}')
    return rows


def stack_rows(parts: list[Rows]) -> Rows:
    """Return the rows of several batches as those of one."""
    return {name: np.concatenate([rows[name] for rows in parts]) for name in parts[0]} if parts else {}
