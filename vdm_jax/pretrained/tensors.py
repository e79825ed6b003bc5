"""The safetensors format: a length, a JSON header, and the bytes of all tensors; whole files are read and written.

The same tensors and metadata give the same bytes. Hashes are of blocks, so that threads share the work.
"""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from vdm_jax import files
from vdm_jax.errors import UserError

DTYPES = {
    'F64': np.dtype(np.float64), 'F32': np.dtype(np.float32), 'F16': np.dtype(np.float16),
    'BF16': np.dtype(ml_dtypes.bfloat16), 'I64': np.dtype(np.int64), 'I32': np.dtype(np.int32),
    'I16': np.dtype(np.int16), 'I8': np.dtype(np.int8), 'U64': np.dtype(np.uint64), 'U32': np.dtype(np.uint32),
    'U16': np.dtype(np.uint16), 'U8': np.dtype(np.uint8), 'BOOL': np.dtype(bool),
    'F8_E4M3': np.dtype(ml_dtypes.float8_e4m3fn), 'F8_E5M2': np.dtype(ml_dtypes.float8_e5m2),
}  # fmt: skip
NAMES = {dtype: name for name, dtype in DTYPES.items()}

METADATA = '__metadata__'
# Keys of the metadata: the hash of the tensors, and that of all else.
DATA_SEAL = 'sha256'
HEADER_SEAL = 'header_sha256'
DAMAGED = '{}: is damaged: its {} are not what was written (sha256); take it from a copy, or make it anew'

LARGEST_HEADER = 10**8  # bytes, as the format has it
LARGEST_SIZE = 2**63  # of what numpy counts in an int64
MOST_DIMENSIONS = 32
BLOCK = 2**26  # bytes that are hashed at a time
ALIGNMENT = 8

Path = str | os.PathLike[str]


class TensorEntry(NamedTuple):
    """What a header says of one tensor.

    Attributes:
      dtype: Of its numbers.
      shape: Of the tensor.
      start: Its first byte, counted from the end of the header.
      stop: The byte after its last one.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """What stands before the tensors.

    Attributes:
      metadata: Text by name.
      tensors: Entries by name.
      start: Bytes before the first tensor.
      size: Bytes of all tensors.
    """

    metadata: dict[str, str]
    tensors: dict[str, TensorEntry]
    start: int
    size: int

    @property
    def sha256(self) -> str:
        """The hash of the tensors, '' where it is not known."""
        return self.metadata.get(DATA_SEAL, '')


def write(
    path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None, seal: bool = False
) -> int:
    """Write tensors and text by name; return the bytes of the file.

    Args:
      path: Of the file.
      arrays: Tensors by name.
      metadata: Text by name.
      seal: Whether to store hashes of all of it in the metadata, which `read` checks.

    Raises:
      OSError: it cannot be written; what was there before stands.
    """
    # Sorted, as the header's keys are: the same tensors give the same bytes whatever order they come in.
    names = sorted(arrays)
    data = b''.join(np.ascontiguousarray(arrays[name]).tobytes() for name in names)
    metadata = dict(metadata or {})
    if seal:
        metadata[DATA_SEAL] = digest(memoryview(data))

    entries: dict[str, Any] = {METADATA: metadata} if metadata else {}
    entries |= _describe({name: np.asarray(arrays[name]) for name in names})
    if seal:
        metadata[HEADER_SEAL] = _header_digest(entries)
    header = json.dumps(entries, separators=(',', ':'), sort_keys=True).encode()
    # Spaces put the first tensor on a multiple of 8 bytes, so that others can map it into memory.
    header += b' ' * (-len(header) % ALIGNMENT)

    content = b''.join([len(header).to_bytes(8, 'little'), header, data])
    files.write_atomically(path, content)
    return len(content)


def _describe(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Return the header's entries of tensors that follow each other in this order."""
    entries = {}
    start = 0
    for name, array in arrays.items():
        stop = start + array.nbytes
        entries[name] = {'dtype': NAMES[array.dtype], 'shape': list(array.shape), 'data_offsets': [start, stop]}
        start = stop
    return entries


def _header_digest(entries: Mapping[str, Any]) -> str:
    """Return the hash of a header, without that hash itself."""
    # A hash cannot cover itself.
    metadata = {name: text for name, text in entries[METADATA].items() if name != HEADER_SEAL}
    return files.digest_json({**entries, METADATA: metadata})


def read_header(path: Path, called: str) -> Header:
    """Return the header of a file, checked against the size of the file and its own hash; no tensor is read.

    Args:
      path: Of the file.
      called: What messages call it.

    Raises:
      UserError: no regular file, or not one of this format, or it is cut short or damaged.
    """
    file_size = files.check_regular(path, called=called)
    refusal = f'{called}: not a safetensors file'
    # A size is compared before anything of it is allocated: it may be any number in a damaged file.
    length = _read_bytes(path, 0, min(file_size, 8), called)
    header_size = int.from_bytes(length, 'little')
    if len(length) < 8 or not 2 <= header_size <= min(file_size - 8, LARGEST_HEADER):
        raise UserError(f'{refusal} ({file_size:,} bytes, a header of {header_size:,})')

    entries = files.parse_json(_read_bytes(path, 8, header_size, called), f'{refusal}: its header')
    header = _parse_header(entries, 8 + header_size, refusal)
    if header.start + header.size != file_size:
        raise UserError(
            f'{refusal} (its tensors have {header.size:,} bytes, and it has {file_size - header.start:,} for them)'
        )

    # One hash without the other is damage, too: both are written, or none.
    seals = {DATA_SEAL, HEADER_SEAL} & header.metadata.keys()
    if seals and (len(seals) == 1 or header.metadata[HEADER_SEAL] != _header_digest(entries)):
        raise UserError(DAMAGED.format(called, 'header'))
    return header


