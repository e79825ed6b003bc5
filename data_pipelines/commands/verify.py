"""Whether a set of records, latents, texts or weights are as they were made: all hashes, and every clip decoded.

`--fast` leaves the decoding out. What is damaged is named: the file, or the record by its key, shard and place. Exit
code 1 where anything is. Of latents and texts that were made beforehand every byte is read, and of exported weights
(verify_caches.py).
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import sys

import numpy as np

from data_pipelines.commands import verify_caches
from vdm_jax.data.records.manifest import read_manifest
from vdm_jax.data.records.schema import BadRecordError, from_bytes
from vdm_jax.data.records.shards import TABLE, RecordSet, shard_name
from vdm_jax.data.video import decode
from vdm_jax.errors import UserError, first_line, printable
from vdm_jax.files import check_regular

AT_ONCE = 64  # records read from a shard in one call, by one thread
SAME = (
    'key',
    'frames',
    'height',
    'width',
    'fps',
    'codec',
    'source',
    'start',
    'end',
    'label',
    'label_name',
    'pixel_aspect',
)
SHOWN = 20  # problems printed; --json has all


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something damaged: a file, or with key and place a record in it."""

    file: str
    reason: str
    key: str | None = None
    place: int | None = None

    def __str__(self):
        where = self.file if self.key is None else f'{self.key}, number {self.place} of {self.file}'
        return f'{where}: {self.reason}'


def add_arguments(parser):
    parser.add_argument(
        'folder', metavar='PATH', help='a set of records, latents or texts made beforehand, exported weights'
    )
    parser.add_argument('--fast', action='store_true', help='hashes alone, nothing decoded')
    parser.add_argument('--threads', type=int, default=os.cpu_count(), help='at once (default: all cores)')
    parser.add_argument('--json', action='store_true', help='JSON instead of text')


def run(arguments) -> int:
    """Prints what is damaged; returns 1 where anything is. Raises UserError where there is no finished set."""
    if arguments.threads <= 0:
        raise UserError(f'--threads is {arguments.threads}; it must be more than 0')
    if verifier := verify_caches.verifier_of(arguments.folder):
        return _cache(arguments, verifier(arguments.folder))
    folder, manifest = arguments.folder, read_manifest(arguments.folder)
    files = manifest['tables'] + manifest['shards']
    with concurrent.futures.ThreadPoolExecutor(arguments.threads) as pool, cancelled(pool):
        problems = _strays(folder, files) + [
            found for found in pool.map(lambda file: _file(folder, file), files) if found
        ]
        records, tasks = RecordSet(folder), []
        if any(problem.file == TABLE for problem in problems):
            problems.append(Problem(TABLE, 'so no record could be looked at'))
        else:
            problems += _table(records, manifest)
            tasks = _tasks(records)
        total, done = sum(len(rows) for _, rows in tasks), 0
        count, decoding = len(manifest['shards']), not arguments.fast
        for (_, rows), found in zip(
            tasks, pool.map(lambda task: _records(folder, records, count, *task, decoding), tasks), strict=True
        ):
            problems += found
            done += len(rows)
            if sys.stderr.isatty():
                print(f'\r{done} of {total} records', end='' if done < total else '\n', file=sys.stderr)
    size = sum(file['bytes'] for file in files)
    found = {'folder': folder, 'files': len(files), 'records': total, 'bytes': size, 'decoded': decoding}
    verdict = f'{len(problems)} problems' if problems else 'all decode' if decoding else 'all hashes are right'
    last = f'{folder}: {total} records in {count} shards, {size / 1e6:.1f} MB: {verdict}'
    return _report(arguments, found, problems, last)


def _cache(arguments, findings) -> int:
    """The same of what is no set of records."""
    problems = [Problem(file, reason) for file, reason in findings['problems']]
    found = {'path': arguments.folder} | {name: findings[name] for name in ('what', 'bytes', 'verified')}
    return _report(arguments, found, problems, verify_caches.summary(arguments.folder, findings))


