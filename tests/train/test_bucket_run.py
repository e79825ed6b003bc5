"""Whole runs in a bucket that is a server: the same bits as on a disk, whatever happens to them in between."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import bucket as buckets
from tests import one_device

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMALL = [
    f'--config.{item}'
    for item in (
        'train.steps=24', 'train.batch_size=4', 'train.checkpoint_every=8', 'train.log_every=1', 'model.depth=2',
        'train.sample_every=24', 'model.width=32', 'model.heads=2', 'data.frames=4', 'optim.warmup_steps=4',
        'ema.decays=0.9,0.99', 'evaluate.samples=8', 'evaluate.real=16', 'evaluate.train=64', 'sampler.steps=2',
        'optim.schedule=constant',
    )
]  # fmt: skip
SAME = ('step', 'params', 'ema', 'opt_state', 'position')
FOLDERS = itertools.count()


@pytest.fixture(scope='module')
def bucket():
    with buckets.serve() as bucket:
        yield bucket


@pytest.fixture
def folder(bucket):
    """A folder that nobody has seen before, in a bucket without faults."""
    bucket.fault = lambda method, path: None
    yield f'run{next(FOLDERS)}'
    bucket.fault = lambda method, path: None


@pytest.fixture(scope='module')
def start(bucket, tmp_path_factory):
    """Starts a command with one device and the bucket."""
    environment = one_device.environment(tmp_path_factory.mktemp('cache')) | bucket.environment()

    def start(*argv):
        pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, 'text': True}
        command = [sys.executable, '-m', 'vdm_jax', *argv]
        return subprocess.Popen(command, cwd=ROOT, env=environment, process_group=0, **pipes)

    return start


@pytest.fixture(scope='module')
def go(start):
    """Runs a command to its end, which is to be this one; returns what it printed."""

    def go(*argv, code=0):
        process = start(*argv)
        out, errors = process.communicate(timeout=300)
        assert process.returncode == code, (argv, process.returncode, errors)
        return out + errors

    return go


@pytest.fixture(scope='module')
def inspect(go):
    def inspect(workdir):
        out = go('inspect', f'--workdir={workdir}', '--json')
        return json.JSONDecoder().raw_decode(out)[0]

    return inspect


@pytest.fixture(scope='module')
def local(go, tmp_path_factory):
    """A run directory on a disk that nothing happened to."""
    workdir = tmp_path_factory.mktemp('local')
    go(*train(workdir))
    return workdir


@pytest.fixture(scope='module')
def expected_run(local, inspect):
    report = inspect(local)
    return {name: report[name] for name in SAME}, losses((local / 'metrics.jsonl').read_text())


def train(workdir, *more):
    return 'train', '--config=bouncing_balls', *SMALL, *more, f'--workdir={workdir}'


def losses(text):
    return {line['step']: line['loss'] for line in map(json.loads, text.splitlines()) if 'loss' in line}


def check(bucket, folder, inspect, expected_run):
    """Whether a folder's run came to the same end as the one on a disk, with the same lines on the way."""
    report = inspect(f'gs://bucket/{folder}')
    assert {name: report[name] for name in SAME} == expected_run[0]
    assert losses(bucket[f'{folder}/metrics.jsonl'].decode()) == expected_run[1]


def upload(bucket, workdir, folder):
    for path in workdir.rglob('*'):
        if path.is_file():
            bucket[f'{folder}/{path.relative_to(workdir)}'] = path.read_bytes()


def test_a_run_in_a_bucket_from_training_to_exported_weights(bucket, folder, go, inspect, expected_run, tmp_path):
    place = f'gs://bucket/{folder}'
    go(*train(place, '--config.train.steps=16'))
    assert 'resuming at step 16 of 24' in go(*train(place))
    check(bucket, folder, inspect, expected_run)
    there = {name.removeprefix(f'{folder}/') for name in bucket.below(folder)}
    assert {'config.json', 'environment.json', 'metrics.jsonl', 'samples/step_000024.png'} <= there
    assert any(name.startswith('tensorboard/events') for name in there)
    assert {f'checkpoints/{step}/manifest_0_of_1.json' for step in (8, 16, 24)} <= there
    assert 'run.lock' not in there
    go('sample', f'--workdir={place}', '--num=2')
    assert [name for name in bucket.below(f'{folder}/samples') if name.endswith('.mp4')]
    go('evaluate', f'--workdir={place}')
    assert [name for name in bucket.below(f'{folder}/evals') if name.endswith('.json')]
    go('export', f'--workdir={place}', f'--out={place}/weights/small.safetensors')
    assert f'{folder}/weights/small.safetensors' in there | set(bucket.below(folder))
    go('sample', f'--weights={place}/weights/small.safetensors', '--num=1', f'--out={tmp_path}')
    assert list(tmp_path.glob('*.gif'))


