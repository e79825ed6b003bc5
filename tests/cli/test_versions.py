"""The versions that were tested: what is installed by them, what docs say of them, what a user hears of newer ones."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.imports import imports
from vdm_jax import cli
from vdm_jax.cli import versions
from vdm_jax.cli.commands import Command
from vdm_jax.planning import docs_tables

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / '.ci' / 'constraints.txt').read_text()


def load(file):
    """A script of .ci as a module."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


constraints = load(ROOT / '.ci' / 'constraints.py')
PYTHONS = constraints.pythons()
PINS = constraints.read(TEXT, PYTHONS)


def requirements(*extras):
    """The requirements of setup.cfg and of some of its extras."""
    options = constraints.setup_cfg()
    texts = [options['options']['install_requires'], *(options['options.extras_require'][extra] for extra in extras)]
    items = [Requirement(line) for text in texts for line in text.splitlines() if line.strip()]
    return [each for each in items if each.name != 'vdm_jax']


@pytest.mark.parametrize('python', PYTHONS)
def test_requirements_of_setup_cfg_are_pinned_on_every_python(python):
    wanted = [
        *requirements('video', 'dev', 'curate', 'beam'),
        *map(Requirement, constraints.TOOLS),
        Requirement('jaxlib'),
    ]
    assert len(wanted) > 25
    for each in wanted:
        assert each.specifier.contains(PINS[canonicalize_name(each.name)][python]), each


def test_pins_are_versions_of_this_python_only():
    lines = TEXT.splitlines()[1:]
    assert all(re.fullmatch(r'[a-z0-9-]+==[\w.]+ ; [^;/:@]*python_version < "3\.\d+"', line) for line in lines)
    assert constraints.read(TEXT, ['3.10', '3.11'])['jax'].keys() == {'3.10', '3.11'}  # which setup.cfg refuses itself
    assert not any(constraints.read(TEXT, ['3.99']).values())
    assert lines == sorted(lines, key=lambda line: line.partition('==')[0])


def test_pins_are_read_as_they_are_written():
    assert constraints.write(PINS, PYTHONS) == TEXT
    pins = {'b': {'3.11': '1', '3.12': '2', '3.13': '2'}, 'a': {'3.12': '1'}, 'c': {'3.11': '1', '3.13': '1'}}
    text = constraints.write(pins, ['3.11', '3.12', '3.13'])
    assert text.splitlines()[1:] == [
        'a==1 ; python_version >= "3.12" and python_version < "3.13"',
        'b==1 ; python_version < "3.12"',
        'b==2 ; python_version >= "3.12" and python_version < "3.14"',
        'c==1 ; python_version < "3.12"',
        'c==1 ; python_version >= "3.13" and python_version < "3.14"',
    ]
    assert constraints.read(text, ['3.11', '3.12', '3.13']) == pins


def test_a_python_that_is_not_here_keeps_its_lines(monkeypatch, tmp_path):
    for name in ('CONSTRAINTS', 'PAGE', 'TABLE'):
        copy = tmp_path / getattr(constraints, name).name
        copy.write_text(getattr(constraints, name).read_text())
        monkeypatch.setattr(constraints, name, copy)
    newer = {name: on[PYTHONS[-1]] for name, on in PINS.items() if PYTHONS[-1] in on} | {'jax': '99.1'}
    monkeypatch.setattr(constraints, 'resolve', lambda python: newer)
    listing = subprocess.CompletedProcess([], 0, f'3.10 /old\n{PYTHONS[-1]} /new\n')
    monkeypatch.setattr(constraints.subprocess, 'run', lambda *_, **__: listing)
    constraints.main()
    assert constraints.read(constraints.CONSTRAINTS.read_text(), PYTHONS) == PINS | {
        'jax': PINS['jax'] | {PYTHONS[-1]: '99.1'}
    }
    assert '| 99.1 |' in constraints.PAGE.read_text()
    assert load(constraints.TABLE).NEWEST_TESTED == versions.NEWEST_TESTED | {'jax': '99.1'}


def test_docs_and_code_agree_with_the_pins():
    table = docs_tables.between(str(constraints.PAGE), constraints.BEGIN, constraints.END)
    assert table == constraints.docs_table(PINS, PYTHONS)
    assert versions.NEWEST_TESTED == constraints.newest(PINS, PYTHONS)
    assert {each.name for each in requirements('video', 'curate', 'beam')} == versions.NEWEST_TESTED.keys()
    for python in PYTHONS:
        assert all(
            versions._numbers(PINS[canonicalize_name(name)][python]) <= versions._numbers(newest)
            for name, newest in versions.NEWEST_TESTED.items()
        )


def test_imported_packages_are_requirements_of_setup_cfg():
    """So an environment without the tools of development runs everything."""
    modules = {'orbax-checkpoint': 'orbax', 'pillow': 'PIL', 'opencv-python-headless': 'cv2'}
    names = {each.name for each in requirements('video', 'curate', 'beam', 'convert', 'wandb', 'hub', 'report')}
    known = {modules.get(name, name.removesuffix('-headless').replace('-', '_')) for name in names}
    known |= {'vdm_jax', 'data_pipelines', 'experiments', 'scipy', 'ml_dtypes'}  # the last two come with jax
    known |= set(sys.stdlib_module_names)
    files = [file for room in ('vdm_jax', 'data_pipelines', 'experiments') for file in (ROOT / room).rglob('*.py')]
    assert len(files) > 200
    users = {module.partition('.')[0]: file for file in files for module, _ in imports(file)}
    assert {'jax', 'av', 'apache_beam'} <= users.keys()
    assert not {module: file for module, file in users.items() if module not in known}


