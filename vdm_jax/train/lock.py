"""Lock of a run directory: whoever trains in it keeps all others out, until it ends or its process dies.

On a file system that is flock, which ends with its process however that ends. In a store, which knows no locks, it is a
lease: an object that its holder writes anew every few seconds. One that is not renewed while somebody watches it is
stale and is taken over, so that no clocks are compared.
"""

import contextlib
import fcntl
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from typing import IO, Any

from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.files import is_local, parse_json

NAME = 'run.lock'
RENEW_SECONDS = 10.0
PATIENCE_SECONDS = 35.0  # without a renewal, after which a lease is stale
SETTLE_SECONDS = 2.0  # after which of two that took a lease at the same moment both see whose it is
LONGEST = 10_000  # characters of a lock that are read

Holder = dict[str, Any]  # JSON values: who has a lock


@contextlib.contextmanager
def hold(workdir: epath.PathLike) -> Iterator['Lock']:
    """Hold the lock of an existing run directory while the context is open.

    Raises:
      UserError: Another run is at work there; names its process and machine.
    """
    path = epath.Path(workdir) / NAME
    lock = FileLock(path) if is_local(workdir) else Lease(path)
    with contextlib.closing(lock):
        yield lock


def describe_self() -> Holder:
    """Return who this process is: host, pid, and the namespace in which the pid counts."""
    namespace = ''
    # Only Linux has these files.
    with contextlib.suppress(OSError):
        with open('/proc/sys/kernel/random/boot_id') as file:
            namespace = f'{file.read().strip()} {os.readlink("/proc/self/ns/pid")}'
    return {'host': socket.gethostname(), 'pid': os.getpid(), 'namespace': namespace}


def make_busy_error(workdir: epath.PathLike, holder: Holder) -> UserError:
    """Return the mistake that somebody is at work in a run directory."""
    who = f'process {holder.get("pid", "unknown")} of {holder.get("host", "another machine")}'
    return UserError(f'--workdir={workdir}: a run is at work there, {who}; wait for it, or choose another --workdir')


class Lock:
    """A lock of a run directory; this one keeps nobody out."""

    def check(self) -> None:
        """Check that it is still ours.

        Raises:
          UserError: The run directory is gone, or another run has taken it.
        """

    def close(self) -> None:
        """Let others in."""

    @contextlib.contextmanager
    def explain(self) -> Iterator[None]:
        """Explain what fails within because the lock is no longer ours.

        Raises:
          UserError: See `check`.
        """
        try:
            yield
        except Exception:
            self.check()
            raise


class FileLock(Lock):
    """flock on a file, which holds who has it, for messages."""

    def __init__(self, path: epath.Path):
        self._path = path
        self._file = open_lock(path)
        try:
            lock_file(self._file)
        except BlockingIOError:
            self._file.seek(0)
            holder = read_holder(self._file.read(LONGEST))
            self._file.close()
            raise make_busy_error(path.parent, holder) from None

        # On a full disk, or where another user made the file, it is held all the same.
        with contextlib.suppress(OSError):
            self._file.truncate(0)
            self._file.write(json.dumps(describe_self()) + '\n')
            self._file.flush()

    def check(self) -> None:
        if not self._is_in_place():
            raise UserError(
                f'--workdir={self._path.parent}: the run directory was removed or replaced while the run was at work; '
                'it ends here'
            )

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._file.close()

    def _is_in_place(self) -> bool:
        """Whether the path still leads to the file that is locked."""
        try:
            status = os.stat(self._path)
        except OSError:
            return False
        return os.path.samestat(status, os.fstat(self._file.fileno()))


