"""The page: self-contained, small, and as good as what a run directory holds."""

import html.parser
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.report.small_runs import CONFIG, line_of, make_score, make_videos, write_metrics, write_run, write_samples
from vdm_jax import cli
from vdm_jax.errors import UserError
from vdm_jax.report import plots
from vdm_jax.report.charts import chart_frames, chart_runs
from vdm_jax.report.page import SAMPLE_BYTES, SETTINGS_LENGTH, make_page, name_runs, write_report
from vdm_jax.report.run import read_run
from vdm_jax.report.scores import ScoreFile, group_scores
from vdm_jax.report.tables import (
    compare_configs,
    format_command,
    format_number,
    list_environment,
    read_overrides,
    summarize_run,
)
from vdm_jax.train.best_metric import METADATA, make_metadata

ROOT = Path(__file__).parents[2]
EVIL = '</script><script>alert(1)</script><img src=x onerror=alert(2)>"\'&'
LOADING = {
    'script': 'src',
    'img': 'src',
    'iframe': 'src',
    'source': 'src',
    'video': 'src',
    'object': 'data',
    'link': 'href',
}


class Reader(html.parser.HTMLParser):
    """Collects the text of a page, its elements, and the addresses that it loads."""

    def __init__(self):
        super().__init__()
        self.loads = []
        self.tags = []
        self.words = []
        self._raw = None

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        address = dict(attributes).get(LOADING.get(tag))
        if address is not None:
            self.loads.append(address)
        self._raw = tag if tag in ('script', 'style') else None

    def handle_endtag(self, tag):
        self._raw = None

    def handle_data(self, text):
        if not self._raw:
            self.words.append(text)


def read_page(page):
    reader = Reader()
    reader.feed(page)
    reader.text = ' '.join(' '.join(reader.words).split())
    return reader


def page_of(*directories, defaults=None):
    names = name_runs([str(directory) for directory in directories])
    runs = [read_run(str(directory), name, 10**6) for directory, name in zip(directories, names, strict=True)]
    return make_page(runs, defaults)


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="page-data">(.*?)</script>', page, re.DOTALL)[1])


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    scores = [make_score(step=20), make_score(step=40)]
    return page_of(write_run(tmp_path_factory.mktemp('full') / 'run', scores=scores))


def test_checkpoints_have_the_metric_that_the_best_is_chosen_by(tmp_path):
    config = CONFIG | {'checkpoint': {'best': 'evaluate/kept:max'}}
    write_run(tmp_path, config=config, samples=())
    for step, value in ((20, 0.9), (40, 0.7)):
        (tmp_path / 'checkpoints' / str(step) / 'params').mkdir(parents=True)
        (tmp_path / 'checkpoints' / str(step) / 'params' / 'array').write_bytes(b'1')
        metadata = {'custom_metadata': make_metadata({'evaluate/kept': value, 'evaluate/other': 1.0})}
        (tmp_path / 'checkpoints' / str(step) / METADATA).write_text(json.dumps(metadata))
    text = read_page(page_of(tmp_path)).text
    assert 'step size files evaluate/kept 40 – unverified 0.7000' in text
    assert '20 best – unverified 0.9000' in text


def survey(directory):
    """Read and tabulate all that a page of a directory needs, without drawing it."""
    run = read_run(str(directory), 'run', 10**6)
    compare_configs([run], [None])
    summarize_run(run)
    list_environment(run)
    format_command(run.environment)
    chart_runs([run])
    return run


def test_a_page_loads_nothing(page):
    assert [address for address in read_page(page).loads if not address.startswith('data:')] == []
    assert "default-src 'none'" in page and 'https:' not in page[: page.index('Content-Security-Policy') + 400]
    assert '@import' not in page and 'url(' not in page.split('</style>')[0]


def test_a_page_has_all_that_a_run_has(page):
    text = read_page(page).text
    for words in (
        'Step 40 of 40, done',
        'Throughput 40.00 videos/s',
        'fvd8_4f',
        '✓ fvd',
        'config.optim.learning_rate',
        'No warnings',
    ):
        assert words in text, words
    assert "$ python -m vdm_jax train --config=balls.py '--workdir=run 1' --config.train.steps=40" in text
    data = data_of(page)
    assert [each['step'] for each in data['samples'][0]['steps']] == [10, 20, 40]
    assert [each['fps'] for each in data['samples'][0]['steps']] == [12.0] * 3
    titles = [chart['title'] for chart in data['plots']['charts']]
    assert titles == [
        'Loss',
        'Norms',
        'Learning rate',
        'Throughput',
        'Waiting for data',
        'Peak memory',
        'fvd',
        'flicker',
    ]


