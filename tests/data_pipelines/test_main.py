"""Ctrl-C, whenever it comes, is a line and an exit code."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_pipelines import __main__
from data_pipelines.__main__ import main
from data_pipelines.commands import cache_text, prepare_tfds, verify

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def obey_ctrl_c():
    """Ctrl-C is heard, which a process ignores that a shell started in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ('command', 'module', 'code', 'message'),
    [
        (['verify', 'S'], verify, 130, 'stopped'),
        (['tfds', '--dataset=bair', '--source=S', '--out=T'], prepare_tfds, 130, 'stopped'),
        (['cache-text', '--records=S', '--out=T', '--encoder=hashing'], cache_text, 3, 'the same command goes on'),
    ],
)
@pytest.mark.parametrize('moment', ['work', 'import'])
def test_ctrl_c_prints_whether_the_command_can_be_resumed(command, module, code, message, moment, monkeypatch, capsys):
    def stop(*_):
        signal.raise_signal(signal.SIGINT)

    if moment == 'work':
        monkeypatch.setattr(module, 'run', stop)
    else:
        monkeypatch.setattr(__main__.importlib, 'import_module', stop)
    assert main(command) == code
    assert capsys.readouterr().err.strip().endswith(message)


def test_ctrl_c_does_not_wait_for_work_that_has_not_started(tmp_path, monkeypatch, capsys):
    """As of a set of a million records, all of which are handed to threads at once. It comes by way of a thread here: a
    callback of jax's may catch a signal, and swallows it."""
    from tests.data_pipelines.sets import records, write_set

    (tmp_path / 'clips').mkdir()
    folder = write_set(tmp_path / 'set', list(records(tmp_path / 'clips', 2)))
    calls = []

    def slow(*_):
        calls.append(None)
        if len(calls) == 4:
            raise KeyboardInterrupt
        time.sleep(0.05)
        return []

    monkeypatch.setattr(verify, '_verify_records', slow)
    monkeypatch.setattr(verify, '_split_into_tasks', lambda records: [(0, np.arange(1))] * 2000)
    assert main(['verify', str(folder), '--threads=2']) == 130
    assert len(calls) < 100 and capsys.readouterr().err.strip() == 'stopped'


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='/proc is not here')
def test_ctrl_c_at_any_moment_of_a_real_command_is_one_line(tmp_path):
    from tests.data_pipelines.sets import records, write_set

    (tmp_path / 'clips').mkdir()
    folder = write_set(tmp_path / 'set', list(records(tmp_path / 'clips', 12)))
    commands = {
        'verify': ['verify', str(folder)],
        'cache-text': ['cache-text', f'--records={folder}', f'--out={tmp_path}/texts', '--encoder=hashing'],
        'tfds': ['tfds', '--dataset=bair', f'--source={folder}', f'--out={tmp_path}/tfds'],
    }
    rng = random.Random(0)
    ends = []
    for number in range(120):  # 30 at least, and until each has been stopped at its work
        if number >= 30 and {3, 130} <= set(ends):
            break
        name = list(commands)[number % 3]
        process = subprocess.Popen(
            [sys.executable, '-m', 'data_pipelines', *commands[name]],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which a shell's background job ignores
            text=True,
        )
        maps = Path(f'/proc/{process.pid}/maps')
        while process.poll() is None and 'numpy' not in maps.read_text():  # in the imports of the command
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 2.5))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        stopped = {'verify': 130, 'tfds': 130, 'cache-text': 3}[name]
        assert 'Traceback' not in err, (name, err)
        assert process.returncode in (0, 2, stopped, -signal.SIGINT), (name, process.returncode, err)
        ends.append(process.returncode)
    assert {3, 130} <= set(ends)
