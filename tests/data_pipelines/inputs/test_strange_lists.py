"""Any row of a list that cannot be read is a row with a reason, whatever is wrong with it; the build goes on."""

import json

import pytest

from data_pipelines.__main__ import main
from data_pipelines.build import part_files
from data_pipelines.inputs import changes
from data_pipelines.inputs.listing import list_inputs
from data_pipelines.inputs.table import write_inputs
from tests.data_pipelines.inputs.strange_lists import write_case
from vdm_jax.data.records.schema import Record, from_bytes, to_bytes
from vdm_jax.data.records.shards import make_row, write_table
from vdm_jax.errors import UserError


def work_on(items, folder):
    """Does with items what a build does with what they say, but for looking at videos."""
    digests = changes.digest_items(items)
    rows = []
    for item in items:
        assert '\n' not in item.problem, item.problem
        rows.append({'input': item.name, 'fate': 'broken', 'reason': item.problem, 'listed': digests[item.name]})
        part_files.part_path('work', item.name)
        if not item.problem:
            fields = {name: getattr(item, name) for name in ('captions', 'label', 'label_name', 'scores', 'source')}
            data = to_bytes(Record(item.name, 1, 2, 2, 1.0, b'v', **fields))
            write_table(folder / 'table', [make_row(from_bytes(data), data, 0, 0)])
    write_inputs(folder / 'table', rows)


def try_cases(folder, cases):
    """Return how many lists were refused completely, and how many had rows with a reason."""
    refused = 0
    reasons = 0
    for case in cases:
        place = folder / str(case)
        place.mkdir()
        for name in 'ab':
            (place / f'{name}.mp4').write_bytes(name.encode())
        source = write_case(place, case)
        try:
            listing = list_inputs(str(source), scores=[None, ['score1']][case % 3 == 0])
            work_on(listing.items, place)
        except UserError as error:
            assert '\n' not in str(error), error
            refused += 1
            continue
        except BaseException as error:
            raise AssertionError(f'case {case}') from error
        json.dumps([dict(listing.ignored), listing.unused], ensure_ascii=False).encode()
        reasons += any(item.problem for item in listing.items)
    return refused, reasons


def test_no_row_of_a_list_stops_a_build(tmp_path):
    refused, reasons = try_cases(tmp_path, range(60))
    assert 0 < refused < 40 and reasons > 10


@pytest.mark.slow
def test_no_row_of_many_lists_stops_a_build(tmp_path):
    refused, reasons = try_cases(tmp_path, range(60, 3060))
    assert refused > 100 and reasons > 1000


ROWS = {
    'a path with half a character': b'{"path": "\\ud800.mp4"}',
    'a path with a NUL': b'{"path": "a\\u0000.mp4"}',
    'captions nested deep': b'{"path": "a.mp4", "captions": ' + b'[' * 900 + b'"x"' + b']' * 900 + b'}',
    'captions nested deeper': b'{"path": "a.mp4", "captions": ' + b'[' * 100_000,
    'a number of thousands of digits': b'{"path": "a.mp4", "label": ' + b'1' * 5000 + b'}',
    'a label out of range': b'{"path": "a.mp4", "label": 1e300}',
    'a time out of range': b'{"path": "a.mp4", "start": 1e300}',
    'no UTF-8': b'{"path": "a.mp4", "caption": "\xff"}',
}


@pytest.mark.parametrize('row', ROWS.values(), ids=ROWS)
def test_a_row_that_cannot_be_read_has_a_reason_and_the_others_are_taken(tmp_path, row):
    for name in 'ab':
        (tmp_path / f'{name}.mp4').write_bytes(name.encode())
    (tmp_path / 'list.jsonl').write_bytes(row + b'\n{"path": "b.mp4", "caption": "b"}\n')
    items = list_inputs(str(tmp_path / 'list.jsonl')).items
    assert sorted(bool(item.problem) for item in items) == [False, True]
    assert next(item for item in items if not item.problem).name == 'b.mp4'
    work_on(items, tmp_path)


def test_a_cell_of_parquet_that_is_no_utf8_costs_only_its_row(tmp_path):
    import pyarrow
    from pyarrow import parquet

    for name in 'ab':
        (tmp_path / f'{name}.mp4').write_bytes(name.encode())
    captions = pyarrow.array([b'fine', b'\xff\xfe'], pyarrow.binary()).view(pyarrow.string())
    parquet.write_table(pyarrow.table({'path': ['a.mp4', 'b.mp4'], 'caption': captions}), tmp_path / 'list.parquet')
    items = list_inputs(str(tmp_path / 'list.parquet')).items
    problems = [item.problem for item in items]
    assert items[0].captions[0].text == 'fine' and not items[0].problem
    assert problems[1] == 'encoding: caption is no UTF-8; save it as UTF-8'


def test_a_list_that_is_a_pipe_is_not_waited_for(tmp_path, capsys):
    import os

    os.mkfifo(tmp_path / 'list.csv')
    pytest.importorskip('av')
    assert main(['build', f'--source={tmp_path}/list.csv', f'--out={tmp_path}/out']) == 2
    assert 'list.csv: is not a regular file' in capsys.readouterr().err
