"""Weights & Biases as a logger: what is sent to it, and that neither its errors nor its hangs reach the run.

A stand-in of the package proves the calls; the package itself is tried offline where it is installed.
"""

import importlib.util
import json
import sys
import textwrap
import time

import pytest
from etils import epath

from tests.train.fake_store import FakeStore
from vdm_jax.errors import UserError
from vdm_jax.train.loggers import weights_biases
from vdm_jax.train.loggers.weights_biases import Outbox, WandbConfig, check_installed
from vdm_jax.train.metrics import LogConfig, Metrics

OFFLINE = LogConfig(tensorboard=False, wandb=WandbConfig(mode='offline', project='videos', name='first'))

STAND_IN = '''
    """Note its calls, a line of JSON each; fail in the way that the file `fault` names."""
    import json, os, pathlib, sys, time

    PLACE = pathlib.Path(__file__).parent

    def note(*what):
        with open(PLACE / 'calls', 'a') as file:
            file.write(json.dumps(what) + '\\n')

    def fault(where):
        file = PLACE / 'fault'
        kind, _, what = (file.read_text() if file.exists() else '').partition(' at ')
        if what == where:
            {'raise': broken, 'die': lambda: os._exit(7), 'hang': lambda: time.sleep(60)}[kind]()

    def broken():
        raise RuntimeError('no such account')

    class Video:
        def __init__(self, data, format):
            self.size, self.format = len(data.read()), format

    class Run:
        url = 'https://wandb.example/run'
        step = int((PLACE / 'step').read_text()) if (PLACE / 'step').exists() else 0

        def log(self, values, step):
            fault('log')
            plain = {k: [v.size, v.format] if isinstance(v, Video) else v for k, v in values.items()}
            note('log', step, plain)

        def finish(self, exit_code):
            fault('finish')
            note('finish', exit_code)

    def init(**how):
        print('a package that talks')
        fault('init')
        note('init', how, os.environ.get('WANDB_CONSOLE'), 'jax' in sys.modules)
        return Run()
'''


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """The folder of a package `wandb` that takes its place, with its notes in `calls`."""
    place = tmp_path / 'packages'
    place.mkdir()
    (place / 'wandb.py').write_text(textwrap.dedent(STAND_IN))
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(weights_biases, 'FIRST_PAUSE', 0.05)
    return place