def open_lock(path: epath.Path) -> IO[str]:
    """Open the lock's file, made where it is not there: to read and write, or to read where another user made it.

    Raises:
      UserError: It cannot be opened, or is a link or no file.
    """
    called = f'--workdir={os.path.dirname(path)}: {NAME}'
    reason = ''
    for access, mode in ((os.O_RDWR | os.O_CREAT, 'r+'), (os.O_RDONLY, 'r')):
        try:
            # A link would lock a file elsewhere, and a pipe in its place would be waited for.
            descriptor = os.open(path, access | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except PermissionError as error:
            reason = str(error.strerror)
            continue
        except OSError as error:
            raise UserError(f'{called} cannot be opened ({error.strerror})') from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UserError(f'{called} is not a regular file')
        return open(descriptor, mode, errors='replace')
    raise UserError(f'{called} cannot be opened ({reason})')


def lock_file(file: IO[str]) -> None:
    """Lock a file, at once.

    Raises:
      BlockingIOError: Somebody else has it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        pass


def read_holder(text: str) -> Holder:
    """Return what a lock says of its holder, {} where that cannot be read."""
    try:
        holder = parse_json(text, NAME)
    except UserError:
        return {}
    return holder if isinstance(holder, dict) else {}


class Lease(Lock):
    """An object in a store that says who has it, written anew by a thread as long as that process lives."""

    def __init__(self, path: epath.Path):
        self._path = path
        self._self = describe_self() | {'token': os.urandom(8).hex()}
        self._renewals = 0
        self._is_lost = threading.Event()
        self._is_closing = threading.Event()

        self._wait_until_free()
        self._write()
        # Two may have written at the same moment; the last one has it.
        time.sleep(SETTLE_SECONDS)
        if not self._is_ours():
            raise make_busy_error(path.parent, self._read())
        self._thread = threading.Thread(target=self._renew, name='lease', daemon=True)
        self._thread.start()

    def check(self) -> None:
        if self._is_lost.is_set():
            raise UserError(
                f'--workdir={self._path.parent}: another run has taken the run directory, or it was removed; this one '
                'ends here'
            )

    def close(self) -> None:
        self._is_closing.set()
        self._thread.join(RENEW_SECONDS)
        # Where the store cannot be reached, it goes stale.
        with contextlib.suppress(Exception):
            if self._is_ours():
                self._path.unlink()

    def _wait_until_free(self) -> None:
        """Wait until nobody holds the lease.

        Raises:
          UserError: Somebody does: it is renewed.
        """
        before = self._read()
        # Without a token it is a file's lock, copied into the store with its directory, which locks nothing.
        if 'token' not in before or is_dead(before):
            return

        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            time.sleep(RENEW_SECONDS / 10)
            now = self._read()
            if 'token' not in now:
                return
            if now != before:
                raise make_busy_error(self._path.parent, now)

    def _renew(self) -> None:
        """Write the lease anew until it is closed or lost."""
        while not self._is_closing.wait(RENEW_SECONDS):
            # The store may be out of reach for a while.
            with contextlib.suppress(Exception):
                if not self._is_ours():
                    self._is_lost.set()
                    return
                self._write()

    def _is_ours(self) -> bool:
        return bool(self._read().get('token') == self._self['token'])

    def _read(self) -> Holder:
        try:
            return read_holder(self._path.read_text()) if self._path.exists() else {}
        except FileNotFoundError:  # removed just now
            return {}

    def _write(self) -> None:
        self._renewals += 1
        self._path.write_text(json.dumps(self._self | {'renewed': self._renewals}))


def is_dead(holder: Holder) -> bool:
    """Return whether a holder was a process of this machine that has ended."""
    this = describe_self()
    pid = holder.get('pid')
    is_here = (holder.get('host'), holder.get('namespace')) == (this['host'], this['namespace'])
    # Without a namespace nobody can tell whether the pid is of this machine's processes.
    if not this['namespace'] or not is_here or type(pid) is not int or pid <= 0:
        return False
    # This very process: a run of it that ended without closing, or one in another thread.
    if pid == this['pid']:
        return False

    try:
        # Signal 0 only asks whether there is such a process; one of another user answers with a refusal.
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
