"""The table of docs/baselines.md: rows by source, empty where nothing was measured, one of everything compared."""

import json
import pathlib
import re

import pytest

from tests.parity import features_cases, image_vae_cases, lpips_cases, networks, samplers, table
from vdm_jax.codecs import lpips
from vdm_jax.planning import docs_tables

PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'baselines.md'
ROWS = [
    {'source': 'sit', 'configuration': 'S/2', 'forward': 1.26e-6, 'gradient': None},
    {'source': 'dit', 'configuration': 'S/2', 'forward': 3e-6, 'gradient': 1e-5, 'sampler': 0.0},
]
EXPECTED_TABLE = """\
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
    lines = table.table(table.read(tmp_path / 'out'))
    assert lines == EXPECTED_TABLE.splitlines() and table.sources(lines) == {'dit', 'sit'}


def test_rows_that_were_not_compared_are_named_and_the_page_stays(tmp_path, monkeypatch, capsys):
    page = tmp_path / 'page.md'
    page.write_text(f'# Title\n\n{table.BEGIN}\n\n{EXPECTED_TABLE}\n\n{table.END}\n\nrest\n')
    monkeypatch.setattr(table, 'versions', lambda: 'Measured here.')
    (tmp_path / 'out').mkdir()
    monkeypatch.setattr('sys.argv', ['table', str(tmp_path / 'out'), f'--out={page}'])
    with pytest.raises(SystemExit, match='holds no rows'):
        table.main()
    assert 'sit' in page.read_text()
    (tmp_path / 'out' / 'networks.json').write_text(json.dumps(ROWS[1:]))
    table.main()
    assert 'not compared this time, and out of the table: sit' in capsys.readouterr().err
    remaining_rows = '\n'.join(EXPECTED_TABLE.splitlines()[:-1])
    expected = f'{table.BEGIN}\n\n{remaining_rows}\n\nMeasured here.\n\n{table.END}'
    assert page.read_text() == f'# Title\n\n{expected}\n\nrest\n'


COMPARED = {  # beginnings of rows, each up to the end of a cell or of a name
    'networks': [f'| {case.source} | {case.name}, on ' for case in networks.CASES],
    'image VAEs': [f'| sd_vae | {name} |' for name in image_vae_cases.CASES],
    'LPIPS': [
        *(f'| lpips | {lpips_cases.configuration(widths)} |' for widths in (lpips_cases.NARROW, lpips.VGG16.widths)),
        *(
            f'| lpips | {lpips_cases.configuration(widths, "alex")} |'
            for widths in (lpips_cases.NARROW, lpips.ALEXNET.widths)
        ),
        *(f'| lpips | {name}, package 0.1.4 on real frames |' for name in ('lpips', 'lpips_alex')),
    ],
    'networks of features': [
        f'| {source} | {features_cases.configuration(network)} |'
        for source, cases in features_cases.CASES.items()
        for network, _ in cases
    ],
    'samplers': [f'| diffusers | {name} |' for name in sorted({case.configuration for case in samplers.CASES})],
}


@pytest.mark.parametrize('what', COMPARED)
def test_the_docs_have_a_row_of_all_that_is_compared(what):
    version = re.compile(r'(?<=^\| diffusers) [^ |]+')
    lines = [version.sub('', line) for line in docs_tables.between(PAGE, table.BEGIN, table.END)]
    assert not [start for start in COMPARED[what] if not any(line.startswith(start) for line in lines)]