def _report(arguments, found, problems, last) -> int:
    """Prints what was found; returns the exit code."""
    if arguments.json:
        print(json.dumps(found | {'problems': [dataclasses.asdict(problem) for problem in problems]}))
    else:
        for problem in problems[:SHOWN]:
            print(printable(str(problem)))
        if len(problems) > SHOWN:
            print(f'and {len(problems) - SHOWN} more, which --json lists')
        print(last)
    return 1 if problems else 0


@contextlib.contextmanager
def cancelled(pool):
    """What was not begun in a pool is not begun any more where this is left by an error, such as Ctrl-C."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _file(folder, about) -> Problem | None:
    path = os.path.join(folder, about['name'])
    try:
        check_regular(path, called='it')
        with open(path, 'rb') as file:
            found = hashlib.file_digest(file, 'sha256').hexdigest()
            size = file.tell()
    except UserError as error:
        return Problem(about['name'], str(error).removeprefix('it: '))
    except OSError as error:
        return Problem(about['name'], error.strerror)
    if size != about['bytes']:
        return Problem(about['name'], f'{size} bytes, and {about["bytes"]} when it was built')
    if found != about['sha256']:
        return Problem(about['name'], f'sha256 is {found[:16]}, and {about["sha256"][:16]} when it was built')
    return None


def _strays(folder, files) -> list[Problem]:
    known = {file['name'] for file in files}
    there = sorted(name for name in os.listdir(folder) if name.endswith('.array_record'))
    return [Problem(name, 'the manifest does not know it') for name in there if name not in known]


def _table(records, manifest) -> list[Problem]:
    """What the table says of the set as a whole, against the manifest."""
    found, keys = [], records.column('key')
    if len(records) != manifest['clips']['kept']:
        found.append(Problem(TABLE, f'{len(records)} rows, and the build kept {manifest["clips"]["kept"]} clips'))
    if len(set(keys)) < len(keys):
        repeated = next(key for key, count in collections.Counter(keys).items() if count > 1)
        found.append(Problem(TABLE, f'more than one record is called {repeated}'))
    return found


def _tasks(records) -> list[tuple[int, np.ndarray]]:
    """(shard, the numbers of some of its records) until there are all of them."""
    shards, places = records.column('shard'), records.column('place')
    rows = np.lexsort((places, shards))
    edges = np.flatnonzero(np.diff(shards[rows])) + 1
    parts = np.split(rows, edges) if len(rows) else []
    return [(int(shards[part[0]]), part[at : at + AT_ONCE]) for part in parts for at in range(0, len(part), AT_ONCE)]


def _records(folder, records, count, shard, rows, decoding) -> list[Problem]:
    """The damaged ones among some records of one shard."""
    from array_record.python.array_record_module import ArrayRecordReader

    name, found = shard_name(shard, count), []
    reader = ArrayRecordReader(os.path.join(folder, name), 'readahead_buffer_size:0')
    for row in records.table.take(rows).to_pylist():
        try:
            reason = _record(reader.read([row['place']])[0], row, decoding)
        except (RuntimeError, ValueError, IndexError) as error:  # of the shard, which may not even open
            reason = first_line(error)
        if reason:
            found.append(Problem(name, reason, row['key'], row['place']))
    with contextlib.suppress(RuntimeError):
        reader.close()
    return found


def _record(data, row, decoding) -> str:
    """What is wrong with a record's bytes, '' for nothing."""
    if (found := hashlib.sha256(data).hexdigest()) != row['sha256']:
        return f'sha256 is {found[:16]}, and {row["sha256"][:16]} in {TABLE}'
    try:
        record = from_bytes(data)
    except BadRecordError as error:
        return str(error)
    for name in SAME:
        if getattr(record, name) != row[name]:
            return f'{name} is {getattr(record, name)!r}, and {row[name]!r} in {TABLE}'
    if not decoding:
        return ''
    if record.latents is not None:
        return '' if np.isfinite(record.latents).all() else 'its latents are not finite'
    try:
        video = decode.probe(record.video, square=False)
        if (video.frames, video.height, video.width) != (record.frames, record.height, record.width):
            return f'it holds {_shape(video)}, and its record says {_shape(record)}'
        for _ in decode.stream(video):
            pass
    except decode.BrokenVideoError as error:
        return f'it does not decode: {error}'
    return ''


def _shape(video):
    return f'{video.frames} frames of {video.width}x{video.height}'
