"""Features that anybody computed, by any network (VideoMAE, V-JEPA), read from a file of arrays."""

import contextlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vdm_jax import files
from vdm_jax.errors import UserError

ENDINGS = ('.npy', '.npz', '.safetensors')
DTYPES = ('float16', 'float32', 'float64')
FEATURES = 'features'
PROBABILITIES = 'probabilities'
BLOCK = 2**24  # bytes that are looked at at a time
# By how much probabilities of a row may miss a sum of 1: 1,000 classes in float16 do by less.
TOLERANCE = 1e-2
LISTED = 8  # names in a message


@dataclass(frozen=True)
class StoredFeatures:
    """Features as a file has them.

    Attributes:
      features: (N, D), float16, float32 or float64, all finite; of a .npy file the file itself, mapped into memory.
      probabilities: Of classes, (N, K), where the file has them; else None.
      sha256: Of the file.
    """

    features: np.ndarray
    probabilities: np.ndarray | None
    sha256: str


def read_features(path: str | os.PathLike[str], name: str = '', called: str = 'features') -> StoredFeatures:
    """Return the features of a .npy, .npz or .safetensors file.

    Args:
      path: Of the file, on this machine.
      called: What messages call the path.
      name: Of the array, in a file of several: 'features' by default, or the only one there is. What is called
        'probabilities' is read beside it.

    Raises:
      UserError: there is no such file or array, or it is damaged, holds Python objects, is not (N, D) of floats, has no
        rows, or has values that are not finite; or probabilities have another N, or are none.
    """
    label = f'{called}={path}'
    if not files.is_local(path):
        raise UserError(f'{label}: is not on this machine; bring the file here')
    path = Path(path)
    files.check_regular(path, called=label)
    if ending_of(path) not in ENDINGS:
        raise UserError(f'{label}: {path.suffix or "a file without an ending"} is not read; want {", ".join(ENDINGS)}')
    arrays = _read_arrays(path, label, name)
    features = arrays[FEATURES]
    _check_array(features, f'{label}: {name or FEATURES}')

    probabilities = arrays.get(PROBABILITIES)
    if probabilities is not None:
        _check_probabilities(probabilities, len(features), f'{label}: {PROBABILITIES}')
    return StoredFeatures(features, probabilities, files.hash_file(path, label))


def ending_of(path: Path) -> str:
    """Return the ending in small letters, as of videos: files are called .NPY too."""
    return path.suffix.lower()


def holds_features(path: str | os.PathLike[str]) -> bool:
    """Return whether a file holds features, (N, D) or an array of that name, and not videos; False of what is none."""
    path = Path(path)
    if ending_of(path) not in ENDINGS or not path.is_file():
        return False
    try:
        if ending_of(path) == '.npy':
            return bool(np.load(path, mmap_mode='r', allow_pickle=False).ndim == 2)
        with _open_arrays(path) as (names, read):
            return FEATURES in names or (len(names) == 1 and bool(read(names[0]).ndim == 2))
    # A damaged file is none; whoever reads it says why.
    except Exception:
        return False


def _read_arrays(path: Path, label: str, name: str) -> dict[str, np.ndarray]:
    """Return 'features' and, where there are any, 'probabilities'."""
    try:
        if ending_of(path) == '.npy':
            if name:
                raise UserError(f'{label}: a .npy file has one array, and no {name}; leave the name out')
            return {FEATURES: np.load(path, mmap_mode='r', allow_pickle=False)}
        with _open_arrays(path) as (names, read):
            wanted = _choose_name(names, name, label)
            others = [PROBABILITIES] if PROBABILITIES in names and wanted != PROBABILITIES else []
            return {FEATURES: read(wanted)} | {each: read(each) for each in others}
    except UserError:
        raise
    # What numpy and zip raise for damaged files. Numpy's own advice may be to run what is inside: it is not shown.
    except (OSError, ValueError, EOFError, TypeError, KeyError, zipfile.BadZipFile, zlib.error):
        raise UserError(f'{label}: is damaged, or no file of plain arrays') from None


@contextlib.contextmanager
def _open_arrays(path: Path) -> Iterator[tuple[list[str], Callable[[str], np.ndarray]]]:
    """Yield (names, name -> array) of a file of several arrays."""
    if ending_of(path) == '.npz':
        with np.load(path, allow_pickle=False) as content:
            yield content.files, content.__getitem__
        return
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework='numpy') as content:
            yield list(content.keys()), content.get_tensor
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def _choose_name(names: list[str], name: str, label: str) -> str:
    wanted = name or FEATURES
    if wanted in names:
        return wanted
    others = [each for each in names if each != PROBABILITIES]
    if not name and len(others) == 1:
        return others[0]
    raise UserError(f'{label}: has no array {wanted}; it has {", ".join(sorted(names)[:LISTED]) or "none"}')


def _check_array(array: np.ndarray, label: str) -> None:
    if array.dtype.name not in DTYPES:
        raise UserError(f'{label} is {array.dtype}: want {", ".join(DTYPES)}')
    if array.ndim != 2 or 0 in array.shape:
        raise UserError(f'{label} has the shape {array.shape}: want (N, D), a row for each clip, 1 or more of both')
    for start, rows in _blocks(array):
        is_bad = ~np.isfinite(rows).all(1)
        if is_bad.any():
            raise UserError(f'{label}: row {start + int(is_bad.argmax())} has values that are not finite')


def _check_probabilities(array: np.ndarray, count: int, label: str) -> None:
    _check_array(array, label)
    if len(array) != count:
        raise UserError(f'{label} has {len(array)} rows, the features {count}: want as many')
    for start, rows in _blocks(array):
        sums = rows.sum(1, dtype=np.float64)
        is_bad = (rows < 0).any(1) | (np.abs(sums - 1) > TOLERANCE)
        if is_bad.any():
            row = int(is_bad.argmax())
            raise UserError(
                f'{label}: row {start + row} has the sum {sums[row]:.4g}, or is below 0: want probabilities'
            )


def _blocks(array: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, rows) of an array that need not fit into memory."""
    size = max(1, BLOCK // (array.shape[1] * array.itemsize))
    for start in range(0, len(array), size):
        yield start, array[start : start + size]
