"""The table of docs/baselines.md: rows by source, empty where nothing was measured, and the page around it kept."""

import json
import pathlib

import pytest

from tests.parity import table

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'baselines.md'
ROWS = [
    {'source': 'sit', 'configuration': 'S/2', 'forward': 1.26e-6, 'gradient': None},
    {'source': 'dit', 'configuration': 'S/2', 'forward': 3e-6, 'gradient': 1e-5, 'sampler': 0.0},
]
MADE = """\
| source | configuration | forward | gradient | sampler |
| --- | --- | --- | --- | --- |
| dit | S/2 | 3e-06 | 1e-05 | 0e+00 |
| sit | S/2 | 1e-06 |  |  |"""


def test_rows_are_written_read_and_sorted_by_source(tmp_path, monkeypatch):
    monkeypatch.delenv('VDM_JAX_PARITY_OUT', raising=False)
    table.write('networks', ROWS)
    monkeypatch.setenv('VDM_JAX_PARITY_OUT', str(tmp_path / 'out'))
    table.write('networks', ROWS[:1])
    table.write('more', ROWS[1:])
    assert len(list((tmp_path / 'out').iterdir())) == 2
    assert table.table(table.read(tmp_path / 'out')) == MADE
    assert table.sources(MADE) == {'dit', 'sit'}


def test_the_page_around_the_table_stays():
    page = f'# Title\n\n{table.BEGIN}\n\nold\n\n{table.END}\n\nrest\n'
    assert table.replace(page, MADE) == page.replace('old', MADE)
    assert table.kept(table.replace(page, MADE)) == MADE
    with pytest.raises(ValueError, match='want one'):
        table.replace('# Title\n', MADE)


def test_what_was_not_compared_is_said(tmp_path, monkeypatch, capsys):
    page = tmp_path / 'page.md'
    page.write_text(f'{table.BEGIN}\n\n{MADE}\n\n{table.END}\n')
    monkeypatch.setattr(table, 'versions', lambda: 'Measured here.')
    (tmp_path / 'out').mkdir()
    monkeypatch.setattr('sys.argv', ['table', str(tmp_path / 'out'), f'--out={page}'])
    with pytest.raises(SystemExit, match='holds no rows'):
        table.main()
    assert 'sit' in page.read_text()
    (tmp_path / 'out' / 'networks.json').write_text(json.dumps(ROWS[1:]))
    table.main()
    assert 'not compared this time, and out of the table: sit' in capsys.readouterr().err
    assert '| sit |' not in page.read_text() and 'Measured here.' in page.read_text()


def test_the_docs_have_a_row_of_every_network_that_is_compared():
    from tests.parity import networks

    made = table.kept(PAGE.read_text())
    for case in networks.CASES:
        assert any(line.startswith(f'| {case.source} | {case.name}, on ') for line in made.splitlines()), case.key