def calls(place):
    file = place / 'calls'
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def wait_for(condition, seconds=30.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, 'it never came'
        time.sleep(0.01)


def test_every_number_and_clip_arrives_and_a_resumed_run_continues_its_logs(stand_in, tmp_path, capsys):
    messages = []
    place = tmp_path / 'run'
    for start in (0, 2):
        metrics = Metrics(place, start, OFFLINE, {'seed': 0}, messages.append)
        metrics.scalars(start + 1, {'loss': 0.5, 'norm': float('nan'), 'data/broken': ['a.mp4']})
        metrics.clip(start + 1, 'samples', b'GIF89a', (1, 1))
        metrics.close()
        (stand_in / 'step').write_text('4')  # what W&B has had by now; it takes nothing before that
    first, *logged, finish, again, last = calls(stand_in)
    name, how, console, has_jax = first
    assert (name, console, has_jax) == ('init', 'off', False)
    assert how['dir'] == str(place / 'wandb') and how['resume'] == 'allow' and how['config'] == {'seed': 0}
    assert (how['mode'], how['project'], how['entity'], how['name']) == ('offline', 'videos', None, 'first')
    assert str(logged) == "[['log', 1, {'loss': 0.5, 'norm': nan}], ['log', 1, {'samples': [6, 'gif']}]]"
    assert finish == last == ['finish', 0]
    assert again[1]['id'] == how['id'] == json.loads((place / 'wandb' / 'run.json').read_text())['id']
    wait_for(lambda: len(messages) == 2)  # a thread prints the output of the process
    assert all('wandb sync' in line for line in messages)
    assert capsys.readouterr().out == ''


def test_a_failed_run_is_reported_as_failed(stand_in, tmp_path):
    metrics = Metrics(tmp_path / 'run', 0, OFFLINE, {}, lambda line: None)
    with pytest.raises(KeyError):
        try:
            raise KeyError
        finally:
            metrics.close()
    assert calls(stand_in)[-1] == ['finish', 1]


@pytest.mark.parametrize('fault', ['raise at init', 'die at init', 'die at log'])
def test_a_process_that_ends_is_reported_once_and_restarted(fault, stand_in, tmp_path):
    (stand_in / 'fault').write_text(fault)
    messages = []
    metrics = Metrics(tmp_path / 'run', 0, OFFLINE, {}, messages.append)
    metrics.scalars(1, {'loss': 0.5})
    wait_for(lambda: any('goes on without' in line for line in messages))
    (stand_in / 'fault').unlink()

    def arrives():
        metrics.scalars(2, {'loss': 0.25})
        return ['log', 2, {'loss': 0.25}] in calls(stand_in)

    wait_for(arrives)
    metrics.close()
    wrong = [line for line in messages if 'goes on without' in line]
    assert len(wrong) == 1 and ('no such account' if 'raise' in fault else 'ended with') in wrong[0], messages
    assert calls(stand_in)[-1] == ['finish', 0] and 'W&B: works again' in messages


def test_a_mistake_of_one_call_ends_neither_the_run_nor_the_process(stand_in, tmp_path):
    (stand_in / 'fault').write_text('raise at log')
    messages = []
    metrics = Metrics(tmp_path / 'run', 0, OFFLINE, {}, messages.append)
    for step in (1, 2):
        metrics.scalars(step, {'loss': 0.5})
    wait_for(lambda: any('no such account' in line for line in messages))
    (stand_in / 'fault').unlink()
    metrics.scalars(3, {'loss': 0.5})
    metrics.close()
    assert [call[0] for call in calls(stand_in)] == ['init', 'log', 'finish']
    assert sum('no such account' in line for line in messages) == 1


@pytest.mark.parametrize('where', ['init', 'log', 'finish'])
def test_a_process_that_hangs_holds_up_nothing(where, stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr(weights_biases, 'ROOM', 10_000)
    monkeypatch.setattr(weights_biases, 'CLOSE_SECONDS', 0.2)
    (stand_in / 'fault').write_text(f'hang at {where}')
    messages = []
    metrics = Metrics(tmp_path / 'run', 0, OFFLINE, {}, messages.append)
    logger = metrics._loggers[-1]._logger
    began = time.monotonic()
    for step in range(1, 500):
        metrics.clip(step, 'samples', b'0' * 1000, (1, 1))
    metrics.close()
    assert time.monotonic() - began < 10
    if where != 'finish':
        assert any('what it does not take is left out' in line for line in messages)
    if process := logger._process:
        process.kill()
        process.wait()


def test_a_package_that_is_missing_is_one_line_at_the_start(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"wandb is not installed; pip install 'vdm_jax\[wandb\]'"):
        check_installed(OFFLINE.wandb)
    check_installed(WandbConfig())
    monkeypatch.undo()
    (tmp_path / 'wandb').mkdir()  # W&B makes such folders: they are no package
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    monkeypatch.delitem(sys.modules, 'wandb', raising=False)
    with pytest.raises(UserError, match='not installed'):
        check_installed(OFFLINE.wandb)


def test_nothing_of_it_is_imported_or_started_by_default(stand_in, tmp_path):
    Metrics(tmp_path / 'run', 0).close()
    assert not calls(stand_in) and 'wandb' not in sys.modules and not (tmp_path / 'run' / 'wandb').exists()


@pytest.mark.parametrize('content', ['', '{"id": "../../x"}', '{"id": 3}', '[]', '{"id": "' + 'a' * 5000 + '"}'])
def test_an_invalid_id_starts_a_new_run(content, stand_in, tmp_path):
    place = tmp_path / 'run' / 'wandb' / 'run.json'
    messages = []
    place.parent.mkdir(parents=True)
    place.write_text(content)
    Metrics(tmp_path / 'run', 0, OFFLINE, {}, messages.append).close()
    run_id = json.loads(place.read_text())['id']
    assert calls(stand_in)[0][1]['id'] == run_id and len(run_id) == 16 and 'a new' in messages[0]


def test_a_store_gets_what_lies_in_the_run_directory(stand_in):
    place = epath.Path('fake://bucket/wandb_run')
    Metrics(place, 0, OFFLINE, {}, lambda line: None).close()
    assert json.loads(FakeStore.objects[f'{place}/wandb/run.json'])['id'] == calls(stand_in)[0][1]['id']


@pytest.mark.parametrize('key', ['project', 'name', 'entity'])
@pytest.mark.parametrize('value', ['', 'a\nb', 'x' * 129, '\0'])
def test_names_that_cannot_be_are_refused(key, value):
    with pytest.raises(UserError, match=f'config.log.wandb.{key}='):
        WandbConfig(**{key: value})
    with pytest.raises(UserError, match='may hold none of'):
        WandbConfig(project='a/b')


def test_an_outbox_keeps_its_order_and_its_bound():
    outbox = Outbox(10)
    assert outbox.put(b'12345') and outbox.put(b'67890') and not outbox.put(b'1')
    assert outbox.next() == b'12345'
    outbox.done()
    assert outbox.put(b'1') and outbox.next() == b'67890'
    outbox.close({'kind': 'finish'})
    assert not outbox.put(b'2') and outbox.wait_for_close(60)
    for expected in (b'67890', b'1', b'{"kind": "finish"}\n'):
        assert outbox.next() == expected
        outbox.done()
    assert outbox.next() is None


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('wandb') is None, reason="pip install 'vdm_jax[wandb]'")
def test_the_package_itself_offline(tmp_path):
    messages = []
    place = tmp_path / 'run'
    for start in (0, 2):
        metrics = Metrics(place, start, OFFLINE, {'seed': 0, 'deep': {'a': [1, 2]}}, messages.append)
        metrics.scalars(start + 1, {'loss': 0.5, 'norm': float('nan')})
        metrics.clip(start + 1, 'samples', b'GIF89a' + b'\0' * 100, (1, 1))
        metrics.close()
    files = [path for path in (place / 'wandb').rglob('run-*.wandb') if not path.is_symlink()]
    name = json.loads((place / 'wandb' / 'run.json').read_text())['id']
    assert {path.name for path in files} == {f'run-{name}.wandb'}
    assert all(path.stat().st_size > 200 for path in files)
    assert all('wandb sync' in line for line in messages) and len(messages) == 2
