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

import numpy as np

from vdm_jax.data.records import manifest
from vdm_jax.data.records.schema import (
    MOST,
    USUAL,
    BadRecordError,
    Caption,
    Record,
    captions_from,
    from_bytes,
    to_bytes,
)
from vdm_jax.errors import UserError, first_line, printable
from vdm_jax.files import check_regular, parse_json

TABLE = 'records.parquet'
SCORE = 'score/'  # before the name of a score, as a column of the table
MOST_SHARDS = 2**20
NULLABLE = 'latents', 'label'  # columns of which a record may have none
OPTIONS = 'group_size:1,uncompressed'  # every record by itself, and none compressed twice


def shard_name(number: int, count: int) -> str:
    return f'records-{number:05}-of-{count:05}.array_record'


def row_of(record: Record, data: bytes, shard: int, place: int) -> dict:
    """The table's row of a record whose bytes `data` are number `place` of a shard."""
    captions = [dataclasses.astuple(caption) for caption in record.captions]
    row = {name: getattr(record, name) for name in COLUMNS if hasattr(record, name)}
    row |= {'captions': json.dumps(captions, ensure_ascii=False)}
    row |= {'latents': None if record.latents is None else list(record.latents.shape)}
    row |= {'shard': shard, 'place': place, 'bytes': len(data), 'sha256': hashlib.sha256(data).hexdigest()}
    return row | {SCORE + name: float(value) for name, value in record.scores.items()}


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
}  # and 'score/NAME' of each score, double, null where a record has none


def write_shard(path, records: Iterable[Record], number: int) -> list[dict]:
    """Writes the records to one ArrayRecord file at `path`; returns their rows. Equal records make equal bytes."""
    from array_record.python.array_record_module import ArrayRecordWriter

    writer, rows = ArrayRecordWriter(str(path), OPTIONS), []
    try:
        for place, record in enumerate(records):
            data = to_bytes(record)
            writer.write(data)
            rows.append(row_of(record, data, number, place))
    finally:
        writer.close()
    return rows


def write_table(path, rows: Sequence[dict]) -> None:
    """Writes the rows of all shards as DIR/records.parquet; a score is a column where any record has it."""
    import pyarrow as pa
    from pyarrow import parquet

    scores = sorted({name for row in rows for name in row if name.startswith(SCORE)})
    parquet.write_table(pa.Table.from_pylist(list(rows), schema=_schema(scores)), path, compression='zstd')


def _schema(scores):
    """Of a table with these columns of scores beside COLUMNS."""
    import pyarrow as pa

    kinds = {
        name: pa.list_(pa.int32()) if kind == 'shape' else getattr(pa, _ARROW.get(kind, kind))()
        for name, kind in COLUMNS.items()
    }
    return pa.schema([*kinds.items(), *((name, pa.float64()) for name in scores)])


_ARROW = {'double': 'float64'}


def read_table(path):
    """The table of a set as it lies there, with the columns COLUMNS and 'score/NAME' of each score.

    Raises:
      BadRecordError: it is none, or holds what no record is like; without its name.
    """
    import pyarrow as pa
    from pyarrow import compute, parquet

    try:
        table = parquet.read_table(path, memory_map=False)
        if missing := [name for name in COLUMNS if name not in (*table.column_names, *USUAL)]:
            raise BadRecordError(f'it has no column {missing[0]}')
        for name, usual in USUAL.items():  # of sets that an earlier version built
            if name not in table.column_names:
                table = table.append_column(name, pa.array([usual] * table.num_rows))
        scores = [name for name in table.column_names if name.startswith(SCORE)]
        table = table.select([*COLUMNS, *scores]).cast(_schema(scores))
        table.validate(full=True)
        for name, (least, most) in RANGES.items():
            found = compute.min_max(table.column(name)).as_py()
            if found['min'] is not None and not least <= found['min'] <= found['max'] <= most:
                raise BadRecordError(f'{name} is {found["min"]} to {found["max"]}')
        for name in COLUMNS.keys() - {*NULLABLE}:
            if table.column(name).null_count:
                raise BadRecordError(f'{name} of a record is null')
            if COLUMNS[name] == 'double' and not np.isfinite(table.column(name).to_numpy()).all():
                raise BadRecordError(f'{name} of a record is not finite')
        lengths = compute.list_value_length(table.column('latents'))
        sides = compute.list_flatten(table.column('latents'))
        least = compute.min(sides).as_py()
        if compute.any(compute.not_equal(lengths, 4)).as_py() or sides.null_count or least is not None and least < 1:
            raise BadRecordError('latents of a record are of no shape')
    except BadRecordError:
        raise
    except Exception as error:  # Arrow and Python have errors of many kinds for what is no table
        raise BadRecordError(first_line(error)) from None
    return table