def test_texts_of_files_are_texts_on_the_page(page, tmp_path):
    config = CONFIG | {'data': {'source': EVIL, EVIL: EVIL}}
    lines = [
        {'step': 10, EVIL: 1.5},
        {'step': 20, EVIL: 2.5},
        {'step': 20, 'data/broken': [EVIL]},
        {'step': 20, 'note': EVIL},
    ]
    score = make_score(sampler=EVIL, protocol={EVIL: EVIL}, weights=EVIL)
    score.figures[EVIL] = {EVIL: 1.0}
    directory = write_run(tmp_path / 'run', config=config, lines=lines, scores=[score])
    evil_page = page_of(directory)
    reader = read_page(evil_page)
    assert reader.tags.count('script') == read_page(page).tags.count('script') and 'img' not in reader.tags
    assert reader.text.count(EVIL) >= 8 and EVIL not in evil_page
    labels = [entry['label'] for chart in data_of(evil_page)['plots']['charts'] for entry in chart['legend']]
    assert any('alert(2)' in label for label in labels)


@pytest.mark.slow
def test_names_that_are_no_unicode_are_written_out(tmp_path):
    directory = write_run(tmp_path / 'run', lines=[{'step': 10, 'data/broken': ['\ud800.mp4']}])
    write_report([str(directory)], str(tmp_path / 'page.html'))
    assert '\\ud800.mp4' in (tmp_path / 'page.html').read_text()


def remarks_of(directory):
    return {(remark.level, remark.text) for remark in read_run(str(directory), 'run', 10**6).warnings}


def test_what_is_wrong_is_said(tmp_path):
    lines = [
        line_of(50, loss=None, not_finite={'loss': 'nan'}, skipped_updates=2, **{'data/replaced_clips': 3}),
        {'step': 50, 'data/broken': ['a.mp4: cut off']},
        {'step': 50, 'resumed': 'now'},
        {'step': 50, 'samples_not_finite': [1]},
    ]
    directory = write_run(tmp_path / 'run', lines=lines)
    (directory / 'config.json').write_text((directory / 'config.json').read_text().replace('0.001', '0.01'))
    (directory / 'environment.json').write_text('{')
    (directory / 'samples' / 'step_000010.png').write_bytes(b'x')
    (directory / 'checkpoints' / '40').mkdir(parents=True)
    with (directory / 'metrics.jsonl').open('a') as file:
        file.write('broken\n{"step"')
    remarks = remarks_of(directory)
    assert {level for level, _ in remarks} == {'error', 'warning', 'note'}
    expected = (
        '1 logged number not finite, the first at step 50: loss is nan', '2 updates left out', 'replaced clips: 3',
        '1 file named as broken', 'went on once, from step 50', '1 sample of step 50 not finite',
        'config.json is damaged', 'environment.json is not JSON', 'step_000010.png: cannot be read',
        'Checkpoint 40 is damaged', '1 line of metrics', 'has no end',
    )  # fmt: skip
    for words in expected:
        assert any(words in text for _, text in remarks), words


@pytest.mark.parametrize(
    'content', ['[]', '5', '{}', 'null', '{"data": 5, "train": [1], "checkpoint": {"best": 7}}', '[' * 10**5]
)
def test_a_config_of_any_shape_is_survived(tmp_path, content):
    directory = write_run(tmp_path / 'run')
    for name in ('config.json', 'environment.json'):
        (directory / name).write_text(content)
    survey(directory)


@pytest.mark.parametrize('value', ['-5', '0', '1e308', '-1e308', '1e400', 'NaN', 'null', '9' * 400])
def test_numbers_of_any_size_are_survived(tmp_path, value):
    directory = write_run(tmp_path / 'run', samples=())
    names = ('loss', 'seconds', 'memory_peak', 'skipped_updates', 'waited_for_data', 'data/broken_videos')
    line = ', '.join(f'"{name}": {value}' for name in names)
    (directory / 'metrics.jsonl').write_text(f'{{"step": 1, {line}}}\n')
    curve = {'frames': [0, 1], 'mean': [1, 2], 'error': [1, 1], 'slope': json.loads(value)}
    score = make_score(curves={'samples': {'flicker': curve}}, floor={'fvd': json.loads(value)})
    with np.errstate(over='ignore'):
        run = survey(directory)
        chart_frames(group_scores([ScoreFile('run', 'x.json', score)]), ['run'])
    texts = [remark.text for remark in run.warnings]
    assert not [text for text in texts if text.startswith('-') or 'inf ' in text]


