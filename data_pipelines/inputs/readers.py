"""The rows of a list of videos: CSV (with a header), JSON lines, parquet. Read as often as asked, a row at a time."""

import codecs
import csv
from collections.abc import Iterator

from data_pipelines.inputs.fields import KNOWN, PATH, ProblemError, from_json
from vdm_jax.errors import UserError, first_line, printable
from vdm_jax.files import check_regular

ENDINGS = '.csv', '.jsonl', '.parquet', '.tsv'
TEXTS = '.csv', '.tsv'  # those that have texts alone
SIGNS = ',', '\t', ';', '|'  # between columns
WIDE = {codecs.BOM_UTF32_LE: 'utf-32', codecs.BOM_UTF32_BE: 'utf-32'}  # begins as UTF-16 does, so comes first
WIDE |= {codecs.BOM_UTF16_LE: 'utf-16', codecs.BOM_UTF16_BE: 'utf-16'}


def rows_of(path: str) -> Iterator[tuple[str, dict | ProblemError]]:
    """Yields (where, {column: value} or what is wrong with the row). Known columns are found in any case.

    Raises: UserError for a file that cannot be read, is without a header or no parquet.
    """
    check_regular(path, called=f'--source={path}')
    kinds = {'.csv': csv_rows, '.tsv': csv_rows, '.jsonl': _jsonl, '.parquet': _parquet}
    try:
        for where, row in kinds[next(ending for ending in ENDINGS if path.lower().endswith(ending))](path):
            if isinstance(row, dict):
                row = {_column(name): value for name, value in row.items()}
            yield where, row
    except OSError as error:
        raise UserError(f'--source={path} cannot be read: {str(error.strerror or error).splitlines()[0]}') from None
    except UnicodeError as error:  # of UTF-16: other files are read row by row
        raise UserError(f'--source={path} is cut off or damaged: {error}; save it as UTF-8') from None


def _column(name):
    plain = name.strip()
    return plain.lower() if plain.lower() in KNOWN else plain


def csv_rows(path):
    """The rows of a CSV in UTF-8, or in UTF-16 or UTF-32 with a byte order mark, as spreadsheets save it. Columns are
    parted by commas, tabs or semicolons: what makes one of the header's names that of a path.
    """
    encoding, errors = _encoding(path)
    with open(path, encoding=encoding, errors=errors, newline='') as file:
        sign = _sign(file.readline(), ',' if not path.lower().endswith('.tsv') else '\t')
        file.seek(0)
        reader = csv.reader(file, strict=True, delimiter=sign)
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


def _encoding(path):
    """(encoding, what becomes of bytes that are none of it)."""
    with open(path, 'rb') as file:
        head = file.read(512)
    for mark, encoding in WIDE.items():
        if head.startswith(mark):
            return encoding, 'surrogatepass'
    if b'\0' in head:
        raise UserError(
            f'--source={path}: it has bytes of 0, as UTF-16 without a byte order mark has; save it as UTF-8'
        )
    # what is no UTF-8 stays recognisable, so that one wrong row does not spoil the others
    return 'utf-8-sig', 'surrogateescape'


def _sign(header, usual):
    """What parts the columns: of a header in which nothing makes a name of a path the usual sign."""
    for sign in (usual, *SIGNS):
        try:
            columns = next(csv.reader([header], strict=True, delimiter=sign), [])
        except csv.Error:
            continue
        if any(_column(name) in PATH for name in columns):
            return sign
    return usual


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
    from pyarrow import parquet

    number = 0
    for batch in _batches(path, parquet):
        for row in _plain(batch):
            number += 1
            yield f'row {number}', row


def _batches(path, parquet):
    """Yields the record batches of a parquet file."""
    try:
        with parquet.ParquetFile(path) as file:
            file.schema_arrow.names  # noqa: B018, which may be no UTF-8
            yield from file.iter_batches(4096)
    except Exception as error:  # Arrow and Python have errors of many kinds for what is no parquet
        raise UserError(f'--source={path} cannot be read: {first_line(error)}') from None


def _plain(batch):
    """The rows of a record batch as mappings of plain values; of one that has none, what is wrong with it."""
    try:
        return batch.to_pylist()
    except Exception:  # of a text that is no UTF-8, a date of no calendar: find the row
        return [_plain_row(batch.slice(number, 1)) for number in range(batch.num_rows)]


def _plain_row(batch):
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[0].as_py()
        except UnicodeDecodeError:
            return ProblemError('encoding', f'{printable(name)} is no UTF-8; save it as UTF-8')
        except Exception as error:  # see _plain
            return ProblemError('bad_row', f'{printable(name)} cannot be read: {type(error).__name__}')
    return row
