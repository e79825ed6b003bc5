"""A directory of records: ArrayRecord shards, and beside them one table of all that is known without reading a clip.

    DIR/records-00000-of-00004.array_record ...   the records, in the order of the table
    DIR/records.parquet                           a row a record
    DIR/manifest.json, inputs.parquet             of whoever built it (data_pipelines)

The order function, filters and buckets work on the table alone, so no clip is read to decide which one comes when.
"""

import dataclasses
import functools
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Sequence

import numpy as np

from vdm_jax.data.records import USUAL, BadRecordError, Caption, Record, from_bytes, to_bytes
from vdm_jax.errors import UserError

TABLE = 'records.parquet'
SCORE = 'score/'  # before the name of a score, as a column of the table
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

    kinds = {
        name: pa.list_(pa.int32()) if kind == 'shape' else getattr(pa, _ARROW.get(kind, kind))()
        for name, kind in COLUMNS.items()
    }
    scores = sorted({name for row in rows for name in row if name.startswith(SCORE)})
    schema = pa.schema([*kinds.items(), *((name, pa.float64()) for name in scores)])
    parquet.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, compression='zstd')


_ARROW = {'double': 'float64'}


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
        import pyarrow as pa
        from pyarrow import ArrowException, parquet

        try:
            table = parquet.read_table(os.path.join(self.path, TABLE), memory_map=False)
        except FileNotFoundError:
            raise UserError(
                f'{self._where}: no {TABLE} there; make a set of records with python -m data_pipelines build'
            ) from None
        except (OSError, ArrowException) as error:
            raise UserError(f'{self._where}: {TABLE} cannot be read: {_line(error)}; build the set anew') from None
        if missing := [name for name in COLUMNS if name not in (*table.column_names, *USUAL)]:
            raise UserError(f'{self._where}: {TABLE} has no column {missing[0]}; build the set anew')
        for name, usual in USUAL.items():  # of sets that an earlier version built
            if name not in table.column_names:
                table = table.append_column(name, pa.array([usual] * table.num_rows))
        return table

    def column(self, name: str) -> np.ndarray:
        """One column as numpy: (N,), a missing number nan."""
        return self.table.column(name).to_numpy(zero_copy_only=False)

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores that any record has."""
        return tuple(name.removeprefix(SCORE) for name in self.table.column_names if name.startswith(SCORE))

    def captions(self, i: int) -> tuple[Caption, ...]:
        """The captions of record i, from the table."""
        return tuple(Caption(*each) for each in json.loads(self.table.column('captions')[i].as_py()))

    def __getitem__(self, i: int) -> Record:
        """Record i, read and checked.

        Raises:
          UserError: the shard is missing or damaged there; the record is named.
        """
        number, place = int(self._shards[i]), int(self._places[i])
        try:
            return from_bytes(self._reader(number).read([place])[0])
        except (BadRecordError, RuntimeError, ValueError, IndexError) as error:
            key, name = self.table.column('key')[i].as_py(), shard_name(number, self._count)
            raise UserError(
                f'{self._where}: record {i} ({key}), number {place} of {name}, is damaged: {_line(error)}; '
                f'python -m data_pipelines verify {self.path} looks at all of them'
            ) from None

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
                readers[number] = ArrayRecordReader(path, 'readahead_buffer_size:0', file_reader_buffer_size=2**15)
            return readers[number]

    @property
    def _where(self) -> str:
        return self.where or self.path


def _line(error) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
