"""Real disks that are full, and an address space that is: the command goes on, or ends, but never hangs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import one_device

ROOT = Path(__file__).parents[2]
SMALL = (
    '--config=experiments/bouncing_balls.py', '--config.model.width=48', '--config.model.heads=4',
    '--config.model.depth=2', '--config.train.batch_size=8', '--config.train.sample_every=100',
    '--config.train.steps=400', '--config.train.checkpoint_every=200', '--config.train.log_every=1',
)  # fmt: skip


@pytest.fixture
def environment(tmp_path):
    return one_device.environment(tmp_path / 'cache')


@pytest.fixture
def small_disk(tmp_path):
    """(place, kB) -> a tmpfs of 100 kB there with so much left."""
    mounted = []

    def mount(place, left):
        place.mkdir(parents=True)
        done = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=100k', 'tmpfs', str(place)], capture_output=True)
        if done.returncode:
            pytest.skip(f'no tmpfs can be mounted here ({done.stderr.decode().strip()})')
        mounted.append(place)
        (place / 'filler').write_bytes(b'0' * 1024 * (100 - left))

    yield mount
    for place in mounted:
        subprocess.run(['umount', '-l', str(place)], check=True)


def train(workdir, environment, *more, limit=600, **how):
    command = [sys.executable, '-m', 'vdm_jax', 'train', *SMALL, f'--workdir={workdir}', *more]
    return subprocess.run(
        command, cwd=ROOT, env=environment, timeout=limit, stderr=subprocess.PIPE, text=True, check=False, **how
    )


@pytest.mark.slow
@pytest.mark.parametrize('folder', ['tensorboard', 'samples', 'profile'])
def test_a_full_disk_under_what_is_logged_stops_nothing(folder, small_disk, environment, tmp_path):
    workdir = tmp_path / 'run'
    small_disk(workdir / folder, left=4)
    more = ['--config.profile.start=20'] if folder == 'profile' else []
    done = train(workdir, environment, *more)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {'200', '400'} <= {path.name for path in (workdir / 'checkpoints').iterdir()}
    assert len((workdir / 'metrics.jsonl').read_text().splitlines()) >= 400
    assert 'No space left on device' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.slow
def test_a_full_disk_under_the_console_stops_nothing(environment, tmp_path):
    command = [sys.executable, '-m', 'vdm_jax', 'train', *SMALL, f'--workdir={tmp_path / "run"}']
    with open('/dev/full', 'w') as full:
        code = subprocess.run(command, cwd=ROOT, env=environment, timeout=600, stderr=full, stdout=full).returncode
    assert code == 0 and (tmp_path / 'run' / 'checkpoints' / '400').exists()


@pytest.mark.slow
@pytest.mark.parametrize('kilobytes', [700_000, 1_000_000])
def test_an_address_space_that_is_full_ends_the_command(kilobytes, environment, tmp_path):
    """Threads cannot be started any more: however it ends, it does, and nothing waits for one of ours."""

    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (kilobytes * 1024,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    done = train(tmp_path / 'run', environment | {'OMP_NUM_THREADS': '1'}, preexec_fn=limit, limit=300)
    assert done.returncode != 0 and os.path.isdir(tmp_path)
