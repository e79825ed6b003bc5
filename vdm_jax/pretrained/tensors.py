"""The safetensors format: a length, a header of JSON, the bytes of every tensor behind it; read and written as a whole.

What is written is the same bytes for the same tensors and metadata. Hashes are of blocks, so that threads share them.
"""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

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
DATA_SEAL, HEADER_SEAL = 'sha256', 'header_sha256'  # metadata: of the tensors, and of all else
DAMAGED = '{}: is damaged: its {} are not what was written (sha256); take it from a copy, or make it anew'
METADATA = '__metadata__'
LARGEST_HEADER = 10**8  # bytes, as the format has it
BLOCK = 2**26  # bytes that are hashed at a time
ALIGNMENT = 8


@dataclass(frozen=True)
class Header:
    """What stands before the tensors.

    Attributes:
      metadata: text by name.
      tensors: {name: (dtype, shape, first byte, byte after the last one)}, bytes counted from the end of the header.
      start: bytes before the first tensor.
      size: bytes of all tensors.
      sealed: sha256 of the tensors, '' where it is not known.
    """

    metadata: dict[str, str]
    tensors: dict[str, tuple[np.dtype, tuple[int, ...], int, int]]
    start: int
    size: int

    @property
    def sealed(self) -> str:
        return self.metadata.get(DATA_SEAL, '')


def write(path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None, seal=False) -> int:
    """Writes tensors by name, and text by name; returns the bytes of the file.

    seal: whether sha256 of all of it stand in its metadata, to be checked by whoever reads it here.

    Raises:
      OSError: it cannot be written; what was there before stands.
    """
    names = sorted(arrays)
    data = b''.join(np.ascontiguousarray(arrays[name]).tobytes() for name in names)
    metadata = dict(metadata or {})
    if seal:
        metadata[DATA_SEAL] = digest(memoryview(data))
    entries = ({METADATA: metadata} if metadata else {}) | _entries({name: np.asarray(arrays[name]) for name in names})
    if seal:
        metadata[HEADER_SEAL] = _header_digest(entries)
    header = json.dumps(entries, separators=(',', ':'), sort_keys=True).encode()
    header += b' ' * (-len(header) % ALIGNMENT)
    content = b''.join([len(header).to_bytes(8, 'little'), header, data])
    files.write_whole(path, content)
    return len(content)


def _entries(arrays: Mapping[str, np.ndarray]) -> dict[str, dict]:
    """What a header says of tensors that follow each other in this order."""
    entries, end = {}, 0
    for name, array in arrays.items():
        start, end = end, end + array.nbytes
        entries[name] = {'dtype': NAMES[array.dtype], 'shape': list(array.shape), 'data_offsets': [start, end]}
    return entries


def _header_digest(entries: dict) -> str:
    metadata = {name: text for name, text in entries[METADATA].items() if name != HEADER_SEAL}
    return files.digest_json(entries | {METADATA: metadata})


def read_header(path, called: str) -> Header:
    """The header of a file, checked against the size of the file and against its own hash; no tensor is read.

    Raises:
      UserError: no regular file, or not one of this format, or it is cut short or damaged.
    """
    total = files.check_regular(path, called=called)
    wrong = f'{called}: not a safetensors file'
    length = _read(path, 0, min(total, 8), called)
    size = int.from_bytes(length, 'little')
    if len(length) < 8 or not 2 <= size <= min(total - 8, LARGEST_HEADER):
        raise UserError(f'{wrong} ({total:,} bytes, a header of {size:,})')
    entries = files.parse_json(_read(path, 8, size, called), f'{wrong}: its header')
    header = _header(entries, 8 + size, wrong)
    if header.start + header.size != total:
        raise UserError(
            f'{wrong} (its tensors have {header.size:,} bytes, and it has {total - header.start:,} for them)'
        )
    seals = {DATA_SEAL, HEADER_SEAL} & header.metadata.keys()
    if seals and (len(seals) == 1 or header.metadata[HEADER_SEAL] != _header_digest(entries)):
        raise UserError(DAMAGED.format(called, 'header'))
    return header


