"""The rows of a list of videos: CSV (UTF-8, a header), JSON lines, parquet. Read as often as asked, a row at a time."""

import csv
from collections.abc import Iterator

from data_pipelines.fields import KNOWN, ProblemError, from_json
from vdm_jax.errors import UserError

ENDINGS = '.csv', '.jsonl', '.parquet'


def rows_of(path: str) -> Iterator[tuple[str, dict | ProblemError]]:
    """Yields (where, {column: value} or what is wrong with the row). Known columns are found in any case.

    Raises: UserError for a file that cannot be read, is without a header or no parquet.
    """
    kinds = {'.csv': csv_rows, '.jsonl': _jsonl, '.parquet': _parquet}
    try:
        for where, row in kinds[next(ending for ending in ENDINGS if path.lower().endswith(ending))](path):
            if isinstance(row, dict):
                row = {_column(name): value for name, value in row.items()}
            yield where, row
    except OSError as error:
        raise UserError(f'--source={path} cannot be read: {str(error.strerror or error).splitlines()[0]}') from None


def _column(name):
    plain = name.strip()
    return plain.lower() if plain.lower() in KNOWN else plain


def csv_rows(path):
    # what is no UTF-8 stays recognisable, so that one wrong row does not spoil the others
    with open(path, encoding='utf-8-sig', errors='surrogateescape', newline='') as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
        except csv.Error as error:
            raise UserError(f'--source={path}: its header is no CSV: {error}') from None
        columns = [_column(name) for name in header]
        if not any(columns) or len(set(columns)) < len(columns):
            twice = [name for name in columns if columns.count(name) > 1]
            raise UserError(f'--source={path}: ' + (f'column {twice[0]!r} is there twice' if twice else 'no header'))
        while True:
            first = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield f'line {first}', ProblemError('bad_row', f'lines {first} to {reader.line_num}: {error}')
                continue
            if row is None:
                return
            if not row:  # an empty line
                continue
            if len(row) != len(columns):
                yield f'line {first}', ProblemError('columns', f'line {first} has {len(row)} columns of {len(columns)}')
                continue
            yield f'line {first}', dict(zip(columns, row, strict=True))


def _jsonl(path):
    with open(path, 'rb') as file:
        for number, line in enumerate(file, 1):
            where = f'line {number}'
            if not line.strip():
                continue
            try:
                row = from_json(line.decode('utf-8-sig'), where)
                if not isinstance(row, dict):
                    raise ProblemError('bad_json', f'{where} is no {{path, caption, ...}}')
            except UnicodeDecodeError:
                row = ProblemError('encoding', f'{where} is no UTF-8; save it as UTF-8')
            except ProblemError as problem:
                row = problem
            yield where, row


def _parquet(path):
    from pyarrow import ArrowException, parquet

    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(4096):
                for row in batch.to_pylist():
                    number += 1
                    yield f'row {number}', row
    except ArrowException as error:
        raise UserError(f'--source={path} cannot be read: {str(error).splitlines()[0]}') from None
