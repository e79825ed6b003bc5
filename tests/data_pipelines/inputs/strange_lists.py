"""Lists and sidecars with values that nobody expects: case n is the same whenever and wherever it is made."""

import csv
import datetime
import decimal
import io
import json
import random

import pyarrow
from pyarrow import parquet

DEEP = 10, 900, 995, 5000, 100_000  # lists within each other
VALUES = (
    'a.mp4', 'b.mp4', '../x.mp4', '/abs', 'a\0b', 'a' * 5000, 'a/' * 3000, '\ud800', 'x\udcff.mp4', 'é.mp4', '\n', '',
    None, 1, -1, 10**400, 1e308, -1e-320, float('nan'), float('inf'), True, [], {}, [[]], {'text': 'a'}, {'text': 1},
    {'text': '\ud800'}, [{'text': 'a', 'weight': 1e400}], {'a': {'b': [1]}}, '[' * 900, '[' * 900 + '"a"' + ']' * 900,
    '{"a":' * 3000, '[["a"]]', '[1e999]', '["\\ud800"]', '1' * 5000, '1:2:3:4', '-1', '1e400', 'NaN', 'inf', '\u202e',
    '#', '"', '1:00', 2**63, -(2**63), 2**31, 0.5, '0.5', 'nan', '1e300:0:0',
)  # fmt: skip
KEYS = (
    'path', 'file', 'caption', 'captions', 'label', 'label_name', 'start', 'end', 'split', 'scores', 'text', 'score1',
    'weird\ud800', 'a\nb', 'Path', '', 'fps', 'seconds', 'k' * 1000,
)  # fmt: skip
KINDS = 'jsonl', 'csv', 'tsv', 'parquet', 'beside'


def write_case(folder, case: int):
    """Writes a list, or files beside videos, into a folder that has a.mp4 and b.mp4; returns what --source is then."""
    rng = random.Random(case)
    kind = KINDS[case % len(KINDS)]
    if kind == 'beside':
        (folder / 'a.json').write_bytes(_beside(rng))
        texts = b'', b'x\n\0', b'\xff', '\u2028a\nb'.encode(), b'a' * 2**20, b'\n' * 1000
        (folder / 'a.txt').write_bytes(rng.choice(texts))
        return folder
    path = folder / f'list.{kind}'
    write = {'jsonl': _jsonl, 'csv': _csv, 'tsv': _csv, 'parquet': _parquet}[kind]
    content = bytearray(write(rng, [_row(rng) for _ in range(rng.randrange(1, 6))]))
    if rng.random() < 0.3:
        for _ in range(rng.randrange(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)
    return path


def _row(rng):
    row = {}
    if rng.random() < 0.85:
        row['path'] = 'a.mp4' if rng.random() < 0.4 else rng.choice(VALUES)
    for _ in range(rng.randrange(4)):
        row[rng.choice(KEYS)] = rng.choice(VALUES)
    return row


def _bytes(text):
    return text.encode('utf-8', 'surrogatepass')


def _jsonl(rng, rows):
    lines = []
    for row in rows:
        lines.append(_bytes(json.dumps(row, ensure_ascii=rng.random() < 0.5)))
        if rng.random() < 0.2:
            deep = rng.choice(DEEP)
            close = rng.choice([0, deep])
            lines.append(b'{"path": "a.mp4", "captions": ' + b'[' * deep + b'"x"' + b']' * close + b'}')
    return b'\n'.join(lines)


def _csv(rng, rows):
    names = list(dict.fromkeys(name for row in rows for name in row)) or ['path']
    file = io.StringIO()
    writer = csv.writer(file, delimiter=rng.choice(',\t;'))
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in names])
    return _bytes(file.getvalue())


def _cell(value):
    if value is None:
        return ''
    if isinstance(value, list | dict):
        return json.dumps(value)
    return f'{10**400:d}'[:400] if value == 10**400 else str(value)


def _parquet(rng, rows):
    names = list(dict.fromkeys(name for row in rows for name in row if '\ud800' not in name)) or ['path']
    columns = {name: _column(rng, [row.get(name) for row in rows]) for name in names}
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def _column(rng, values):
    chance = rng.random()
    if chance < 0.2:
        broken = [rng.choice([b'a.mp4', b'\xff\xfe', b'']) for _ in values]
        return pyarrow.array(broken, pyarrow.binary()).view(pyarrow.string())
    if chance < 0.25:
        return pyarrow.array([rng.choice([datetime.datetime(1, 1, 1), None]) for _ in values])
    if chance < 0.3:
        return pyarrow.array([decimal.Decimal('1.5')] * len(values))
    if chance < 0.35:  # days of no calendar
        return pyarrow.array([2**31 - 1] * len(values), pyarrow.int32()).view(pyarrow.date32())
    try:
        column = pyarrow.array(values)
        parquet.write_table(pyarrow.table({'any': column}), io.BytesIO())  # not every type can be written
        return column
    except (pyarrow.ArrowException, OverflowError, UnicodeError):
        texts = [_bytes(_cell(value)) for value in values]
        return pyarrow.array(texts, pyarrow.binary()).view(pyarrow.string())


def _beside(rng):
    deep = rng.choice(DEEP)
    row = {rng.choice(KEYS): rng.choice(VALUES) for _ in range(3)}
    return rng.choice(
        [
            _bytes(json.dumps(row)),
            b'[' * deep + b']' * deep,
            b'{"captions": ' + b'[' * deep + b'"a"' + b']' * deep + b'}',
            b'\xff',
            b'\xef\xbb\xbf{}',
            b'"a"',
            b'1' * 5000,
            b'',
        ]
    )
