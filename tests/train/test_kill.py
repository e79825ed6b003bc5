"""A run killed with -9 and started again with the same command ends in the same bits as one never disturbed."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import one_device, seeds
from vdm_jax import cli

ROOT = Path(__file__).parents[2]
SMALL = (
    '--config.train.steps=80', '--config.train.batch_size=4', '--config.train.checkpoint_every=20',
    '--config.model.depth=2', '--config.model.width=32', '--config.model.heads=2', '--config.data.frames=4',
    '--config.optim.warmup_steps=4', '--config.ema.decays=0.9,0.99', '--config.checkpoint.keep_last=2',
    '--config.checkpoint.keep_every=40', '--config.train.log_every=1',
)  # fmt: skip


@pytest.fixture(scope='module')
def environment(tmp_path_factory):
    """One process sees one device; programs are kept in a user's cache of this test's own."""
    variables = one_device.environment(tmp_path_factory.mktemp('cache'))
    del variables['JAX_COMPILATION_CACHE_DIR']
    return variables


def train(workdir, environment, **kwargs):
    options = ('train', '--config=experiments/bouncing_balls.py', f'--workdir={workdir}', *SMALL)
    command = [sys.executable, '-m', 'vdm_jax', *options]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True, **kwargs)


def inspect(workdir):
    """The report of `inspect`, from this process: another one would only start anew."""
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert cli.main(['inspect', f'--workdir={workdir}', '--json']) == 0
    return json.loads(output.getvalue())


@pytest.fixture(scope='module')
def expected_run(tmp_path_factory, environment):
    workdir = tmp_path_factory.mktemp('undisturbed')
    process = train(workdir, environment)
    assert process.wait() == 0, process.stderr.read()
    return inspect(workdir), (workdir / 'metrics.jsonl').read_text()


def losses(text):
    return {line['step']: line['loss'] for line in map(json.loads, text.splitlines()) if 'loss' in line}


def is_logged(workdir, step):
    """Whether a step is logged."""
    path = workdir / 'metrics.jsonl'
    return path.exists() and f'{{"step": {step}, ' in path.read_text()


@pytest.mark.parametrize(
    'moment, number, code',
    [
        ('after the checkpoint of step 40', signal.SIGKILL, -signal.SIGKILL),
        ('at random', signal.SIGKILL, -signal.SIGKILL),
        ('at random', signal.SIGTERM, 3),
    ],
)
def test_a_run_stopped_and_resumed_equals_an_uninterrupted_one(
    moment, number, code, expected_run, environment, tmp_path
):
    expected, lines = expected_run
    step = int(seeds.generator().integers(1, 31))
    process = train(tmp_path, environment, process_group=0)
    deadline = time.monotonic() + 120
    while not (is_logged(tmp_path, step) if moment == 'at random' else (tmp_path / 'checkpoints' / '40').exists()):
        assert time.monotonic() < deadline and process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    os.killpg(process.pid, number)
    while number == signal.SIGTERM and process.poll() is None:  # an impatient user repeats the signal until the end
        process.send_signal(number)
        time.sleep(0.002)
    assert process.wait() == code, (moment, step, process.stderr.read())

    again = train(tmp_path, environment)
    assert again.wait() == 0, again.stderr.read()
    report = inspect(tmp_path)
    for name in ('step', 'params', 'ema', 'opt_state', 'position'):
        assert report[name] == expected[name], (moment, step, name)
    steps = report['checkpoints']
    if number == signal.SIGKILL:
        assert steps == expected['checkpoints'] == [40, 60, 80]
    else:  # the stop saved a step of its own, which is one of the last two if it came after step 60
        assert report['step'] == 80 and len(steps) == 3, steps
        assert (steps[0], steps[2]) == (40, 80) and 60 <= steps[1] < 80, steps
    assert losses((tmp_path / 'metrics.jsonl').read_text()) == losses(lines)  # one line a step, none twice


def test_compiled_programs_are_kept_in_the_users_cache(expected_run, environment):
    assert any((Path(environment['XDG_CACHE_HOME']) / 'vdm_jax' / 'xla').iterdir())
