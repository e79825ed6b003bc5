"""A run killed with -9 and started again with the same command ends in the same bits as one never disturbed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = (
    '--config.train.steps=40', '--config.train.batch_size=4', '--config.train.checkpoint_every=10',
    '--config.model.depth=2', '--config.model.width=32', '--config.model.heads=2', '--config.data.frames=4',
    '--config.optim.warmup_steps=4', '--config.ema.decays=0.9,0.99', '--config.checkpoint.keep_last=2',
    '--config.checkpoint.keep_every=20',
)  # fmt: skip


def command(name, *options):
    return [sys.executable, '-m', 'vdm_jax', name, *options]


@pytest.fixture(scope='module')
def environment(tmp_path_factory):
    """One process sees one device; the compilation cache is this test's own."""
    cache = tmp_path_factory.mktemp('cache')
    return {k: v for k, v in os.environ.items() if k != 'XLA_FLAGS'} | {'XDG_CACHE_HOME': str(cache)}


def train(workdir, environment, **kwargs):
    options = command('train', '--config=experiments/bouncing_balls.py', f'--workdir={workdir}', *SMALL)
    return subprocess.Popen(options, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, **kwargs)


def inspect(workdir, environment):
    found = subprocess.run(
        command('inspect', f'--workdir={workdir}', '--json'),
        cwd=ROOT, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return json.loads(found.stdout)


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory, environment):
    workdir = tmp_path_factory.mktemp('undisturbed')
    began = time.monotonic()
    process = train(workdir, environment)
    assert process.wait() == 0, process.stderr.read()
    return inspect(workdir, environment), time.monotonic() - began, (workdir / 'metrics.jsonl').read_text()


def losses(text):
    return {line['step']: line['loss'] for line in map(json.loads, text.splitlines()) if 'loss' in line}


@pytest.mark.parametrize('moment', ['after the checkpoint of step 20', 'at random'])
def test_killed_and_resumed_is_the_same_run(moment, undisturbed, environment, tmp_path):
    expected, seconds, lines = undisturbed
    process = train(tmp_path, environment, process_group=0)
    if moment == 'at random':
        time.sleep(random.uniform(0.3, 0.9) * seconds)
    else:
        deadline = time.monotonic() + 120
        while not (tmp_path / 'checkpoints' / '20').exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    killed = process.poll() is None
    if killed:
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL

    again = train(tmp_path, environment)
    assert again.wait() == 0, again.stderr.read()
    found = inspect(tmp_path, environment)
    for name in ('step', 'params', 'ema', 'opt_state', 'position', 'checkpoints'):
        assert found[name] == expected[name], (moment, name, killed)
    assert found['step'] == 40 and found['checkpoints'] == [20, 30, 40]
    assert losses((tmp_path / 'metrics.jsonl').read_text()) == losses(lines)  # one line a step, none twice
