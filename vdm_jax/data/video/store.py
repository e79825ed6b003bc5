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

import numpy as np

from vdm_jax import files
from vdm_jax.data.video.index import Index
from vdm_jax.data.video.picture import Orientation
from vdm_jax.files import read_whole, sealed, unsealed

VERSION = 2  # of what is kept, and of how indexes are made
ENDS = 2**16  # bytes of the head and of the tail
MOST_BYTES = 2**31  # of an index that is read
ARRAYS = 'arrays'  # among its fields: the sha256 of its arrays; earlier versions wrote none


def load(path: str) -> Index | None:
    """The index of a file, None where it is not kept, or cannot be read."""
    try:
        content = io.BytesIO(read_whole(_place(path), MOST_BYTES))
        with np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
            fields = unsealed(json.loads(str(arrays.pop('fields'))), 'it')
        if (digest := fields.pop(ARRAYS, None)) is not None and digest != _digest(arrays):
            return None
        fields['crop'] = tuple(fields['crop'])
        fields['orientation'] = Orientation(**fields['orientation'])
        return Index(**fields, **arrays)
    except Exception:  # whatever became of it: it is made again
        return None


def save(path: str, index: Index) -> None:
    """Keeps the index of a file, where there is a place and room for it."""
    if folder() is None:
        return
    fields, arrays = {}, {}
    for field in dataclasses.fields(index):
        value = getattr(index, field.name)
        (arrays if isinstance(value, np.ndarray) else fields)[field.name] = value
    fields['orientation'] = dataclasses.asdict(index.orientation)
    new = None
    try:
        place = _place(path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(place), suffix='.new', delete=False) as file:
            new = file.name
            sealed_fields = json.dumps(sealed(fields | {ARRAYS: _digest(arrays)}))
            np.savez_compressed(file, fields=np.array(sealed_fields), **arrays)
        os.replace(new, place)
    except OSError:  # a disk that is full, or not ours: it is made again next time
        if new is not None and os.path.exists(new):
            os.remove(new)


def folder() -> str | None:
    """Where indexes are kept; None where the user has no home."""
    cache = files.user_cache()
    return cache and os.path.join(cache, 'indexes')


def _digest(arrays):
    """sha256 of the arrays of an index."""
    whole = hashlib.sha256()
    for name in sorted(arrays):
        whole.update(f'{name} {arrays[name].dtype} {arrays[name].shape}'.encode() + arrays[name].tobytes())
    return whole.hexdigest()


def _library_versions():
    """Of what decodes; None without PyAV, which animated pictures do not need."""
    try:
        import av
    except ImportError:
        return None
    return av.library_versions


def _place(path):
    """Where the index of a file is kept."""
    about = os.stat(path)
    known = hashlib.sha256(repr((VERSION, _library_versions(), about.st_size, about.st_mtime_ns)).encode())
    with open(path, 'rb') as file:
        known.update(file.read(ENDS))
        if about.st_size > ENDS:
            file.seek(max(about.st_size - ENDS, ENDS))
            known.update(file.read(ENDS))
    name = known.hexdigest()[:40]
    return os.path.join(folder(), name[:2], f'{name[2:]}.npz')
