"""One run, one directory: whoever trains in it keeps all others out, until it ends or its process is gone.

On a file system that is flock, which ends with its process however that ends. In a store, which knows no locks, it is a
lease: an object that its holder writes anew every few seconds. One that is not renewed while somebody watches it is
stale and is taken over, so that no clocks are compared.
"""

import contextlib
import fcntl
import io
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator

from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.files import is_local, parse_json

NAME = 'run.lock'
RENEW_SECONDS = 10.0
PATIENCE_SECONDS = 35.0  # without a renewal, after which a lease is stale
SETTLE_SECONDS = 2.0  # after which of two that took a lease at the same moment both see whose it is
LONGEST = 10_000  # characters of a lock that are read


@contextlib.contextmanager
def hold(workdir) -> Iterator['Lock']:
    """Keeps others out of a run directory, which is there, while it is open.

    Raises:
      UserError: another run is at work there; says which process of which machine.
    """
    path = epath.Path(workdir) / NAME
    lock = FileLock(path) if is_local(workdir) else Lease(path)
    with contextlib.closing(lock):
        yield lock


def holder() -> dict:
    """Who this is: host, pid, and the namespace in which the pid counts."""
    namespace = ''
    with contextlib.suppress(OSError):
        with open('/proc/sys/kernel/random/boot_id') as file:
            namespace = f'{file.read().strip()} {os.readlink("/proc/self/ns/pid")}'
    return {'host': socket.gethostname(), 'pid': os.getpid(), 'namespace': namespace}


def refusal(workdir, there: dict) -> UserError:
    """That somebody is at work in a run directory."""
    who = f'process {there.get("pid", "unknown")} of {there.get("host", "another machine")}'
    return UserError(f'--workdir={workdir}: a run is at work there, {who}; wait for it, or choose another --workdir')


class Lock:
    """What keeps a run directory."""

    def check(self) -> None:
        """Whether it is still ours.

        Raises:
          UserError: the run directory is gone, or another run has taken it.
        """

    def close(self) -> None:
        """Lets others in."""

    @contextlib.contextmanager
    def explain(self) -> Iterator[None]:
        """Within it, what fails because the lock is no longer ours says so.

        Raises:
          UserError: see `check`.
        """
        try:
            yield
        except Exception:
            self.check()
            raise


class FileLock(Lock):
    """flock on a file, with who holds it inside, for messages."""

    def __init__(self, path: epath.Path):
        self._path = path
        self._file = open_lock(path)
        try:
            lock_file(self._file)
        except BlockingIOError:
            self._file.seek(0)
            there = read_holder(self._file.read(LONGEST))
            self._file.close()
            raise refusal(path.parent, there) from None
        with contextlib.suppress(OSError):  # a full disk, or a lock of another user's: it is held all the same
            self._file.truncate(0)
            self._file.write(json.dumps(holder()) + '\n')
            self._file.flush()

    def check(self) -> None:
        try:
            there = os.stat(self._path)
        except OSError:
            there = None
        if there is None or not os.path.samestat(there, os.fstat(self._file.fileno())):
            raise UserError(
                f'--workdir={self._path.parent}: the run directory was removed or replaced while the run was at work; '
                'it ends here'
            )

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()


def open_lock(path) -> io.TextIOWrapper:
    """Opens the lock's file, made where it is not there: to read and write, or to read where another user made it.

    Raises:
      UserError: it cannot be opened, or is a link or no file.
    """
    called = f'--workdir={os.path.dirname(path)}: {NAME}'
    for access, mode in ((os.O_RDWR | os.O_CREAT, 'r+'), (os.O_RDONLY, 'r')):
        try:
            descriptor = os.open(path, access | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except PermissionError as error:
            refused = error
            continue
        except OSError as error:
            raise UserError(f'{called} cannot be opened ({error.strerror})') from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UserError(f'{called} is not a regular file')
        return open(descriptor, mode, errors='replace')
    raise UserError(f'{called} cannot be opened ({refused.strerror})')


def lock_file(file) -> None:
    """flock, at once.

    Raises:
      BlockingIOError: somebody else has it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        pass


def read_holder(text: str) -> dict:
    """What a lock says of its holder; {} where it says nothing that can be read."""
    try:
        there = parse_json(text, NAME)
    except UserError:
        return {}
    return there if isinstance(there, dict) else {}


class Lease(Lock):
    """An object in a store that says who holds it, and is written anew by a thread as long as that process lives."""

    def __init__(self, path: epath.Path):
        self._path = path
        self._me = holder() | {'token': os.urandom(8).hex()}
        self._count = 0
        self._lost = threading.Event()
        self._closing = threading.Event()
        self._watch()
        self._write()
        time.sleep(SETTLE_SECONDS)
        self._check_held()
        self._thread = threading.Thread(target=self._renew, name='lease', daemon=True)
        self._thread.start()

    def check(self) -> None:
        if self._lost.is_set():
            raise UserError(
                f'--workdir={self._path.parent}: another run has taken the run directory, or it was removed; this one '
                'ends here'
            )

    def close(self) -> None:
        self._closing.set()
        self._thread.join(RENEW_SECONDS)
        with contextlib.suppress(Exception):  # a store that cannot be reached: it goes stale
            if self._read().get('token') == self._me['token']:
                self._path.unlink()

    def _watch(self) -> None:
        """Returns once nobody holds the lease.

        Raises:
          UserError: somebody does: it is renewed.
        """
        there = self._read()
        if 'token' not in there or is_dead(there):  # a file's lock, copied into the store with its directory, is none
            return
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            time.sleep(RENEW_SECONDS / 10)
            now = self._read()
            if 'token' not in now:
                return
            if now != there:
                raise refusal(self._path.parent, now)

    def _renew(self) -> None:
        while not self._closing.wait(RENEW_SECONDS):
            with contextlib.suppress(Exception):  # the store may be out of reach for a while
                if self._read().get('token') != self._me['token']:
                    self._lost.set()
                    return
                self._write()

    def _check_held(self) -> None:
        if self._read().get('token') != self._me['token']:  # somebody wrote at the same moment
            raise refusal(self._path.parent, self._read())

    def _read(self) -> dict:
        try:
            return read_holder(self._path.read_text()) if self._path.exists() else {}
        except FileNotFoundError:  # removed just now
            return {}

    def _write(self) -> None:
        self._count += 1
        self._path.write_text(json.dumps(self._me | {'renewed': self._count}))


def is_dead(there: dict) -> bool:
    """Whether a holder was a process of this machine that is gone."""
    me, pid = holder(), there.get('pid')
    same = me['namespace'] and (there.get('host'), there.get('namespace')) == (me['host'], me['namespace'])
    if not same or type(pid) is not int or pid <= 0:
        return False
    if pid == me['pid']:  # this very process: a run of it that ended without a word, or one in another thread
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
