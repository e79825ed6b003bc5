"""Readers of lists of videos: CSV (with a header), JSON lines, parquet, a row at a time."""

import codecs
import csv
from collections.abc import Iterator
from typing import Any

from data_pipelines.inputs.fields import KNOWN_COLUMNS, PATH_COLUMNS, ProblemError, parse_json
from vdm_jax.errors import UserError, escape_unprintable, first_line
from vdm_jax.files import check_regular

ENDINGS = '.csv', '.jsonl', '.parquet', '.tsv'
TEXT_ENDINGS = '.csv', '.tsv'  # of lists whose values are all texts
DELIMITERS = ',', '\t', ';', '|'
# UTF-32 is first, for it begins as UTF-16 does.
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: 'utf-32',
    codecs.BOM_UTF32_BE: 'utf-32',
    codecs.BOM_UTF16_LE: 'utf-16',
    codecs.BOM_UTF16_BE: 'utf-16',
}

Row = dict[str, Any] | ProblemError


def read_rows(path: str) -> Iterator[tuple[str, Row]]:
    """Yield (where, {column: value}) of each row, or (where, what is wrong with it).

    Columns that are known are found in any case.

    Raises:
      UserError: the file cannot be read, has no header or is no parquet.
    """
    check_regular(path, called=f'--source={path}')
    readers = {'.csv': read_csv, '.tsv': read_csv, '.jsonl': _read_jsonl, '.parquet': _read_parquet}
    ending = next(ending for ending in ENDINGS if path.lower().endswith(ending))
    try:
        for where, row in readers[ending](path):
            if isinstance(row, dict):
                row = {_normalise_column(name): value for name, value in row.items()}
            yield where, row
    except OSError as error:
        raise UserError(f'--source={path} cannot be read: {str(error.strerror or error).splitlines()[0]}') from None
    except UnicodeError as error:  # of UTF-16: other files are read row by row
        raise UserError(f'--source={path} is cut off or damaged: {error}; save it as UTF-8') from None


def _normalise_column(name: str) -> str:
    """Remove spaces around a column's name, and put known ones in lower case."""
    stripped = name.strip()
    return stripped.lower() if stripped.lower() in KNOWN_COLUMNS else stripped


def read_csv(path: str) -> Iterator[tuple[str, Row]]:
    """Yield (where, row or problem) of a CSV.

    It is in UTF-8, or in UTF-16 or UTF-32 with a byte order mark, as spreadsheets save it. Columns are separated by
    commas, tabs or semicolons: what makes one of the header's names that of a path.
    """
    encoding, errors = _detect_encoding(path)
    # Line ends are left to the csv module: there may be some within a quoted caption.
    with open(path, encoding=encoding, errors=errors, newline='') as file:
        usual = '\t' if path.lower().endswith('.tsv') else ','
        # Spreadsheets write semicolons where the comma is the decimal sign.
        delimiter = _detect_delimiter(file.readline(), usual)
        file.seek(0)
        # Strict: a stray quote is a mistake of its row, and no part of a caption.
        reader = csv.reader(file, strict=True, delimiter=delimiter)
        columns = _read_header(reader, path)

        # Not a `for`, which ends at the first row that is no CSV: the others are read all the same.
        while True:
            first = reader.line_num + 1
            where = f'line {first}'
            try:
                values = next(reader, None)
            except csv.Error as error:
                yield where, ProblemError('bad_row', f'lines {first} to {reader.line_num}: {error}')
                continue

            if values is None:
                return
            if not values:  # an empty line
                continue
            if len(values) != len(columns):
                yield where, ProblemError('columns', f'{where} has {len(values)} columns of {len(columns)}')
                continue
            yield where, dict(zip(columns, values, strict=True))


def _read_header(reader: Iterator[list[str]], path: str) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise UserError(f'--source={path}: its header is no CSV: {error}') from None
    columns = [_normalise_column(name) for name in header]
    repeated = [name for name in columns if columns.count(name) > 1]
    if repeated:
        raise UserError(f'--source={path}: column {repeated[0]!r} is there twice')
    if not any(columns):
        raise UserError(f'--source={path}: no header')
    return columns


def _detect_encoding(path: str) -> tuple[str, str]:
    """Return (encoding, error handler) for `open`."""
    with open(path, 'rb') as file:
        head = file.read(512)
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return encoding, 'surrogatepass'
    if b'\0' in head:
        raise UserError(
            f'--source={path}: it has bytes of 0, as UTF-16 without a byte order mark has; save it as UTF-8'
        )
    # What is no UTF-8 stays recognisable, so that one wrong row does not spoil the others.
    return 'utf-8-sig', 'surrogateescape'


def _detect_delimiter(header: str, usual: str) -> str:
    """Return what separates the columns: the usual delimiter where none makes a name of a path of the header."""
    for delimiter in (usual, *DELIMITERS):
        try:
            columns = next(csv.reader([header], strict=True, delimiter=delimiter), [])
        except csv.Error:
            continue
        if any(_normalise_column(name) in PATH_COLUMNS for name in columns):
            return delimiter
    return usual


def _read_jsonl(path: str) -> Iterator[tuple[str, Row]]:
    with open(path, 'rb') as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                where = f'line {number}'
                yield where, _parse_json_line(line, where)


def _parse_json_line(line: bytes, where: str) -> Row:
    try:
        row = parse_json(line.decode('utf-8-sig'), where)
    except UnicodeDecodeError:
        return ProblemError('encoding', f'{where} is no UTF-8; save it as UTF-8')
    except ProblemError as problem:
        return problem
    if not isinstance(row, dict):
        return ProblemError('bad_json', f'{where} is no {{path, caption, ...}}')
    return row


def _read_parquet(path: str) -> Iterator[tuple[str, Row]]:
    number = 0
    for batch in _read_batches(path):
        for row in _batch_rows(batch):
            number += 1
            yield f'row {number}', row


def _read_batches(path: str) -> Iterator[Any]:
    """Yield the record batches of a parquet file."""
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            # Names of columns are decoded now, so that a mistake in them is one of the file.
            file.schema_arrow.names  # noqa: B018, which may be no UTF-8
            # Not all rows at once: a list may have millions.
            yield from file.iter_batches(4096)
    except Exception as error:  # Arrow and Python have errors of many kinds for what is no parquet
        raise UserError(f'--source={path} cannot be read: {first_line(error)}') from None


def _batch_rows(batch: Any) -> list[Row]:
    """Return the rows of a record batch as mappings of plain values; of one that has none, what is wrong with it."""
    try:
        rows: list[Row] = batch.to_pylist()
    except Exception:  # of a text that is no UTF-8, a date of no calendar: find the row
        return [_batch_row(batch.slice(number, 1)) for number in range(batch.num_rows)]
    return rows


def _batch_row(batch: Any) -> Row:
    """Return the row of a record batch of one."""
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[0].as_py()
        except UnicodeDecodeError:
            return ProblemError('encoding', f'{escape_unprintable(name)} is no UTF-8; save it as UTF-8')
        except Exception as error:  # see _batch_rows
            return ProblemError('bad_row', f'{escape_unprintable(name)} cannot be read: {type(error).__name__}')
    return row
