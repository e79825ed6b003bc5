"""Damage to files and the outcome of reading them: counted, one row of a table for each kind of files.

A `Kind` makes its files and reads them. One of them is damaged, all are read as the program reads them,
and the file is put back: `noticed` in one line, `harmless` (the same values as before), or one of FAULTS.
"""

import contextlib
import dataclasses
import hashlib
import io
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vdm_jax.errors import UserError

# Seven of ten tries change one bit.
WAYS = 'flip', 'cut', 'flip', 'flip', 'zero', 'flip', 'flip', 'gone', 'flip', 'flip'
FAULTS = 'unnoticed', 'traceback', 'hang'
COLUMNS = 'tried', 'noticed', 'harmless', *FAULTS
HANG = 'hang'


@dataclasses.dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
      make: writes them, undamaged, into an empty directory; called once.
      read: reads them as the program does, from the beginning: (all values that it took from them, its message on
        damage that it skipped, '' for none). Raises UserError where the damage stops it.
      files: patterns of the files that are damaged, below the directory.
      ways: that they are damaged in, of WAYS, one after the other.
    """

    make: Callable[[Path], Any]
    read: Callable[[Path], tuple[Any, str]]
    files: tuple[str, ...]
    ways: tuple[str, ...] = WAYS


@dataclasses.dataclass(frozen=True)
class Reading:
    """What came of reading.

    Attributes:
      digest: of all values; '' where reading stopped.
      words: what was said of damage.
      fault: a traceback, or HANG; '' for none.
    """

    digest: str = ''
    words: str = ''
    fault: str = ''


def attempt(kind: Kind, directory: Path) -> Reading:
    """Reads the files of a kind in this process."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            values, words = kind.read(directory)
    except UserError as error:
        if '\n' in str(error).strip():
            return Reading(fault=f'more than one line: {error}')
        return Reading(words=str(error))
    except Exception:  # this is what is looked for
        return Reading(fault=traceback.format_exc())
    return Reading(digest_of(values), words)


def digest_of(values) -> str:
    """sha256 of nested mappings, sequences, arrays and plain values."""
    digest = hashlib.sha256()

    def add(value):
        if isinstance(value, dict):
            for name in sorted(value):
                digest.update(repr(name).encode())
                add(value[name])
        elif isinstance(value, list | tuple):
            digest.update(f'{len(value)}['.encode())
            for each in value:
                add(each)
        elif hasattr(value, 'dtype') and hasattr(value, 'shape'):
            array = np.asarray(value)
            digest.update(f'{array.dtype}{array.shape}'.encode())
            digest.update(pickle.dumps(array.tolist()) if array.dtype.hasobject else array.tobytes())
        else:
            digest.update(repr(value).encode())

    add(values)
    return digest.hexdigest()


def command(main: Callable, arguments: list[str]) -> str:
    """What a command prints.

    Raises:
      UserError: it ended with 2; with what it printed on stderr.
      AssertionError: with another code than 0.
    """
    out = io.StringIO()
    err = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments) or 0
    if code == 2:
        raise UserError(err.getvalue().strip())
    assert code == 0, f'exit code {code}: {err.getvalue()}'
    return out.getvalue()


def victims(kind: Kind, directory: Path) -> list[Path]:
    """The files of a kind that are damaged, sorted."""
    return sorted({path for pattern in kind.files for path in Path(directory).glob(pattern) if path.is_file()})


def damage(path: Path, way: str, rng: np.random.Generator) -> str:
    """Damages a file in one of WAYS; returns where."""
    content = bytearray(path.read_bytes())
    size = len(content)
    if way == 'gone':
        path.unlink()
        return ''
    at = int(rng.integers(max(size, 1)))
    if way == 'flip' and size:
        bit = int(rng.integers(8))
        content[at] ^= 1 << bit
        where = f'byte {at}, bit {bit}'
    elif way == 'zero':
        stop = min(at + int(2 ** rng.uniform(0, 12)), size)
        content[at:stop] = bytes(stop - at)
        where = f'bytes {at} to {stop}'
    else:
        del content[at:]
        where = f'at byte {at}'
    path.write_bytes(content)
    return where


def judge(intact: Reading, now: Reading) -> str:
    """Which of COLUMNS a reading of damaged files counts under."""
    if now.fault:
        return HANG if now.fault == HANG else 'traceback'
    if not now.digest or now.words != intact.words:
        return 'noticed'
    return 'harmless' if now.digest == intact.digest else 'unnoticed'


def count(
    kind: Kind, directory: Path, read: Callable[[], Reading], tries: range, seed: int = 0, fault=print
) -> dict[str, int]:
    """Damages files and has them read, once for each number of `tries`; returns how many came out how, by COLUMNS.

    Args:
      directory: where the kind's files are, undamaged, as they are again afterwards.
      read: reads them.
      seed: a try of the same number and seed is the same damage to the same files.
      fault: called with a line and a traceback for each of FAULTS.
    """
    intact = read()
    assert intact.digest, f'undamaged files cannot be read: {intact.words or intact.fault}'
    files = victims(kind, directory)
    sizes = np.array([path.stat().st_size for path in files], float)
    counts = dict.fromkeys(COLUMNS, 0)
    for number in tries:
        rng = np.random.default_rng([seed, number])
        # Half of the tries choose a file, half of them a byte of all files.
        path = files[rng.choice(len(files), p=None if number % 2 else sizes / sizes.sum())]
        way = kind.ways[number % len(kind.ways)]
        content = path.read_bytes()
        try:
            where = damage(path, way, rng)
            now = read()
        finally:
            path.write_bytes(content)
        came = judge(intact, now)
        counts['tried'] += 1
        counts[came] += 1
        if came in FAULTS:
            fault(f'{came}: try {number}, {path.relative_to(directory)}, {way} {where}\n{now.fault}')
    return counts


def header() -> str:
    """The first two lines of the table."""
    names = 'what', *COLUMNS
    return f'| {" | ".join(names)} |\n|{" --- |" * len(names)}'


def row(what: str, counts: dict[str, int]) -> str:
    """A line of the table."""
    return f'| {" | ".join([what, *(f"{counts[name]:,}" for name in COLUMNS)])} |'