def read(path: Path, called: str, header: Header | None = None) -> tuple[Header, dict[str, np.ndarray]]:
    """Return (header, tensors by name); where the file is sealed, they are verified to be as they were written.

    Args:
      path: Of the file.
      called: What messages call it.
      header: Where it has been read already.

    Raises:
      UserError: see read_header; or the tensors are damaged, or more than the memory of this machine.
    """
    header = header or read_header(path, called)
    # A sparse file may claim any size: it is refused before anything is allocated.
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    if header.size > memory:
        raise UserError(f'{called}: has {header.size:,} bytes, and this machine {memory:,} of memory')

    # One buffer for all tensors, which become views of it: the file is in memory once.
    data = np.empty(header.size, np.uint8)
    sha256 = _read_and_hash(path, header.start, data.data, called)
    if header.sha256 and header.sha256 != sha256:
        raise UserError(DAMAGED.format(called, 'tensors'))
    arrays = {
        name: data[entry.start : entry.stop].view(entry.dtype).reshape(entry.shape)
        for name, entry in header.tensors.items()
    }
    return header, arrays


def digest(data: memoryview) -> str:
    """Return sha256 of the sha256 of each block of BLOCK bytes, hashed in threads."""
    # No tensors are one empty block, as in _read_and_hash: the two must agree.
    starts = range(0, max(len(data), 1), BLOCK)
    # hashlib lets go of Python's lock for large blocks, so that threads hash in parallel.
    with ThreadPoolExecutor(min(len(starts), os.cpu_count() or 1)) as pool:
        blocks = pool.map(hashlib.sha256, (data[start : start + BLOCK] for start in starts))
        return hashlib.sha256(b''.join(block.digest() for block in blocks)).hexdigest()


def _read_and_hash(path: Path, start: int, data: memoryview, called: str) -> str:
    """Fill `data` with the bytes of a file from `start` on; return their `digest`, hashed while the next are read."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, _open(path, called) as file:
        pending = []
        file.seek(start)
        for first in range(0, max(len(data), 1), BLOCK):
            block = data[first : first + BLOCK]
            _fill(file, block, called)
            pending.append(pool.submit(hashlib.sha256, block))
        return hashlib.sha256(b''.join(each.result().digest() for each in pending)).hexdigest()


def _read_bytes(path: Path, start: int, size: int, called: str) -> bytes:
    content = bytearray(size)
    with _open(path, called) as file:
        file.seek(start)
        _fill(file, memoryview(content), called)
    return bytes(content)


@contextlib.contextmanager
def _open(path: Path, called: str) -> Iterator[Any]:
    """Open a file to read, on this machine or in a store; its errors are the user's."""
    from etils import epath

    try:
        with open(path, 'rb', buffering=0) if files.is_local(path) else epath.Path(path).open('rb') as file:
            yield file
    except OSError as error:
        raise UserError(f'{called}: cannot be read ({error.strerror or error})') from None


def _fill(file: Any, block: memoryview, called: str) -> None:
    # An unbuffered file, and a store, may return less than is asked for.
    while len(block):
        content = file.read(len(block))
        if not content:
            raise UserError(f'{called}: is cut short')
        block[: len(content)] = content
        block = block[len(content) :]


def _parse_header(entries: Any, start: int, refusal: str) -> Header:
    """Check the JSON of a header; `start` is the byte of the file where the tensors begin."""
    if not isinstance(entries, dict):
        raise UserError(f'{refusal} (its header holds no names)')
    metadata = entries.get(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise UserError(f'{refusal} (its {METADATA} is no text by name)')
    tensors = {name: _parse_entry(name, entry, refusal) for name, entry in entries.items() if name != METADATA}

    # Tensors must follow each other without gaps or overlaps, as the format wants it.
    end = 0
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != end:
            raise UserError(f'{refusal} (tensor {name!r:.80} begins at byte {entry.start:,}, not at {end:,})')
        end = entry.stop
    return Header(metadata, tensors, start, end)


def _parse_entry(name: str, entry: Any, refusal: str) -> TensorEntry:
    entry = entry if isinstance(entry, dict) else {}
    dtype_name = entry.get('dtype')
    shape = entry.get('shape')
    offsets = entry.get('data_offsets')
    is_entry = (
        isinstance(dtype_name, str)
        and _is_sizes(shape)
        and _is_sizes(offsets)
        and len(offsets) == 2
        and len(shape) <= MOST_DIMENSIONS
    )
    if not is_entry:
        raise UserError(f'{refusal} (tensor {name!r:.80} has no dtype, shape and data_offsets)')
    if dtype_name not in DTYPES:
        raise UserError(f'{refusal} that is read (tensor {name!r:.80} is of dtype {dtype_name!r:.40})')

    dtype = DTYPES[dtype_name]
    # Numpy multiplies the sides that are not 0, too, and fails beyond int64.
    if math.prod(filter(None, shape)) * dtype.itemsize >= LARGEST_SIZE:
        raise UserError(f'{refusal} that is read (tensor {name!r:.80} is of shape {shape})')
    start, stop = offsets
    if stop - start != math.prod(shape) * dtype.itemsize:
        raise UserError(f'{refusal} (tensor {name!r:.80} of shape {shape} has {stop - start:,} bytes)')
    return TensorEntry(dtype, tuple(shape), start, stop)


def _is_sizes(values: Any) -> bool:
    """Whether a JSON value is a list of whole numbers from 0 on that an int64 holds."""
    return isinstance(values, list) and all(type(value) is int and 0 <= value < LARGEST_SIZE for value in values)