MOMENTS = ['run.lock', '16/_CHECKPOINT_METADATA', '16/params/', '16/ema/ocdbt.process_0/d/', '16/opt_state/d/']
MOMENTS += ['16/commit_success.txt', '16/manifest_0', 'metrics.jsonl', 'tensorboard/', 'checkpoints/8/']
MOMENTS += ['after 8/commit_success.txt', 'after 16/manifest_0', 'after 24/commit_success.txt']


@pytest.mark.parametrize('moment', MOMENTS)
def test_killed_at_a_request_and_started_again_is_the_same_run(
    moment, bucket, folder, start, go, inspect, expected_run
):
    """kill -9 when the first object with this name is about to be changed, which then is not, or the one after it."""
    running = []
    seen = []
    name = moment.removeprefix('after ')
    passed = []

    def fault(method, path):
        named = name in path.replace('%2F', '/')
        if named and method != 'GET' and moment != name and not passed:
            passed.append(path)
        elif (passed or named) and method != 'GET' and running and not seen:
            seen.append(path)
            os.killpg(running[0].pid, signal.SIGKILL)
            return 503

    bucket.fault = fault
    running.append(start(*train(f'gs://bucket/{folder}')))
    assert running[0].wait(300) == -signal.SIGKILL and seen, running[0].stderr.read()
    bucket.fault = lambda method, path: None
    go(*train(f'gs://bucket/{folder}'))
    check(bucket, folder, inspect, expected_run)


def test_a_damaged_object_costs_a_run_the_steps_since_the_one_before(bucket, folder, go, inspect, local, expected_run):
    upload(bucket, local, folder)
    name = max(bucket.below(f'{folder}/checkpoints/24'), key=lambda name: len(bucket[name]))
    content = bytearray(bucket[name])
    content[len(content) // 3] ^= 16
    bucket[name] = bytes(content)
    assert '24 is damaged' in go('sample', f'--workdir=gs://bucket/{folder}', '--step=24', '--num=1', code=2)
    output = go(*train(f'gs://bucket/{folder}'))
    assert 'checkpoints/24 is damaged' in output and 'resuming at step 16' in output
    check(bucket, folder, inspect, expected_run)


@pytest.mark.parametrize('marked', [True, False])
def test_a_run_copied_file_by_file_resumes(marked, bucket, folder, go, inspect, expected_run, tmp_path):
    go(*train(tmp_path / 'run', '--config.train.steps=16'))
    upload(bucket, tmp_path / 'run', folder)
    for name in bucket.below(folder):
        if name.endswith('commit_success.txt') and not marked:
            del bucket[name]
    assert inspect(f'gs://bucket/{folder}')['step'] == 16
    assert 'resuming at step 16 of 24' in go(*train(f'gs://bucket/{folder}'))
    check(bucket, folder, inspect, expected_run)
    for name in bucket.below(folder):
        path = tmp_path / 'back' / name.removeprefix(f'{folder}/')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bucket[name])
    report = inspect(tmp_path / 'back')
    assert {name: report[name] for name in SAME} == expected_run[0]
    assert 'resuming at step 24 of 26' in go(*train(tmp_path / 'back', '--config.train.steps=26'))
    shutil.rmtree(tmp_path / 'back')


def test_a_second_run_in_the_folder_is_refused_and_the_first_continues(
    bucket, folder, start, go, inspect, expected_run
):
    held = []

    def fault(method, path):
        if 'checkpoints%2F8' in path and not held:
            held.append(path)

    bucket.fault = fault
    first = start(*train(f'gs://bucket/{folder}', '--config.train.steps=600'))
    while not held:
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.05)
    assert 'a run is at work there' in go(*train(f'gs://bucket/{folder}', '--config.train.steps=600'), code=2)
    os.killpg(first.pid, signal.SIGTERM)
    assert first.wait(300) == 3, first.stderr.read()


@pytest.mark.parametrize('status', [500, 503, 429])
def test_a_store_that_is_down_for_a_while_does_not_end_a_run(status, bucket, folder, go, inspect, expected_run):
    """For six seconds every request fails, from the middle of a save on."""
    began = []

    def fault(method, path):
        if method != 'GET' and 'checkpoints%2F8%2Fema' in path.replace('/', '%2F') and not began:
            began.append(time.monotonic())
        return status if began and time.monotonic() < began[0] + 6 else None

    bucket.fault = fault
    go(*train(f'gs://bucket/{folder}'))
    assert began
    check(bucket, folder, inspect, expected_run)


@pytest.mark.parametrize(('refused', 'message'), [('metrics.jsonl', 'metrics.jsonl: '), ('samples/', 'samples: ')])
def test_a_store_that_refuses_logs_costs_only_the_logs(refused, message, bucket, folder, go, inspect, expected_run):
    bucket.fault = lambda method, path: 503 if method != 'GET' and refused in path.replace('%2F', '/') else None
    output = go(*train(f'gs://bucket/{folder}'))
    assert message in output and 'Traceback' not in output
    report = inspect(f'gs://bucket/{folder}')
    assert {name: report[name] for name in SAME} == expected_run[0]
