"""The package away from its checkout: what a wheel holds, and what is found by name from anywhere."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests import one_device
from vdm_jax import cli, files, media
from vdm_jax.config import packaged
from vdm_jax.config.experiment_file import load_experiment
from vdm_jax.data.video import store
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.planning import plan

ROOT = Path(__file__).parents[1]
SOURCES = ('vdm_jax', 'data_pipelines', 'experiments', 'setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE')
SMALL = [
    f'--config.{item}'
    for item in (
        'model.width=48', 'model.heads=4', 'model.depth=2', 'train.batch_size=8', 'train.steps=2', 'sampler.steps=2',
    )
]  # fmt: skip


@pytest.fixture(scope='session')
def wheel(tmp_path_factory):
    """A wheel of the checkout, built without network, of a copy that it leaves nothing behind in."""
    place = tmp_path_factory.mktemp('wheel')
    source = place / 'source'
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns('__pycache__')
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    program = f'from setuptools import build_meta; build_meta.build_wheel({str(place)!r})'
    built = subprocess.run([sys.executable, '-c', program], cwd=source, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (file,) = place.glob('*.whl')
    return file


def test_the_wheel_holds_every_experiment_and_every_module(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())

    def list_files(folder):
        return [path for path in (ROOT / folder).rglob('*') if '__pycache__' not in path.parts]

    for file in list_files('experiments'):
        assert f'vdm_jax/{file.relative_to(ROOT)}' in names
    for room in ('vdm_jax', 'data_pipelines'):
        for file in list_files(room):
            is_needed = file.suffix in ('.py', '.html', '.css', '.js')
            assert not is_needed or str(file.relative_to(ROOT)) in names
    assert {name.split('/')[0].partition('-')[0] for name in names} == {'vdm_jax', 'data_pipelines'}


@pytest.mark.slow
def test_an_installed_package_trains_samples_and_lists_its_experiments(wheel, tmp_path):
    """In an environment with the requirements of the package and without the checkout, from an empty folder."""
    target = tmp_path / 'installed'
    place = tmp_path / 'elsewhere'
    place.mkdir()
    zipfile.ZipFile(wheel).extractall(target)
    # What is installed beside it is seen without what .pth files add, such as an editable checkout.
    seen = os.pathsep.join([str(target), sysconfig.get_paths()['purelib']])
    environment = one_device.environment(tmp_path / 'cache') | {'PYTHONPATH': seen, 'PYTHONNOUSERSITE': '1'}

    def run(module, *argv):
        command = [sys.executable, '-S', '-m', module, *argv]
        return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)

    def run_and_read(module, *argv):
        done = run(module, *argv)
        assert done.returncode == 0, (argv, done.stderr)
        return done.stdout

    where = 'import vdm_jax.config.packaged as p; print(p.FOLDER)'
    process = subprocess.run(
        [sys.executable, '-S', '-c', where], cwd=place, env=environment, capture_output=True, text=True
    )
    assert process.stdout.strip() == str(target / 'vdm_jax' / 'experiments'), process.stderr
    run_and_read('vdm_jax', 'train', '--config=bouncing_balls', *SMALL, '--workdir=run')
    assert (place / 'run' / 'checkpoints' / '2').is_dir()
    run_and_read('vdm_jax', 'sample', '--workdir=run', '--num=1')
    assert list((place / 'run' / 'samples').glob('*.gif'))
    weights = '--weights=experiments/bouncing_balls.safetensors'
    run_and_read('vdm_jax', 'sample', weights, '--num=1', '--out=s', '--steps=2')
    assert 'latte.py' in run_and_read('vdm_jax', 'baselines')
    config = '--config=experiments/latte.py:dataset=ucf101,size=S'
    assert json.loads(run_and_read('vdm_jax', 'inspect', config, '--json'))
    plan = run_and_read('vdm_jax', 'plan', '--config=bouncing_balls:steps=3', '--topology=cpu:1', '--json', *SMALL)
    assert json.loads(plan)
    assert 'build' in run('data_pipelines', '--help').stdout
    assert run('vdm_jax', 'train', '--config=lattte', '--workdir=other').returncode == 2


@pytest.mark.parametrize(
    'spec',
    [
        'bouncing_balls', 'bouncing_balls.py', 'experiments/bouncing_balls.py', './experiments/bouncing_balls.py',
        'experiments/bouncing_balls', str(ROOT / 'experiments' / 'bouncing_balls.py'),
    ],
)  # fmt: skip
@pytest.mark.parametrize('arg', ['', ':world=pan,steps=7'])
def test_experiments_are_found_by_name_from_anywhere(spec, arg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = read_experiment(spec + arg)
    assert experiment.train.steps == (7 if arg else 1200)
    assert plan.read_target(spec + arg) == ('cpu:1', [])


@pytest.mark.parametrize('name', ['experiments/latte.py', 'latte.py', 'experiments/own.py', 'a:b/latte.py'])
def test_a_local_file_of_the_name_comes_first(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text('def get_config(arg):\n    return {"here": {"arg": arg}}\n')
    for spec, arg in ((name, None), (f'{name}:x=1', 'x=1')):
        assert load_experiment(spec) == {'here': {'arg': arg}}


@pytest.mark.parametrize(
    'spec, pattern',
    [
        ('lattte', "did you mean 'latte'. the experiments of this package are bair, bouncing_balls, "),
        ('experiments/late.py:size=S', "did you mean 'latte'. "),
        ('mine', "did you mean 'mine.py'. "),
        ('/nowhere/latte.py', f"did you mean 'latte'. the experiments .* bair, .*, in {packaged.FOLDER}/"),
        ('elsewhere/latte.py', "no file elsewhere/latte.py; did you mean 'latte'. "),
        ('a' * 5000, 'no file a'),
        ('', 'no file ;'),
        (':size=S', 'no file ;'),
        ('..', 'is no Python file'),
        ('__init__', 'no file __init__'),
        ('gs://bucket/latte.py', 'no file gs://bucket/latte.py'),
    ],
    ids=lambda value: value[:30],
)
def test_an_unknown_experiment_is_one_line_with_the_known_names(spec, pattern, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.py').write_text('')
    with pytest.raises(UserError, match=f'--config=.*{pattern}') as raised:
        packaged.find_experiment(spec)
    assert '\n' not in str(raised.value)


def test_weights_of_the_package_are_found_by_name_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = str(packaged.FOLDER / 'bouncing_balls.safetensors')
    for name in ('experiments/bouncing_balls.safetensors', 'bouncing_balls.safetensors', 'bouncing_balls'):
        assert packaged.find_weights(name) == ours
    assert packaged.find_weights('other/bouncing_balls.safetensors') == 'other/bouncing_balls.safetensors'
    (tmp_path / 'bouncing_balls.safetensors').write_bytes(b'')
    assert packaged.find_weights('bouncing_balls.safetensors') == 'bouncing_balls.safetensors'


NOWHERE = {'HOME': '/proc/none', 'XDG_CACHE_HOME': None}
HOMES = {
    'none': ({'HOME': None, 'XDG_CACHE_HOME': None}, None),
    'empty': ({'HOME': '', 'XDG_CACHE_HOME': ''}, None),
    'relative': ({'HOME': 'home', 'XDG_CACHE_HOME': None}, None),
    'a relative cache': ({'HOME': '/home/me', 'XDG_CACHE_HOME': 'cache'}, '/home/me/.cache/vdm_jax'),
    'root': ({'HOME': '/', 'XDG_CACHE_HOME': None}, '/.cache/vdm_jax'),
    'not there': (NOWHERE, '/proc/none/.cache/vdm_jax'),
    'a cache of its own': ({'HOME': None, 'XDG_CACHE_HOME': '/cache'}, '/cache/vdm_jax'),
}


@pytest.fixture
def nameless(monkeypatch):
    """A user whom the system does not know, as a container's often is."""

    def unknown(uid):
        raise KeyError(f'getpwuid(): uid not found: {uid}')

    monkeypatch.setattr('pwd.getpwuid', unknown)

    def live(variables):
        for name, value in variables.items():
            monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)

    return live


