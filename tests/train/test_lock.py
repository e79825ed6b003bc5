"""One run, one directory: who else comes is refused, and who is gone keeps nobody out."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import jax
import pytest
from etils import epath

from tests.train.fake_store import FakeStore
from tests.train.small_run import SMALL
from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import read_experiment
from vdm_jax.experiment.run import Run
from vdm_jax.train import lock, loop

HOLDS = """
import sys, time
from vdm_jax.train import lock

with lock.hold(sys.argv[1]):
    print(1, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def quick(monkeypatch):
    """Leases that are renewed and go stale in no time."""
    monkeypatch.setattr(lock, 'RENEW_SECONDS', 0.05)
    monkeypatch.setattr(lock, 'PATIENCE_SECONDS', 0.4)
    monkeypatch.setattr(lock, 'SETTLE_SECONDS', 0.02)


@pytest.fixture(params=['', 'fake://'])
def place(request, tmp_path, quick):
    return request.param + str(tmp_path)


def test_a_second_run_is_refused_by_name_and_nothing_changes(place):
    with lock.hold(place) as first:
        with pytest.raises(UserError, match=f'a run is at work there, process {os.getpid()} of '):
            with lock.hold(place):
                pass
        first.check()
    with lock.hold(place):  # the first one has ended
        pass


def test_a_run_refuses_a_directory_in_which_another_one_is_at_work(place):
    run = Run(read_experiment('experiments/bouncing_balls.py', SMALL), jax.devices()[:1])
    with lock.hold(place), pytest.raises(UserError, match='a run is at work there'):
        loop.train_run(run, place)
    assert not (epath.Path(place) / 'config.json').exists()


def test_a_killed_process_leaves_no_lock(tmp_path):
    process = subprocess.Popen([sys.executable, '-c', HOLDS, tmp_path], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b'1\n'
    with pytest.raises(UserError, match=f'process {process.pid} of'):
        lock.FileLock(tmp_path / lock.NAME)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with lock.hold(tmp_path):
        pass


def left_behind(place, **holder):
    """A lease that somebody wrote and does not renew."""
    (epath.Path(place) / lock.NAME).write_text(
        json.dumps(lock.describe_self() | {'token': 'other', 'renewed': 3} | holder)
    )


def test_a_lease_that_is_not_renewed_goes_stale(quick, tmp_path):
    place = f'fake://{tmp_path}'
    for there in ({'host': 'another', 'namespace': 'x'}, {'pid': None}, {'pid': 'x'}):
        left_behind(place, **there)
        with lock.hold(place) as held:
            held.check()


def test_a_lease_of_a_dead_process_of_this_machine_is_taken_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(lock, 'PATIENCE_SECONDS', 1e6)
    monkeypatch.setattr(lock, 'SETTLE_SECONDS', 0.02)
    process = subprocess.Popen([sys.executable, '-c', ''])
    process.wait()
    left_behind(f'fake://{tmp_path}', pid=process.pid)
    with lock.hold(f'fake://{tmp_path}'):
        pass


@pytest.mark.parametrize('text', [b'', b'\0\0', b'[1]', b'{"pid": ', b'\xff'])
def test_a_lock_that_cannot_be_read_is_a_lock_all_the_same(text, tmp_path, quick):
    (tmp_path / lock.NAME).write_bytes(text)
    with lock.hold(tmp_path):
        pass
    FakeStore.objects[f'fake://{tmp_path}/{lock.NAME}'] = text
    with lock.hold(f'fake://{tmp_path}'):
        pass


@pytest.mark.parametrize('what', ['directory', 'pipe', 'link', 'link to nothing', 'device'])
def test_what_is_no_file_is_no_lock_and_is_left_as_it_is(what, tmp_path):
    other = tmp_path / 'other'
    path = tmp_path / 'run' / lock.NAME
    place = tmp_path / 'run'
    place.mkdir()
    if what == 'link':
        other.write_text('of somebody else')
    {
        'directory': path.mkdir,
        'pipe': lambda: os.mkfifo(path),
        'link': lambda: path.symlink_to(other),
        'link to nothing': lambda: path.symlink_to(other),
        'device': lambda: path.symlink_to('/dev/zero'),
    }[what]()
    with pytest.raises(UserError, match=f'--workdir={place}: run.lock (cannot be opened|is not a regular file)'):
        with lock.hold(place):
            pass
    assert other.exists() == (what == 'link') and (what != 'link' or other.read_text() == 'of somebody else')


def test_a_lock_of_another_user_is_respected(tmp_path, monkeypatch):
    """It may be read and not written, in a directory that a group shares."""
    (tmp_path / lock.NAME).write_text('{}\n')
    plain = os.open

    def refuse(path, access, *mode):
        if access & os.O_RDWR and str(path).endswith(lock.NAME):
            raise PermissionError(13, 'Permission denied')
        return plain(path, access, *mode)

    monkeypatch.setattr(os, 'open', refuse)
    with lock.hold(tmp_path), pytest.raises(UserError, match='a run is at work there'):
        with lock.hold(tmp_path):
            pass


def test_of_two_that_take_a_lease_at_the_same_moment_one_has_it(tmp_path, monkeypatch, quick):
    monkeypatch.setattr(lock, 'SETTLE_SECONDS', 0.3)
    results = []
    barrier = threading.Barrier(2)

    def take():
        barrier.wait()
        try:
            results.append(lock.Lease(epath.Path(f'fake://{tmp_path}') / lock.NAME))
        except UserError as error:
            results.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    held = [each for each in results if isinstance(each, lock.Lease)]
    [each.close() for each in held]
    assert len(held) == 1 and sum('a run is at work there' in str(each) for each in results) == 1


def test_a_store_that_is_out_of_reach_for_a_while_ends_no_lease(quick, tmp_path, monkeypatch):
    failed = threading.Event()

    def fails(self):
        failed.set()
        raise OSError('out of reach')

    with lock.hold(f'fake://{tmp_path}') as held:
        with monkeypatch.context() as patched:
            patched.setattr(FakeStore, 'read_bytes', fails)
            assert failed.wait(5)
        held.check()


def test_a_run_whose_directory_is_gone_or_taken_ends_by_name(place):
    with lock.hold(place) as held:
        if place.startswith('fake://'):
            left_behind(place)
            held._thread.join(5)
        else:
            shutil.rmtree(place)
        with pytest.raises(UserError, match='ends here'):
            held.check()
        os.makedirs(place.removeprefix('fake://'), exist_ok=True)
