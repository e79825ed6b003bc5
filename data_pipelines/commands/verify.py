"""Verify a set of records, latents, texts or weights: all hashes, and every clip decoded.

`--fast` leaves the decoding out. What is damaged is named: the file, or the record by its key, shard and rank in it.
Exit code 1 where anything is. Of latents and texts that were made beforehand every byte is read, and of exported
weights (verify_caches.py).
"""

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.commands import verify_caches
from vdm_jax.data.records.manifest import read_manifest
from vdm_jax.data.records.schema import BadRecordError, Record, from_bytes
from vdm_jax.data.records.shards import TABLE, RecordSet, shard_name
from vdm_jax.data.video import decode
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.errors import UserError, escape_unprintable, first_line
from vdm_jax.files import check_regular

TASK_RECORDS = 64  # read from a shard in one call, by one thread
# Fields of a record that the table repeats.
TABLE_FIELDS = (
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
PRINTED = 20  # problems; --json has all

Task = tuple[int, np.ndarray]  # (number of a shard, rows of the table that are of some of its records)


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something damaged: a file, or with key and place a record in it.

    Attributes:
      file: Its name.
      reason: What is wrong.
      key: Of the record.
      place: Rank of the record in the file.
    """

    file: str
    reason: str
    key: str | None = None
    place: int | None = None

    def __str__(self) -> str:
        where = self.file if self.key is None else f'{self.key}, number {self.place} of {self.file}'
        return f'{where}: {self.reason}'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        'folder', metavar='PATH', help='a set of records, latents or texts made beforehand, exported weights'
    )
    parser.add_argument('--fast', action='store_true', help='hashes alone, nothing decoded')
    parser.add_argument('--threads', type=int, default=os.cpu_count(), help='at once (default: all cores)')
    parser.add_argument('--json', action='store_true', help='JSON instead of text')


def run(arguments: argparse.Namespace) -> int:
    """Print what is damaged; return 1 where anything is.

    Raises:
      UserError: there is no finished set.
    """
    if arguments.threads <= 0:
        raise UserError(f'--threads is {arguments.threads}; it must be more than 0')
    verifier = verify_caches.choose_verifier(arguments.folder)
    if verifier is not None:
        return _report_cache(arguments, verifier(arguments.folder))

    folder = arguments.folder
    manifest = read_manifest(folder)
    problems, num_records = _verify_set(folder, manifest, arguments.threads, decoding=not arguments.fast)

    files = manifest['tables'] + manifest['shards']
    size = sum(file['bytes'] for file in files)
    verdict = 'all hashes are right' if arguments.fast else 'all decode'
    if problems:
        verdict = f'{len(problems)} problems'
    values = {
        'folder': folder,
        'files': len(files),
        'records': num_records,
        'bytes': size,
        'decoded': not arguments.fast,
    }
    shards = len(manifest['shards'])
    summary = f'{folder}: {num_records} records in {shards} shards, {size / 1e6:.1f} MB: {verdict}'
    return _report(arguments, values, problems, summary)


def _verify_set(folder: str, manifest: Mapping[str, Any], threads: int, decoding: bool) -> tuple[list[Problem], int]:
    """Return (all problems of a set of records, the number of records that were read)."""
    files = manifest['tables'] + manifest['shards']
    with concurrent.futures.ThreadPoolExecutor(threads) as pool, cancel_on_error(pool):
        problems = _find_unknown_shards(folder, files)
        for problem in pool.map(functools.partial(_verify_file, folder), files):
            if problem is not None:
                problems.append(problem)

        # The table says which records there are.
        if any(problem.file == TABLE for problem in problems):
            problems.append(Problem(TABLE, 'so no record could be looked at'))
            return problems, 0

        records = RecordSet(folder)
        problems += _verify_table(records, manifest)
        tasks = _split_into_tasks(records)
        shards = len(manifest['shards'])

        def verify_task(task: Task) -> list[Problem]:
            shard, rows = task
            return _verify_records(folder, records, shard_name(shard, shards), rows, decoding)

        total = sum(len(rows) for _, rows in tasks)
        done = 0
        for (_, rows), task_problems in zip(tasks, pool.map(verify_task, tasks), strict=True):
            problems += task_problems
            done += len(rows)
            # In a log each of these would be a line.
            if sys.stderr.isatty():
                print(f'\r{done} of {total} records', end='' if done < total else '\n', file=sys.stderr)
    return problems, total


def _report_cache(arguments: argparse.Namespace, findings: verify_caches.Findings) -> int:
    """Print what was found in what is no set of records; return the exit code."""
    problems = [Problem(file, reason) for file, reason in findings['problems']]
    values = {'path': arguments.folder}
    values |= {name: findings[name] for name in ('what', 'bytes', 'verified')}
    return _report(arguments, values, problems, verify_caches.summarize(arguments.folder, findings))


def _report(arguments: argparse.Namespace, values: Mapping[str, Any], problems: Sequence[Problem], summary: str) -> int:
    """Print what was found; return the exit code."""
    if arguments.json:
        print(json.dumps({**values, 'problems': [dataclasses.asdict(problem) for problem in problems]}))
    else:
        for problem in problems[:PRINTED]:
            print(escape_unprintable(str(problem)))
        if len(problems) > PRINTED:
            print(f'and {len(problems) - PRINTED} more, which --json lists')
        print(summary)
    return 1 if problems else 0


@contextlib.contextmanager
def cancel_on_error(pool: concurrent.futures.Executor) -> Iterator[None]:
    """Cancel what a pool has not begun where this is left by an error, such as Ctrl-C."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _verify_file(folder: str, description: Mapping[str, Any]) -> Problem | None:
    """Compare a file with its size and sha256 in the manifest."""
    name = description['name']
    path = os.path.join(folder, name)
    try:
        check_regular(path, called='it')
        with open(path, 'rb') as file:
            sha256 = hashlib.file_digest(file, 'sha256').hexdigest()
            size = file.tell()
    except UserError as error:
        return Problem(name, str(error).removeprefix('it: '))
    except OSError as error:
        return Problem(name, error.strerror or str(error))
    if size != description['bytes']:
        return Problem(name, f'{size} bytes, and {description["bytes"]} when it was built')
    if sha256 != description['sha256']:
        return Problem(name, f'sha256 is {sha256[:16]}, and {description["sha256"][:16]} when it was built')
    return None


def _find_unknown_shards(folder: str, files: Sequence[Mapping[str, Any]]) -> list[Problem]:
    known = {file['name'] for file in files}
    shards = sorted(name for name in os.listdir(folder) if name.endswith('.array_record'))
    return [Problem(name, 'the manifest does not know it') for name in shards if name not in known]


def _verify_table(records: RecordSet, manifest: Mapping[str, Any]) -> list[Problem]:
    """Compare what the table says of the set as a whole with the manifest."""
    problems: list[Problem] = []
    keys = records.column('key')
    num_kept = manifest['clips']['kept']
    if len(records) != num_kept:
        problems.append(Problem(TABLE, f'{len(records)} rows, and the build kept {num_kept} clips'))
    if len(set(keys)) < len(keys):
        repeated = next(key for key, count in collections.Counter(keys).items() if count > 1)
        problems.append(Problem(TABLE, f'more than one record is called {repeated}'))
    return problems


def _split_into_tasks(records: RecordSet) -> list[Task]:
    """Return all records as tasks of TASK_RECORDS of one shard at most, in the order they lie on disk."""
    shards = records.column('shard')
    rows = np.lexsort((records.column('place'), shards))
    if not len(rows):
        return []
    edges = np.flatnonzero(np.diff(shards[rows])) + 1
    tasks: list[Task] = []
    for part in np.split(rows, edges):
        for first in range(0, len(part), TASK_RECORDS):
            tasks.append((int(shards[part[0]]), part[first : first + TASK_RECORDS]))
    return tasks


def _verify_records(folder: str, records: RecordSet, name: str, rows: np.ndarray, decoding: bool) -> list[Problem]:
    """Return the damaged ones among some records of the shard `name`."""
    from array_record.python.array_record_module import ArrayRecordReader

    problems: list[Problem] = []
    # Without read-ahead: records are read one by one, by their rank.
    reader = ArrayRecordReader(os.path.join(folder, name), 'readahead_buffer_size:0')
    for row in records.table.take(rows).to_pylist():
        try:
            reason = _verify_record(reader.read([row['place']])[0], row, decoding)
        # Of the shard, which may not even open.
        except (RuntimeError, ValueError, IndexError) as error:
            reason = first_line(error)
        if reason:
            problems.append(Problem(name, reason, row['key'], row['place']))
    # A shard that is damaged complains again when it is closed.
    with contextlib.suppress(RuntimeError):
        reader.close()
    return problems


def _verify_record(data: bytes, row: Mapping[str, Any], decoding: bool) -> str:
    """Return what is wrong with a record's bytes, '' for nothing."""
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != row['sha256']:
        return f'sha256 is {sha256[:16]}, and {row["sha256"][:16]} in {TABLE}'
    try:
        record = from_bytes(data)
    except BadRecordError as error:
        return str(error)
    for name in TABLE_FIELDS:
        value = getattr(record, name)
        if value != row[name]:
            return f'{name} is {value!r}, and {row[name]!r} in {TABLE}'
    return _decode_record(record) if decoding else ''


def _decode_record(record: Record) -> str:
    """Decode all of a record; return what is wrong with it, '' for nothing."""
    if record.latents is not None:
        return '' if np.isfinite(record.latents).all() else 'its latents are not finite'
    try:
        # As it is stored, which is what a record's size is of.
        video = decode.probe(record.video, square=False)
        if (video.frames, video.height, video.width) != (record.frames, record.height, record.width):
            return f'it holds {_format_shape(video)}, and its record says {_format_shape(record)}'
        for _ in decode.stream(video):
            pass
    except BrokenVideoError as error:
        return f'it does not decode: {error}'
    return ''


def _format_shape(video: decode.Video | Record) -> str:
    return f'{video.frames} frames of {video.width}x{video.height}'
