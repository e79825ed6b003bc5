"""Indexes of files kept on disk, so that each is made once: $XDG_CACHE_HOME/vdm_jax/indexes (default ~/.cache).

An index is known by what its file is (size, time, a hash of its head and tail), wherever it lies, and by the versions
that made it. It carries sha256, and one that is damaged is made again. The folder may be removed at any time.
"""

import dataclasses
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from vdm_jax import files
from vdm_jax.data.video.index import Index
from vdm_jax.data.video.picture import Orientation
from vdm_jax.files import read_bytes, seal, unseal

VERSION = 2  # of the format, and of how indexes are made
ENDS = 2**16  # bytes of the head and of the tail
MAX_BYTES = 2**31  # of an index that is read
ARRAYS = 'arrays'  # among its fields: the sha256 of its arrays; earlier versions wrote none


def load(path: str) -> Index | None:
    """Return the index of a file, None where it is not stored, or cannot be read."""
    try:
        content = io.BytesIO(read_bytes(_index_path(path), MAX_BYTES))
        with np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        fields = unseal(json.loads(str(arrays.pop('fields'))), 'it')
        digest = fields.pop(ARRAYS, None)
        if digest is not None and digest != _digest_arrays(arrays):
            return None
        fields['crop'] = tuple(fields['crop'])
        fields['orientation'] = Orientation(**fields['orientation'])
        return Index(**fields, **arrays)
    except Exception:  # whatever became of it: it is made again
        return None


def save(path: str, index: Index) -> None:
    """Store the index of a file, where there is a folder and room for it."""
    if folder() is None:
        return
    fields: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for field in dataclasses.fields(index):
        value = getattr(index, field.name)
        if isinstance(value, np.ndarray):
            arrays[field.name] = value
        else:
            fields[field.name] = value
    fields['orientation'] = dataclasses.asdict(index.orientation)
    fields[ARRAYS] = _digest_arrays(arrays)

    temporary = None
    try:
        index_path = _index_path(path)
        directory = os.path.dirname(index_path)
        os.makedirs(directory, exist_ok=True)
        # Readers never see a part of it: it gets its name when it is complete.
        with tempfile.NamedTemporaryFile(dir=directory, suffix='.new', delete=False) as file:
            temporary = file.name
            sealed_fields = np.array(json.dumps(seal(fields)))
            np.savez_compressed(file, fields=sealed_fields, **arrays)
        os.replace(temporary, index_path)
    except OSError:  # a disk that is full, or not ours: it is made again next time
        if temporary is not None and os.path.exists(temporary):
            os.remove(temporary)


def folder() -> str | None:
    """Return where indexes are stored; None where the user has no home."""
    cache: str | None = files.user_cache()
    return cache and os.path.join(cache, 'indexes')


def _digest_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the sha256 of the arrays of an index."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f'{name} {arrays[name].dtype} {arrays[name].shape}'.encode() + arrays[name].tobytes())
    return digest.hexdigest()


def _library_versions() -> dict[str, tuple[int, int, int]] | None:
    """Return the versions of what decodes; None without PyAV, which animated pictures do not need."""
    try:
        import av
    except ImportError:
        return None
    return av.library_versions


def _index_path(path: str) -> str:
    """Return where the index of a file is stored.

    Raises:
      OSError: The file cannot be read, or the user has no home.
    """
    directory = folder()
    if directory is None:
        raise OSError('no folder for indexes')
    status = os.stat(path)
    # Other libraries may decode other frames from the same file.
    digest = hashlib.sha256(repr((VERSION, _library_versions(), status.st_size, status.st_mtime_ns)).encode())
    with open(path, 'rb') as file:
        digest.update(file.read(ENDS))
        if status.st_size > ENDS:
            # The tail of a short file begins where its head ends.
            file.seek(max(status.st_size - ENDS, ENDS))
            digest.update(file.read(ENDS))
    name = digest.hexdigest()[:40]
    return os.path.join(directory, name[:2], f'{name[2:]}.npz')