def test_counters_are_those_of_the_last_line_that_has_them(tmp_path):
    directory = write_run(tmp_path / 'run', samples=())
    lines = [{'step': step, 'skipped_updates': count, 'data/short': 2 * count} for step, count in ((1, 1), (2, 3))]
    write_metrics(directory, lines)
    texts = [text for _, text in remarks_of(directory)]
    assert '3 updates left out: not finite.' in texts and 'short: 6 so far.' in texts


def test_parts_that_are_something_else_are_survived(tmp_path):
    directory = tmp_path / 'run'
    (directory / 'metrics.jsonl').mkdir(parents=True)
    (directory / 'config.json').mkdir()
    (directory / 'samples').write_text('a file')
    (directory / 'evals').write_text('a file')
    (directory / 'checkpoints').write_text('a file')
    survey(directory)
    (tmp_path / 'pipe').mkdir()
    os.mkfifo(tmp_path / 'pipe' / 'metrics.jsonl')
    assert any('not a regular file' in text for _, text in remarks_of(tmp_path / 'pipe'))


@pytest.mark.parametrize('part', ['config.json', 'metrics.jsonl', 'samples', 'evals', 'environment.json'])
def test_a_run_that_has_one_part_alone_has_a_page(tmp_path, part):
    directory = write_run(tmp_path / 'run', scores=[make_score()])
    part_directory = tmp_path / 'alone'
    part_directory.mkdir()
    (directory / part).rename(part_directory / part)
    survey(part_directory)


@pytest.mark.slow
def test_a_run_that_has_not_begun_has_a_page(tmp_path):
    (tmp_path / 'run' / 'samples').mkdir(parents=True)
    assert 'Nothing was logged yet.' in read_page(page_of(tmp_path / 'run')).text


def test_no_run_is_a_mistake_of_one_line(tmp_path, capsys):
    for workdir in (tmp_path, tmp_path / 'none'):
        assert cli.main(['report', f'--workdir={workdir}']) == 2
        stderr = capsys.readouterr().err
        assert 'no run there' in stderr and stderr.count('\n') == 1
    assert not [*tmp_path.iterdir()]


def test_the_command_writes_into_the_run_or_where_it_is_asked_to(tmp_path, capsys):
    directory = write_run(tmp_path / 'run')
    assert cli.main(['report', f'--workdir={directory}']) == 0
    assert capsys.readouterr().out == f'{directory}/report.html\n' and (directory / 'report.html').is_file()
    assert (
        cli.main(['report', f'--workdir={directory}', f'--compare={directory},{directory}', f'--out={tmp_path}/a.html'])
        == 0
    )
    assert len(data_of((tmp_path / 'a.html').read_text())['samples']) == 3
    for options, words in {
        f'--out={directory}/metrics.jsonl': 'is a place of the run',
        f'--compare={directory},': 'names a run by nothing',
        '--config.train.steps=3': 'takes no --config',
        f'--compare={tmp_path}/none': 'no run there',
        f'--out={tmp_path}': 'is a directory',
        '--compare=ftp://x': 'not supported',
    }.items():  # fmt: skip
        assert cli.main(['report', f'--workdir={directory}', options]) == 2
        stderr = capsys.readouterr().err
        assert words in stderr and stderr.count('\n') == 1


def test_without_bokeh_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'bokeh.plotting', None)
    with pytest.raises(UserError, match=r"pip install 'vdm_jax\[report\]'"):
        write_report([str(write_run(tmp_path / 'run'))], str(tmp_path / 'page.html'))


