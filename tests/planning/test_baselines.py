"""The registry: every experiment documents what it is and how far it is proved, and the pages agree."""

import json
from pathlib import Path

import pytest

from vdm_jax import cli, pretrained
from vdm_jax.config import packaged
from vdm_jax.errors import UserError
from vdm_jax.planning import baselines, docs_tables

ROOT = Path(__file__).parents[2]
FILES = baselines.files(ROOT / 'experiments')
EXPERIMENT_FILE = """'''A title.

    python -m vdm_jax train --config=experiments/one.py --workdir=RUN     # a remark
    python -m vdm_jax sample --workdir=RUN

Theirs: what is no field of the registry.

Paper: One (A & B 2024).
Table: 3.
Topology: cpu:1
Hardware: a machine
of two lines.
Expected: FVD of 2,048 videos 1.0.

Status: untested.
'''

raise RuntimeError('a docstring is read without running the file')
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name='one.py'):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_every_experiment_documents_what_it_is_and_how_far_it_is_proved(file):
    entry = baselines.read(file)
    assert '=…' not in baselines.read_docstring(file)  # its commands can be pasted
    assert entry.status in baselines.STATUSES and all((entry.paper, entry.table, entry.hardware, entry.expected))


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_no_experiment_claims_more_than_was_run(file):
    """What was measured has a row among the results, and nothing else has; parity is for official weights that load."""
    status = baselines.read(file).status
    page = (ROOT / 'experiments' / 'README.md').read_text()
    results = page[page.index('# Results') :]
    assert (f'| `{file.name}' in results) == (status in ('measured', 'reproduced'))
    assert (file.stem in pretrained.SOURCES) or not status.endswith('-parity')


@pytest.mark.parametrize('page, begin', [('experiments/README.md', baselines.BEGIN), ('README.md', baselines.BRIEF)])
def test_the_pages_have_the_table_as_it_is_now(page, begin):
    """`python -m vdm_jax baselines --out=PAGE` writes it."""
    want = baselines.markdown([baselines.read(file) for file in FILES], brief=begin == baselines.BRIEF)
    assert docs_tables.between(ROOT / page, begin, baselines.END) == want


def test_the_results_page_explains_each_status():
    page = (ROOT / 'experiments' / 'README.md').read_text()
    assert all(f'| **{name}** | {meaning} |' in page for name, meaning in baselines.STATUSES.items())


def test_fields_are_read_from_a_docstring_and_the_file_is_not_run(write):
    entry = baselines.read(write(EXPERIMENT_FILE))
    assert entry.title == 'A title.' and entry.paper == 'One (A & B 2024)' and entry.table == '3'
    assert entry.hardware == 'a machine of two lines' and entry.expected == 'FVD of 2,048 videos 1.0'
    assert entry.commands == (
        'python -m vdm_jax train --config=experiments/one.py --workdir=RUN',
        'python -m vdm_jax sample --workdir=RUN',
    )
    assert (entry.status, entry.note) == ('untested', '')


@pytest.mark.parametrize(
    ('old', 'new', 'pattern'),
    [
        ('Paper: One (A & B 2024).\n', '', 'lacks Paper'),
        ('Expected: FVD of 2,048 videos 1.0.', 'Expected:', 'lacks Expected'),
        ('experiments/one.py', 'experiments/two.py', 'lacks an indented line'),
        ('untested', 'splendid', 'Status: splendid: want one of reproduced, '),
        ('raise RuntimeError(', 'def', 'line 18, is no Python'),
    ],
)
def test_what_is_missing_is_named_with_its_file(write, old, new, pattern):
    with pytest.raises(UserError, match=f'one.py.*{pattern}'):
        baselines.read(write(EXPERIMENT_FILE.replace(old, new)))


def test_the_command_prints_the_table_and_writes_it_between_its_marks(tmp_path, monkeypatch, capsys):
    (tmp_path / 'experiments').mkdir()
    (tmp_path / 'experiments' / 'one.py').write_text(EXPERIMENT_FILE)
    page = tmp_path / 'page.md'
    page.write_text(f'before\n\n{baselines.BEGIN}\nold\n{baselines.END}\n\nafter\n')
    monkeypatch.chdir(tmp_path)
    assert cli.main(['baselines', '--out=page.md']) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ('one.py', 'untested', 'One (A & B 2024); 3', 'FVD of 2,048 videos 1.0'))
    assert max(map(len, printed.splitlines())) <= 120
    text = page.read_text()
    page.write_text(text.replace(baselines.BEGIN, baselines.BRIEF))
    assert cli.main(['baselines', '--out=page.md']) == 0
    assert '| `one.py` | One (A & B 2024) | untested |' in page.read_text()
    assert text.startswith('before\n\n') and text.endswith('\n\nafter\n') and '\nold\n' not in text
    assert (
        '| `one.py` | One (A & B 2024) | 3 | FVD of 2,048 videos 1.0 | a machine of two lines | **untested** |' in text
    )
    capsys.readouterr()
    assert cli.main(['baselines', '--json']) == 0
    (ours,) = [each for each in json.loads(capsys.readouterr().out) if each['file'] == 'one.py']
    assert ours['topology'] == 'cpu:1'


def test_files_here_stand_beside_the_packages_own_and_before_those_of_their_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [file.name for file in baselines.files()] == [file.name for file in FILES]
    (tmp_path / 'experiments').mkdir()
    for name in ('one.py', 'latte.py'):
        (tmp_path / 'experiments' / name).write_text(EXPERIMENT_FILE)
    (tmp_path / 'experiments' / 'plot.py').write_text('"""Something else."""')
    (tmp_path / 'experiments' / 'broken.py').write_text('def')
    files_by_name = {file.name: file for file in baselines.files()}
    assert sorted(files_by_name) == sorted([*(file.name for file in FILES), 'one.py'])
    assert [name for name, file in files_by_name.items() if file.parts[0] == 'experiments'] == ['latte.py', 'one.py']


def test_a_page_without_marks_and_missing_experiments_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(['baselines', '--out=page.md']) == 2
    assert f'no lines {baselines.BEGIN}' in capsys.readouterr().err
    monkeypatch.setattr(packaged, 'FOLDER', tmp_path / 'gone')
    with pytest.raises(UserError, match='there are no experiments: neither in .*/gone/ nor in experiments/ here'):
        baselines.files()