RANGES = {  # of the numbers of a table that size or name something
    'shard': (0, MOST_SHARDS),
    'place': (0, 2**48),
    'frames': (1, MOST),
    'height': (1, MOST),
    'width': (1, MOST),
    'label': (-MOST, MOST - 1),
    'fps': (1e-9, 1e9),
    'pixel_aspect': (1e-9, 1e9),
}


@dataclasses.dataclass(frozen=True, eq=False)
class RecordSet:
    """The set in a directory; its table and shards are opened when first asked for.

    Raises: UserError, naming `where` (a key of a config, or the directory), for a directory that holds none.
    """

    path: str
    where: str = ''

    def __len__(self) -> int:
        return self.table.num_rows

    @functools.cached_property
    def table(self):
        """The table, a pyarrow.Table with the columns COLUMNS and 'score/NAME' of each score."""
        path = os.path.join(self.path, TABLE)
        if not os.path.exists(path):
            raise UserError(
                f'{self._where}: no {TABLE} there; make a set of records with python -m data_pipelines build'
            )
        called = f'{self._where}: {TABLE}'
        check_regular(path, called=called)
        wanted = manifest.sha256_of(self.path, TABLE)
        try:
            with open(path, 'rb') as file:
                if wanted is not None and hashlib.file_digest(file, 'sha256').hexdigest() != wanted:
                    raise BadRecordError('its sha256 is another one than when it was built')
            return read_table(path)
        except (BadRecordError, OSError) as error:
            raise UserError(f'{called} cannot be read: {first_line(error)}; build the set anew') from None

    def notes(self) -> list[str]:
        """A line where damage to the table would go unnoticed."""
        if os.path.exists(os.path.join(self.path, manifest.MANIFEST)):
            return []
        return [
            f'{self._where}: {TABLE} is unverified, as no {manifest.MANIFEST} is there to say its sha256; to have '
            'damage noticed, build the set anew with python -m data_pipelines build'
        ]

    def column(self, name: str) -> np.ndarray:
        """One column as numpy: (N,), a missing number nan."""
        return self.table.column(name).to_numpy(zero_copy_only=False)

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores that any record has."""
        return tuple(name.removeprefix(SCORE) for name in self.table.column_names if name.startswith(SCORE))

    def captions(self, i: int) -> tuple[Caption, ...]:
        """The captions of record i, from the table."""
        text = self.table.column('captions')[i].as_py()
        try:
            return captions_from(parse_json(text, 'captions'))
        except (BadRecordError, UserError) as error:
            raise UserError(f'{self._where}: {TABLE}, record {i}: {error}; build the set anew') from None

    def __getitem__(self, i: int) -> Record:
        """Record i, read and checked.

        Raises:
          UserError: the shard is missing or damaged there, or has another record; the record is named.
        """
        number, place = int(self._shards[i]), int(self._places[i])
        try:
            data = self._reader(number).read([place])[0]
            if hashlib.sha256(data).hexdigest() != self._cell('sha256', i):
                raise BadRecordError(f'its sha256 is another one than in {TABLE}')
            record = from_bytes(data)
            self._compare(record, i)
            return record
        except (BadRecordError, RuntimeError, ValueError, IndexError, OSError, MemoryError) as error:
            key, name = printable(self._cell('key', i)), shard_name(number, self._count)
            raise UserError(
                f'{self._where}: record {i} ({key}), number {place} of {name}, is damaged: {first_line(error)}; '
                f'python -m data_pipelines verify {self.path} looks at all of them'
            ) from None

    def _compare(self, record, i):
        """Raises: BadRecordError where record i has another size than the table says, by which batches are made."""
        shape = None if record.latents is None else list(record.latents.shape)
        sizes = {name: getattr(record, name) for name in ('frames', 'height', 'width')} | {'latents': shape}
        for name, size in sizes.items():
            if size != self._cell(name, i):
                raise BadRecordError(f'{name} is {size}, and {self._cell(name, i)} in {TABLE}')

    def _cell(self, name, i):
        return self.table.column(name)[i].as_py()

    @functools.cached_property
    def _shards(self):
        return self.column('shard')

    @functools.cached_property
    def _places(self):
        return self.column('place')

    @property
    def _count(self) -> int:
        return int(self._shards.max()) + 1 if len(self) else 0

    @functools.cached_property
    def _readers(self):
        return {}, threading.Lock()

    def _reader(self, number: int):
        """The reader of one shard, which many threads may share; opened once."""
        from array_record.python.array_record_module import ArrayRecordReader

        readers, lock = self._readers
        with lock:
            if number not in readers:
                path = os.path.join(self.path, shard_name(number, self._count))
                check_regular(path, called='it')
                readers[number] = ArrayRecordReader(path, 'readahead_buffer_size:0', file_reader_buffer_size=2**15)
            return readers[number]

    @property
    def _where(self) -> str:
        return self.where or self.path
