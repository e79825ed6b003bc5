"""A directory of records: ArrayRecord shards, and beside them one table of all that is known without reading a clip.

    DIR/records-00000-of-00004.array_record ...   the records, in the order of the table
    DIR/records.parquet                           a row a record
    DIR/manifest.json, inputs.parquet             of whoever built it (data_pipelines); with the sha256 of each file

The order function, filters and buckets work on the table alone, so no clip is read to decide which one comes when. The
table is held against the manifest's sha256 when it is opened, a record against the table's when it is read.
"""

import dataclasses
import functools
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vdm_jax.data.records import manifest
from vdm_jax.data.records.schema import (
    DEFAULTS,
    FIELD_TYPES,
    LIMIT,
    BadRecordError,
    Caption,
    Record,
    from_bytes,
    parse_captions,
    to_bytes,
)
from vdm_jax.errors import UserError, escape_unprintable, first_line
from vdm_jax.files import check_regular, parse_json

TABLE = 'records.parquet'
SCORE = 'score/'  # before the name of a score, as a column of the table
MAX_SHARDS = 2**20
NULLABLE = 'latents', 'label'  # columns of which a record may have none
# Each record is a group of its own, as they are read one by one at random, and not compressed, as videos are already.
OPTIONS = 'group_size:1,uncompressed'

Row = dict[str, Any]  # of the table, by the names of its columns

# Types of the columns. Beside these there is 'score/NAME' of each score, double, null where a record has none.
COLUMNS = {
    'key': 'string',
    'shard': 'int32',
    'place': 'int64',
    'bytes': 'int64',
    'sha256': 'string',
    'frames': 'int32',
    'height': 'int32',
    'width': 'int32',
    'fps': 'double',
    'latents': 'shape',  # list of int32, or null
    'codec': 'string',
    'source': 'string',
    'start': 'double',
    'end': 'double',
    'captions': 'string',  # JSON: a list of [text, weight, start, end]
    'label': 'int64',
    'label_name': 'string',
    'pixel_aspect': 'double',
}
_ARROW = {'double': 'float64'}  # pyarrow's names of types, where they are others

# Of the numbers of a table that size or name something.
RANGES = {
    'shard': (0, MAX_SHARDS),
    'place': (0, 2**48),
    'frames': (1, LIMIT),
    'height': (1, LIMIT),
    'width': (1, LIMIT),
    'label': (-LIMIT, LIMIT - 1),
    'fps': (1e-9, 1e9),
    'pixel_aspect': (1e-9, 1e9),
}


def shard_name(number: int, count: int) -> str:
    """Return the name of the file of one of `count` shards."""
    return f'records-{number:05}-of-{count:05}.array_record'


def make_row(record: Record, data: bytes, shard: int, rank: int) -> Row:
    """Return the table's row of a record whose bytes `data` are number `rank` of a shard."""
    captions = [dataclasses.astuple(caption) for caption in record.captions]
    row: Row = {name: getattr(record, name) for name in COLUMNS if name in FIELD_TYPES}
    row['captions'] = json.dumps(captions, ensure_ascii=False)
    row['latents'] = None if record.latents is None else list(record.latents.shape)
    row['shard'] = shard
    row['place'] = rank
    row['bytes'] = len(data)
    row['sha256'] = hashlib.sha256(data).hexdigest()
    return row | {SCORE + name: float(value) for name, value in record.scores.items()}


def write_shard(path: str | os.PathLike[str], records: Iterable[Record], number: int) -> list[Row]:
    """Write the records to one ArrayRecord file, and return their rows. Equal records make equal bytes."""
    from array_record.python.array_record_module import ArrayRecordWriter

    rows = []
    writer = ArrayRecordWriter(str(path), OPTIONS)
    try:
        for rank, record in enumerate(records):
            data = to_bytes(record)
            writer.write(data)
            rows.append(make_row(record, data, number, rank))
    finally:
        writer.close()
    return rows


