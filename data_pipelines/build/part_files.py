"""What is known of one input, on disk between the two phases of a build: a file that is there is whole.

its records' bytes, one after the other | an index, msgpack | length of the index, 8 bytes | MAGIC
"""

import hashlib
import os
from collections.abc import Iterable, Iterator

import msgpack

from data_pipelines.build.process_video import Clip, Input
from vdm_jax.data.records import Record, from_bytes, to_bytes
from vdm_jax.errors import UserError
from vdm_jax.files import open_whole

MAGIC = b'vdmpart1'
FOLDERS = [f'{number:02x}' for number in range(256)]


def path_of(folder: str, name: str) -> str:
    """Where the part of the input `name` lies below `folder`, in one of FOLDERS."""
    code = hashlib.sha256(name.encode()).hexdigest()[:32]
    return os.path.join(folder, code[:2], f'{code}.part')


def write(path: str, outcomes: Iterable[Clip | Input]) -> None:
    """Writes what `work` yields, a record at a time; the file appears when it is whole. The folder has to be there."""
    with open_whole(path) as file:
        _write(file, outcomes)


def _write(file, outcomes):
    clips = []
    for outcome in outcomes:
        if isinstance(outcome, Input):
            whole = vars(outcome)
            continue
        row = {name: getattr(outcome, name) for name in ('key', 'start', 'end', 'reason', 'detail', 'hashes')}
        row['scores'] = {name: float(outcome.scores[name]) for name in sorted(outcome.scores)}
        if outcome.record is not None:
            record, data = outcome.record, to_bytes(outcome.record)
            row |= {'place': file.tell(), 'size': len(data), 'digest': hashlib.sha256(data).digest()}
            row |= {'captions': len(record.captions)}
            row |= {'pixels': record.height * record.width, 'seconds': record.frames / record.fps}
            file.write(data)
        clips.append(row)
    if whole['fate'] == 'broken':
        file.seek(0)
        file.truncate()
        clips = []
    index = msgpack.packb({'input': whole, 'clips': clips})
    file.write(index + len(index).to_bytes(8, 'little') + MAGIC)


def index(path: str) -> dict | None:
    """{'input': the fields of Input, 'clips': [{key, start, end, reason, detail, hashes, scores}]} of a part, in a kept
    clip also {place, size, digest, captions, pixels, seconds} of its record; None where there is no whole part.
    """
    try:
        with open(path, 'rb') as file:
            file.seek(-16, os.SEEK_END)
            length, magic = int.from_bytes(file.read(8), 'little'), file.read()
            if magic != MAGIC:
                return None
            file.seek(-16 - length, os.SEEK_END)
            return msgpack.unpackb(file.read(length))
    except (OSError, ValueError, msgpack.UnpackException):
        return None


def records(path: str, places: Iterable[tuple[int, int, bytes]]) -> Iterator[Record]:
    """The records at these (place, size, sha256) of a part. Raises: UserError where one is not what was written."""
    with open(path, 'rb') as file:
        for place, size, digest in places:
            file.seek(place)
            data = file.read(size)
            if hashlib.sha256(data).digest() != digest:
                raise damaged(path)
            yield from_bytes(data)


def damaged(path: str) -> UserError:
    return UserError(f'{path} was damaged since it was written; remove the directory of the set and build it anew')