def read(path, called: str, header: Header | None = None) -> tuple[Header, dict[str, np.ndarray]]:
    """(header, tensors by name); known to be as they were written, where the file is sealed.

    Raises:
      UserError: see read_header; or the tensors are damaged, or more than the memory of this machine.
    """
    header = header or read_header(path, called)
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    if header.size > memory:
        raise UserError(f'{called}: has {header.size:,} bytes, and this machine {memory:,} of memory')
    data = np.empty(header.size, np.uint8)
    if header.sealed != _read_and_hash(path, header.start, memoryview(data), called) and header.sealed:
        raise UserError(DAMAGED.format(called, 'tensors'))
    arrays = {
        name: data[start:end].view(dtype).reshape(shape) for name, (dtype, shape, start, end) in header.tensors.items()
    }
    return header, arrays


def digest(data: memoryview) -> str:
    """sha256 of the sha256 of each block of BLOCK bytes, hashed in threads."""
    starts = range(0, max(len(data), 1), BLOCK)
    with ThreadPoolExecutor(min(len(starts), os.cpu_count() or 1)) as pool:
        blocks = pool.map(hashlib.sha256, (data[start : start + BLOCK] for start in starts))
        return hashlib.sha256(b''.join(block.digest() for block in blocks)).hexdigest()


def _read_and_hash(path, start: int, data: memoryview, called: str) -> str:
    """Fills `data` with the bytes of a file from `start` on; the `digest` of them, hashed while the next are read."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool, _opened(path, called) as file:
        pending = []
        file.seek(start)
        for first in range(0, max(len(data), 1), BLOCK):
            block = data[first : first + BLOCK]
            _fill(file, block, called)
            pending.append(pool.submit(hashlib.sha256, block))
        return hashlib.sha256(b''.join(each.result().digest() for each in pending)).hexdigest()


def _read(path, start: int, size: int, called: str) -> bytes:
    content = bytearray(size)
    with _opened(path, called) as file:
        file.seek(start)
        _fill(file, memoryview(content), called)
    return bytes(content)


@contextlib.contextmanager
def _opened(path, called: str):
    """A file to read, here or in a store; its errors are of the user."""
    from etils import epath

    try:
        with open(path, 'rb', buffering=0) if files.is_local(path) else epath.Path(path).open('rb') as file:
            yield file
    except OSError as error:
        raise UserError(f'{called}: cannot be read ({error.strerror or error})') from None


def _fill(file, block: memoryview, called: str) -> None:
    while len(block):
        content = file.read(len(block))
        if not content:
            raise UserError(f'{called}: is cut short')
        block[: len(content)] = content
        block = block[len(content) :]


def _header(entries, start: int, wrong: str) -> Header:
    """A header's JSON, as a Header."""
    if not isinstance(entries, dict):
        raise UserError(f'{wrong} (its header holds no names)')
    metadata = entries.get(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise UserError(f'{wrong} (its {METADATA} is no text by name)')
    tensors = {name: _tensor(name, entry, wrong) for name, entry in entries.items() if name != METADATA}
    end = 0
    for name, (_, _, first, last) in sorted(tensors.items(), key=lambda item: item[1][2:]):
        if first != end:
            raise UserError(f'{wrong} (tensor {name!r:.80} begins at byte {first:,}, not at {end:,})')
        end = last
    return Header(metadata, tensors, start, end)


def _tensor(name: str, entry, wrong: str) -> tuple[np.dtype, tuple[int, ...], int, int]:
    """Dtype, shape, first byte and the byte after the last one of a tensor."""
    entry = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = entry.get('dtype'), entry.get('shape'), entry.get('data_offsets')
    numbers = [*(shape if isinstance(shape, list) else [None]), *(offsets if isinstance(offsets, list) else [])]
    good = all(type(number) is int and 0 <= number < 2**63 for number in numbers)
    if not isinstance(dtype, str) or not good or not isinstance(offsets, list) or len(offsets) != 2 or len(shape) > 32:
        raise UserError(f'{wrong} (tensor {name!r:.80} has no dtype, shape and data_offsets)')
    if dtype not in DTYPES:
        raise UserError(f'{wrong} that is read (tensor {name!r:.80} is of dtype {dtype!r:.40})')
    if math.prod(filter(None, shape)) * DTYPES[dtype].itemsize >= 2**63:
        raise UserError(f'{wrong} that is read (tensor {name!r:.80} is of shape {shape})')
    if offsets[1] - offsets[0] != math.prod(shape) * DTYPES[dtype].itemsize:
        raise UserError(f'{wrong} (tensor {name!r:.80} of shape {shape} has {offsets[1] - offsets[0]:,} bytes)')
    return DTYPES[dtype], tuple(shape), *offsets