def write_table(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
    """Write the rows of all shards as DIR/records.parquet; a score is a column where any record has it."""
    import pyarrow as pa
    from pyarrow import parquet

    scores = sorted({name for row in rows for name in row if name.startswith(SCORE)})
    parquet.write_table(pa.Table.from_pylist(list(rows), schema=_schema(scores)), path, compression='zstd')


def _schema(scores: Sequence[str]) -> Any:
    """Return the pyarrow.Schema of a table with these columns of scores beside COLUMNS."""
    import pyarrow as pa

    fields = []
    for name, kind in COLUMNS.items():
        fields.append((name, pa.list_(pa.int32()) if kind == 'shape' else getattr(pa, _ARROW.get(kind, kind))()))
    for name in scores:
        fields.append((name, pa.float64()))
    return pa.schema(fields)


def read_table(path: str | os.PathLike[str]) -> Any:
    """Return the table of a set, a pyarrow.Table with the columns COLUMNS and 'score/NAME' of each score.

    Raises:
      BadRecordError: it is none, or holds what no record is like; the message is without its name.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # Not mapped: where a mapped file is cut off meanwhile, the process ends without a word.
        table = parquet.read_table(path, memory_map=False)
        missing = [name for name in COLUMNS if name not in (*table.column_names, *DEFAULTS)]
        if missing:
            raise BadRecordError(f'it has no column {missing[0]}')
        for name, default in DEFAULTS.items():  # of sets that an earlier version built
            if name not in table.column_names:
                table = table.append_column(name, pa.array([default] * table.num_rows))

        scores = [name for name in table.column_names if name.startswith(SCORE)]
        table = table.select([*COLUMNS, *scores]).cast(_schema(scores))
        # Arrow believes the offsets in a file unless it is made to look, and then reads wherever they lead.
        table.validate(full=True)
        _check_values(table)
    except BadRecordError:
        raise
    except Exception as error:  # Arrow and Python have errors of many kinds for what is no table
        raise BadRecordError(first_line(error)) from None
    return table


def _check_values(table: Any) -> None:
    """Check that a table with the right columns holds what records are like.

    Raises:
      BadRecordError: it does not.
    """
    from pyarrow import compute

    for name, (low, high) in RANGES.items():
        span = compute.min_max(table.column(name)).as_py()
        if span['min'] is not None and not low <= span['min'] <= span['max'] <= high:
            raise BadRecordError(f'{name} is {span["min"]} to {span["max"]}')
    for name in COLUMNS.keys() - {*NULLABLE}:
        if table.column(name).null_count:
            raise BadRecordError(f'{name} of a record is null')
        if COLUMNS[name] == 'double' and not np.isfinite(table.column(name).to_numpy()).all():
            raise BadRecordError(f'{name} of a record is not finite')

    # A shape of latents has four sides of 1 or more.
    ranks = compute.list_value_length(table.column('latents'))
    sides = compute.list_flatten(table.column('latents'))
    smallest = compute.min(sides).as_py()
    has_other_rank = compute.any(compute.not_equal(ranks, 4)).as_py()
    has_no_side = sides.null_count > 0 or (smallest is not None and smallest < 1)
    if has_other_rank or has_no_side:
        raise BadRecordError('latents of a record are of no shape')


@dataclasses.dataclass(frozen=True, eq=False)
class RecordSet:
    """The set in a directory; its table and shards are opened when they are first needed.

    Attributes:
      path: Of the directory.
      where: What messages name: a key of a config, or '' for the directory.

    Raises:
      UserError: there is no set in the directory.
    """

    path: str
    where: str = ''

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @functools.cached_property
    def table(self) -> Any:
        """The table, a pyarrow.Table with the columns COLUMNS and 'score/NAME' of each score."""
        path = os.path.join(self.path, TABLE)
        if not os.path.exists(path):
            raise UserError(
                f'{self._where}: no {TABLE} there; make a set of records with python -m data_pipelines build'
            )

        called = f'{self._where}: {TABLE}'
        check_regular(path, called=called)
        expected = manifest.sha256_of(self.path, TABLE)
        try:
            with open(path, 'rb') as file:
                if expected is not None and hashlib.file_digest(file, 'sha256').hexdigest() != expected:
                    raise BadRecordError('its sha256 is another one than when it was built')
            return read_table(path)
        except (BadRecordError, OSError) as error:
            raise UserError(f'{called} cannot be read: {first_line(error)}; build the set anew') from None

    def notes(self) -> list[str]:
        """Return a line where damage to the table would go unnoticed."""
        if os.path.exists(os.path.join(self.path, manifest.MANIFEST)):
            return []
        return [
            f'{self._where}: {TABLE} is unverified, as no {manifest.MANIFEST} is there to say its sha256; to have '
            'damage noticed, build the set anew with python -m data_pipelines build'
        ]

    def column(self, name: str) -> np.ndarray:
        """Return one column as numpy: (N,), a missing number nan."""
        # Texts and columns with missing values cannot be had without a copy.
        values: np.ndarray = self.table.column(name).to_numpy(zero_copy_only=False)
        return values

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores that any record has."""
        return tuple(name.removeprefix(SCORE) for name in self.table.column_names if name.startswith(SCORE))

    def captions(self, i: int) -> tuple[Caption, ...]:
        """Return the captions of record i, from the table."""
        text = self.table.column('captions')[i].as_py()
        try:
            return parse_captions(parse_json(text, 'captions'))
        except (BadRecordError, UserError) as error:
            raise UserError(f'{self._where}: {TABLE}, record {i}: {error}; build the set anew') from None

    def __getitem__(self, i: int) -> Record:
        """Return record i, read and checked.

        Raises:
          UserError: the shard is missing or damaged there, or has another record; the record is named.
        """
        shard = int(self._shards[i])
        rank = int(self._ranks[i])
        try:
            data = self._open_shard(shard).read([rank])[0]
            if hashlib.sha256(data).hexdigest() != self._cell('sha256', i):
                raise BadRecordError(f'its sha256 is another one than in {TABLE}')

            # The bytes are those of the build; the table may still be another build's.
            record = from_bytes(data)
            self._compare(record, i)
            return record
        # ArrayRecord has all of these for damage; a damaged length may ask for more memory than there is.
        except (BadRecordError, RuntimeError, ValueError, IndexError, OSError, MemoryError) as error:
            key = escape_unprintable(self._cell('key', i))
            name = shard_name(shard, self._num_shards)
            raise UserError(
                f'{self._where}: record {i} ({key}), number {rank} of {name}, is damaged: {first_line(error)}; '
                f'python -m data_pipelines verify {self.path} looks at all of them'
            ) from None

    def _compare(self, record: Record, i: int) -> None:
        """Check that record i has the size that the table says, by which batches are made.

        Raises:
          BadRecordError: it has another one.
        """
        shape = None if record.latents is None else list(record.latents.shape)
        sizes = {name: getattr(record, name) for name in ('frames', 'height', 'width')} | {'latents': shape}
        for name, size in sizes.items():
            if size != self._cell(name, i):
                raise BadRecordError(f'{name} is {size}, and {self._cell(name, i)} in {TABLE}')

    def _cell(self, name: str, i: int) -> Any:
        return self.table.column(name)[i].as_py()

    @functools.cached_property
    def _shards(self) -> np.ndarray:
        """The shard of each record."""
        return self.column('shard')

    @functools.cached_property
    def _ranks(self) -> np.ndarray:
        """The number of each record within its shard."""
        return self.column('place')

    @property
    def _num_shards(self) -> int:
        return int(self._shards.max()) + 1 if len(self) else 0

    @functools.cached_property
    def _open_shards(self) -> tuple[dict[int, Any], threading.Lock]:
        return {}, threading.Lock()

    def _open_shard(self, number: int) -> Any:
        """Return the ArrayRecordReader of one shard, which many threads may share; it is opened once."""
        from array_record.python.array_record_module import ArrayRecordReader

        readers, lock = self._open_shards
        with lock:
            if number not in readers:
                path = os.path.join(self.path, shard_name(number, self._num_shards))
                # A pipe in its place would be waited for.
                check_regular(path, called='it')
                # Records are read one by one at random, so reading ahead would be for nothing.
                readers[number] = ArrayRecordReader(path, 'readahead_buffer_size:0', file_reader_buffer_size=2**15)
            return readers[number]

    @property
    def _where(self) -> str:
        return self.where or self.path