def test_runs_are_told_apart_and_what_differs_is_marked(tmp_path):
    other = CONFIG | {'optim': {'name': 'muon', 'learning_rate': 0.02, 'momentum': 0.9}}
    directories = [write_run(tmp_path / 'a'), write_run(tmp_path / 'b', config=other, steps=30, samples=())]
    page = page_of(*directories)
    runs = [read_run(str(directory), 'x', 10**6) for directory in directories]
    rows = {row.key: row for row in compare_configs(runs, [{}, None])}
    assert {key for key, row in rows.items() if row.differs} == {
        f'config.optim.{key}' for key in ('name', 'learning_rate', 'momentum')
    }
    assert rows['config.optim.momentum'].values == (None, '0.9')
    assert rows['config.train.steps'].marks == ('set', 'set') and rows['config.seed'].marks == ('', '')
    data = data_of(page)
    assert [run['name'] for run in data['samples']] == ['a', 'b']
    assert {entry['run'] for entry in data['plots']['charts'][0]['legend']} == {0, 1}
    assert 'No samples were drawn while it trained.' in read_page(page).text


def test_runs_have_names_of_their_own():
    assert name_runs(['x/a', 'y/b/']) == ['a', 'b'] and name_runs(['x/a', 'y/a']) == ['x/a', 'y/a']
    assert name_runs(['x/a', 'x/a']) == ['x/a (1)', 'x/a (2)'] and name_runs(['.']) == ['.']


@pytest.mark.slow
def test_a_run_in_a_store_has_a_page_there(tmp_path):
    from tests.train.fake_store import FakeStore

    directory = write_run(tmp_path / 'run', scores=[make_score()])
    for path in directory.rglob('*'):
        if path.is_file():
            FakeStore(f'fake://bucket/run/{path.relative_to(directory)}').write_bytes(path.read_bytes())
    write_report(['fake://bucket/run'], 'fake://bucket/run/report.html')
    page = FakeStore('fake://bucket/run/report.html').read_bytes().decode()
    assert 'fvd8_4f' in page and len(data_of(page)['samples'][0]['steps']) == 3


def test_the_page_is_made_without_jax():
    program = 'import sys, vdm_jax.cli, vdm_jax.cli.report, vdm_jax.report.page; assert "jax" not in sys.modules'
    subprocess.run([sys.executable, '-c', program], cwd=ROOT, check=True)


def test_overrides_and_the_command_are_those_of_the_environment():
    environment = {
        'command': ['/x/__main__.py', 'train', '--config.a.b=1', '--config.c=x=y', '--config=z', 5, '--config.d']
    }
    assert read_overrides(environment) == {'config.a.b': '1', 'config.c': 'x=y'}
    assert format_command(environment).startswith('python -m vdm_jax train --config.a.b=1')
    for other in ({}, {'command': 'x'}, {'command': []}, {'command': None}):
        assert read_overrides(other) == {} and format_command(other) == ''


@pytest.mark.parametrize(
    'value, text',
    [(None, '–'), (0, '0'), (0.0, '0'), (1234567, '1,234,567'), (1234.5678, '1,235'), (0.012345, '0.01235'),
     (1e-7, '1.000e-07'), (1e9, '1.000e+09'),
     (float('inf'), 'inf'), (10**400, 'huge'), (-12.3456, '-12.35'), (999999.9, '1,000,000')],
)  # fmt: skip
def test_figures_have_four_digits(value, text):
    assert format_number(value) == text


def test_all_that_a_page_may_hold_is_below_ten_megabytes():
    base64 = 4 / 3
    pictures = base64 * SAMPLE_BYTES
    # Of each point twice, in the line and smoothed, x in 8 bytes and y in 4.
    points = base64 * 2 * 12 * plots.MOST_POINTS
    # JSON with as many quotation marks as settings have.
    settings = 1.7 * SETTINGS_LENGTH
    assert pictures + points + settings + len(plots.read_script()) < 9.7e6


@pytest.mark.slow
def test_a_long_run_with_many_samples_is_below_ten_megabytes(tmp_path):
    """A line of metrics a step, and twenty grids of noise."""
    directory = write_run(tmp_path / 'run', samples=())
    write_metrics(
        directory,
        (line_of(step, validation_loss=1.0, **{f'part/{i}': i / step for i in range(8)}) for step in range(1, 10**5)),
    )
    videos = make_videos(16, 16, 64, 64)
    for step in range(20):
        videos += 37
        write_samples(directory, step, videos)
    write_report([str(directory)], str(tmp_path / 'page.html'))
    assert (tmp_path / 'page.html').stat().st_size < 10**7