FAKE = '''
def read(path):
    """As a function of Python."""
    return len(path, 1)

def load(path):
    return None.load

def fine(path):
    raise ValueError(path)

class Reader:
    def seek(self, time):
        pass
'''


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A dependency that is newer than tested, vdm-fake 2.1 with a module fake_reader."""
    (tmp_path / 'fake_reader.py').write_text(FAKE)
    about = tmp_path / 'vdm_fake-2.1.dist-info'
    about.mkdir()
    (about / 'METADATA').write_text('Metadata-Version: 2.1\nName: vdm-fake\nVersion: 2.1\n')
    (about / 'top_level.txt').write_text('fake_reader\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(versions.NEWEST_TESTED, 'vdm_fake', '2.0.5')
    yield importlib.import_module('fake_reader')
    del sys.modules['fake_reader']


def function_of_ours(code, tmp_path, **names):
    """A function `run` of a file of ours, with that body."""
    file = tmp_path / 'owned.py'
    file.write_text('def run():\n' + ''.join(f'    {line}\n' for line in code.splitlines()))
    scope = {'__name__': 'vdm_jax.owned'} | names
    exec(compile(file.read_text(), file, 'exec'), scope)
    return scope['run']


def main_runs(code, tmp_path, monkeypatch, reader):
    """A command that does that; returns its error."""
    run = function_of_ours(code, tmp_path, fake_reader=reader)
    monkeypatch.setitem(cli.COMMANDS, 'baselines', Command(lambda *_: run(), ('--out',)))
    with pytest.raises(Exception) as caught:  # the traceback is Python's own
        cli.main(['baselines'])
    assert any(Path(entry.path) == tmp_path / 'owned.py' for entry in caught.traceback)
    return caught.value


FAILS_INSIDE = {
    'a frame of it': "fake_reader.read('a')",
    'an attribute that it looks for': "fake_reader.load('a')",
    'arguments that it refuses': "fake_reader.fine(\n    'a', strict=True\n)",
    'arguments that a method refuses': 'reader = fake_reader.Reader()\nreader.seek(1, backward=True)',
    'a name that it lacks': 'fake_reader.write',
    'an import that it lacks': 'from fake_reader import write',
    'a module that it lacks': 'import fake_reader.more',
    'a further error': 'try:\n    fake_reader.read(1)\nexcept TypeError as error:\n    raise KeyError(1) from error',
}
FAILS_ELSEWHERE = {
    'a mistake of ours': "fake_reader\nlen('a', 1)",
    'our own name': 'None.name',
    'another kind of error': "fake_reader.fine('a')",
    'a mistake of ours that calls it first': 'fake_reader.Reader()\nint(None)',
}


@pytest.mark.parametrize('code', FAILS_INSIDE.values(), ids=FAILS_INSIDE)
def test_a_newer_dependency_that_fails_is_named_once_before_the_traceback(code, reader, tmp_path, capsys, monkeypatch):
    main_runs(code, tmp_path, monkeypatch, reader)
    printed = capsys.readouterr().err
    assert printed.count('\n') == 1
    assert 'vdm_fake 2.1 (tested up to 2.0.5)' in printed and "pip install 'vdm_fake<=2.0.5'" in printed


@pytest.mark.parametrize('code', FAILS_ELSEWHERE.values(), ids=FAILS_ELSEWHERE)
def test_a_newer_dependency_that_does_not_fail_is_not_named(code, reader, tmp_path, capsys, monkeypatch):
    main_runs(code, tmp_path, monkeypatch, reader)
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize('tested', ['2.1', '2.1.1', '2.10', '10'])
def test_a_dependency_as_old_as_tested_is_not_named(tested, reader, tmp_path, monkeypatch):
    monkeypatch.setitem(versions.NEWEST_TESTED, 'vdm_fake', tested)
    run = function_of_ours("fake_reader.read('a')", tmp_path, fake_reader=reader)
    with pytest.raises(TypeError) as caught:
        run()
    assert versions.newer_dependencies(caught.value) == {}


@pytest.mark.parametrize('name', ['av', 'jax'])
def test_functions_that_are_not_of_python_are_found_out(name, tmp_path, monkeypatch):
    """As av.open, which lost an argument, and a jitted function, which is of our module and jax's class."""
    jax = pytest.importorskip('jax')
    av = pytest.importorskip('av')
    monkeypatch.setitem(versions.NEWEST_TESTED, name, '0.0.1')
    code = {'av': "av.open('a', no_such_argument=1)", 'jax': 'step(1, 2)'}[name]
    step = jax.jit(function_of_ours('pass', tmp_path))
    with pytest.raises(TypeError) as caught:
        function_of_ours(code, tmp_path, av=av, step=step)()
    assert versions.newer_dependencies(caught.value).keys() == {name}


def test_data_pipelines_names_it_before_the_traceback(tmp_path):
    program = (
        'import runpy, sys\n'
        'import av\n'
        'from vdm_jax.cli import versions\n'
        "versions.NEWEST_TESTED['av'] = '0.0.1'\n"
        'def fail(*_): av.no_such_function\n'
        'import data_pipelines.commands.inspect as command\n'
        'command.run = fail\n'
        "sys.argv = ['data_pipelines', 'inspect', '.']\n"
        "runpy.run_module('data_pipelines', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True)
    first, second, *_ = done.stderr.splitlines()
    assert done.returncode == 1 and first.startswith('vdm_jax: newer than tested: av ')
    assert second.startswith('Traceback') and done.stderr.count('newer than tested') == 1
