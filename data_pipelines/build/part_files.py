"""Part files: what is known of one input, on disk between the two phases of a build. A file that is there is complete.

its records' bytes, one after the other | an index, msgpack | length of the index, 8 bytes | MAGIC
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import msgpack

from data_pipelines.build.process_video import ClipOutcome, InputOutcome
from vdm_jax.data.records.schema import Record, from_bytes, to_bytes
from vdm_jax.errors import UserError
from vdm_jax.files import open_atomically

MAGIC = b'vdmpart1'
FOLDERS = [f'{number:02x}' for number in range(256)]


def part_path(folder: str, name: str) -> str:
    """Return the path of the part of the input `name` below `folder`, in one of FOLDERS."""
    code = hashlib.sha256(name.encode()).hexdigest()[:32]
    return os.path.join(folder, code[:2], f'{code}.part')


def write_part(path: str, outcomes: Iterable[ClipOutcome | InputOutcome]) -> None:
    """Write what `process_video` yields, a record at a time.

    The file appears when it is complete. Its folder has to be there.
    """
    with open_atomically(path) as file:
        _write(file, outcomes)


def _write(file: BinaryIO, outcomes: Iterable[ClipOutcome | InputOutcome]) -> None:
    clips: list[dict[str, Any]] = []
    for outcome in outcomes:
        if isinstance(outcome, InputOutcome):
            input_fields = vars(outcome)
        else:
            clips.append(_write_clip(file, outcome))

    # A broken input has no clips, whatever was written of it.
    if input_fields['fate'] == 'broken':
        file.seek(0)
        file.truncate()
        clips = []

    index = msgpack.packb({'input': input_fields, 'clips': clips})
    file.write(index + len(index).to_bytes(8, 'little') + MAGIC)


def _write_clip(file: BinaryIO, outcome: ClipOutcome) -> dict[str, Any]:
    """Write the record of a clip, where it has one; return its row in the index."""
    row = {name: getattr(outcome, name) for name in ('key', 'start', 'end', 'reason', 'detail', 'hashes')}
    # Sorted, so that equal inputs make equal bytes.
    row['scores'] = {name: float(outcome.scores[name]) for name in sorted(outcome.scores)}
    record = outcome.record
    if record is not None:
        data = to_bytes(record)
        row['place'] = file.tell()
        row['size'] = len(data)
        row['digest'] = hashlib.sha256(data).digest()
        row['captions'] = len(record.captions)
        row['pixels'] = record.height * record.width
        row['seconds'] = record.frames / record.fps
        file.write(data)
    return row


def read_index(path: str) -> dict[str, Any] | None:
    """Return the index of a part, None where there is no complete part.

    It is {'input': the fields of InputOutcome, 'clips': [{key, start, end, reason, detail, hashes, scores}]}; a clip
    that was kept also has {place, size, digest, captions, pixels, seconds} of its record.
    """
    try:
        with open(path, 'rb') as file:
            # The index is read from the end, so that records need not be read for it.
            file.seek(-16, os.SEEK_END)
            length = int.from_bytes(file.read(8), 'little')
            magic = file.read()
            if magic != MAGIC:
                return None
            file.seek(-16 - length, os.SEEK_END)
            index: dict[str, Any] = msgpack.unpackb(file.read(length))
    except (OSError, ValueError, msgpack.UnpackException):
        return None
    return index


def read_records(path: str, places: Iterable[tuple[int, int, bytes]]) -> Iterator[Record]:
    """Yield the records at these (offset, size, sha256) of a part.

    Raises:
      UserError: one of them is not what was written.
    """
    with open(path, 'rb') as file:
        for offset, size, digest in places:
            file.seek(offset)
            data = file.read(size)
            if hashlib.sha256(data).digest() != digest:
                raise damage_error(path)
            yield from_bytes(data)


def damage_error(path: str) -> UserError:
    """Return the error to raise for a part that was damaged."""
    return UserError(f'{path} was damaged since it was written; remove the directory of the set and build it anew')