@pytest.mark.parametrize('home', HOMES)
def test_caches_are_where_the_user_has_a_home_and_nowhere_else(home, nameless):
    variables, place = HOMES[home]
    nameless(variables)
    assert files.user_cache() == place


def test_the_home_of_the_password_database_is_used(monkeypatch):
    import pwd

    monkeypatch.delenv('HOME')
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    assert files.user_cache() == f'{pwd.getpwuid(os.getuid()).pw_dir}/.cache/vdm_jax'


@pytest.mark.parametrize('home', ['none', 'empty', 'not there'])
def test_indexes_of_videos_are_made_anew_where_nothing_can_be_kept(home, nameless, monkeypatch, tmp_path):
    from vdm_jax.data.video import decode

    monkeypatch.setattr(store, 'folder', FOLDER_OF_INDEXES)
    nameless(HOMES[home][0])
    monkeypatch.chdir(tmp_path)
    media.write_mp4('clip.mp4', np.zeros((3, 16, 16, 3), np.uint8))
    assert [decode.probe('clip.mp4').frames for _ in range(2)] == [3, 3]
    assert store.load('clip.mp4') is None
    assert [path.name for path in tmp_path.iterdir()] == ['clip.mp4']


FOLDER_OF_INDEXES = store.folder  # which conftest replaces for every test


@pytest.mark.parametrize('home', ['none', 'not there'])
@pytest.mark.parametrize('cache', [None, 'given'])
def test_commands_start_without_a_home(home, cache, nameless, monkeypatch, tmp_path):
    """JAX_COMPILATION_CACHE_DIR, which jax reads into its own setting, is left as it is."""
    import jax

    nameless(HOMES[home][0])
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update('jax_compilation_cache_dir', cache and str(tmp_path / cache))
        cli.configure_jax()
        place = '/proc/none/.cache/vdm_jax/xla' if home == 'not there' else None
        assert jax.config.jax_compilation_cache_dir == (str(tmp_path / cache) if cache else place)
    finally:
        jax.config.update('jax_compilation_cache_dir', before)


NAMELESS = """
import pwd, sys
def unknown(uid):
    raise KeyError(f'getpwuid(): uid not found: {uid}')
pwd.getpwuid = unknown
from vdm_jax import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize('home', ['none', 'empty', 'not there'])
def test_a_run_without_a_home_is_trained_and_sampled(home, tmp_path):
    environment = one_device.environment(tmp_path) | {'PYTHONPATH': str(ROOT)}
    for name in ('LOGNAME', 'USER', 'LNAME', 'USERNAME', 'XDG_CACHE_HOME', 'HOME'):
        environment.pop(name, None)
    environment |= {name: value for name, value in HOMES[home][0].items() if value is not None}
    for argv in (['train', '--config=bouncing_balls', *SMALL], ['sample', '--num=1']):
        command = [sys.executable, '-c', NAMELESS, *argv, f'--workdir={tmp_path}/run']
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and 'Traceback' not in done.stderr, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ['run']
