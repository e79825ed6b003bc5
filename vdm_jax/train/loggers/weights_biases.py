"""Weights & Biases, in a process beside the run's.

Whatever becomes of it, of its network and of its own threads and hooks, training does not wait for it and ends no
otherwise; the end of a run waits CLOSE_SECONDS at most. This is the run's side: a bounded outbox, and a thread that
writes it into the process's pipe. The other side is weights_biases_process.py.
"""

import base64
import collections
import contextlib
import importlib.util
import json
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import IO, Any, Literal

from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.files import read_json, write_atomically
from vdm_jax.train.loggers.logger import Logger, Outage, Say
from vdm_jax.train.remote_files import StagedDirectory
from vdm_jax.train.types import Resolved

ROOM = 2**26  # bytes that may wait for the process
CLOSE_SECONDS = 15.0  # that the end of a run waits for what is on its way; the process has some minutes more
FIRST_PAUSE = 30.0  # seconds before a process that ended is started anew, doubled each time
LONGEST_PAUSE = 600.0
ID = re.compile(r'[A-Za-z0-9_-]{1,64}')


@dataclass(frozen=True)
class WandbConfig:
    """Weights & Biases, beside metrics.jsonl and TensorBoard; pip install 'vdm_jax[wandb]'.

    Attributes:
      mode: off; online, which wants `wandb login` or WANDB_API_KEY; offline, which keeps all in WORKDIR/wandb for
        `wandb sync`.
      project: Name of the project there.
      entity: A user or a team; the account's own by default.
      name: Of the run; that of the run directory by default.
    """

    mode: Literal['off', 'online', 'offline'] = 'off'
    project: str = 'vdm_jax'
    entity: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        for key, value in (('project', self.project), ('entity', self.entity), ('name', self.name)):
            if value is not None and not (0 < len(value) <= 128 and value.isprintable()):
                raise UserError(f'config.log.wandb.{key}={value!r}: want 1 to 128 characters of one line')
        # Neither may be anything else in the address of a run.
        if set('/\\#?%:') & {*self.project, *(self.entity or '')}:
            raise UserError(
                f'config.log.wandb: project={self.project!r} and entity={self.entity!r} may hold none of /\\#?%:'
            )


def check_installed(config: WandbConfig) -> None:
    """Check that the package is there, where the config wants it.

    Raises:
      UserError: It is not.
    """
    if config.mode == 'off':
        return
    spec = importlib.util.find_spec('wandb')
    # A folder of that name, such as W&B makes, is no package.
    if spec is None or spec.origin is None:
        raise UserError(f"config.log.wandb.mode={config.mode}: wandb is not installed; pip install 'vdm_jax[wandb]'")


class WeightsBiases(Logger):
    """One W&B run, whose id lies in WORKDIR/wandb/run.json: a run that resumes goes on there."""

    shows_clips = True

    def __init__(self, workdir: epath.PathLike, config: WandbConfig, resolved: Resolved, say: Say):
        """Start the thread; the process starts with the first message.

        Args:
          workdir: The run directory.
          config: Which project, and under which name.
          resolved: The experiment's config, which W&B shows.
          say: Prints a line.
        """
        self._config = config
        self._resolved = resolved
        self._say = say
        self._workdir = epath.Path(workdir)
        self._directory = self._workdir / 'wandb'
        self._files: StagedDirectory | None = None
        self._id, self._id_is_new = self._read_id()

        self._outbox = Outbox(ROOM)
        self._process: subprocess.Popen[bytes] | None = None
        self._outage = Outage('W&B', say)
        self._full = Outage('W&B', say, 'training goes on, and what it does not take is left out')
        self._thread = threading.Thread(target=self._work_off, name='wandb', daemon=True)
        self._thread.start()

    def scalars(self, step: int, values: dict[str, Any]) -> None:
        self._put({'kind': 'scalars', 'step': step, 'values': values})

    def clip(self, step: int, name: str, gif: bytes, shape: tuple[int, int]) -> None:
        # GIFs travel as text, as each message is a line of JSON.
        self._put({'kind': 'clip', 'step': step, 'name': name, 'gif': base64.b64encode(gif).decode()})

    def flush(self) -> None:
        if self._id_is_new:
            write_atomically(self._directory / 'run.json', json.dumps({'id': self._id}) + '\n')
            self._id_is_new = False
        if self._files:
            self._files.push()

    def close(self) -> None:
        """Wait a little for what is on its way, and leave the process to itself.

        A run that ends with an error is reported as one.
        """
        # Loggers are closed in a finally clause: an error that is on its way there ends the run.
        self._outbox.close({'kind': 'finish', 'exit_code': int(sys.exc_info()[0] is not None)})
        deadline = time.monotonic() + CLOSE_SECONDS
        self._thread.join(CLOSE_SECONDS)
        process = self._process
        if process:
            try:
                process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                self._say(f'W&B: process {process.pid} still sends; it ends by itself')

        if self._files and process and process.poll() is None:
            self._files.push()  # what it still writes stays in the copy on this machine
        elif self._files:
            self._files.close()

    def _put(self, message: dict[str, Any]) -> None:
        data = (json.dumps(message, default=str) + '\n').encode(errors='backslashreplace')
        if self._outbox.put(data):
            self._full.end()
        else:
            self._full.begin(OSError(f'{ROOM >> 20} MiB wait for it'))

    def _work_off(self) -> None:
        """Send what is in the outbox, and start the process, anew where it has ended."""
        pause = FIRST_PAUSE
        while (data := self._outbox.next()) is not None:
            try:
                process = self._process or self._start()
                write_all(_stdin(process), data)
                self._outbox.done()
                pause = FIRST_PAUSE
            except Exception as error:
                self._outage.begin(self._find_cause(error))
                self._process = None
                if self._outbox.wait_for_close(pause):
                    return
                pause = min(2 * pause, LONGEST_PAUSE)
        if self._process:
            with contextlib.suppress(OSError):
                _stdin(self._process).close()

    def _find_cause(self, error: Exception) -> Exception:
        """Why the process cannot be written to."""
        if self._process is None:
            return error
        # It may have said why: the listener prints that.
        self._listener.join(1.0)
        return OSError(f'its process ended with {self._process.poll()}')

    def _start(self) -> subprocess.Popen[bytes]:
        """Start the process and send it the beginning of its run."""
        if self._files is None:
            self._files = StagedDirectory(self._directory)

        # The process finds the packages that this one has found, wherever they are.
        path = os.pathsep.join(filter(None, [*sys.path, os.environ.get('PYTHONPATH')]))
        process = subprocess.Popen(
            [sys.executable, '-m', 'vdm_jax.train.loggers.weights_biases_process'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {'PYTHONPATH': path},
            bufsize=0,  # a buffer that a thread waits in would abort the end of the run
            start_new_session=True,  # a signal to the run is not meant for it: the run tells it to end
        )
        self._process = process

        beginning = {
            'id': self._id,
            'project': self._config.project,
            'entity': self._config.entity,
            'name': self._config.name or self._workdir.name or None,
            'mode': self._config.mode,
            'dir': os.path.abspath(self._files.local),
            'config': self._resolved,
        }
        self._listener = threading.Thread(target=self._listen, args=(process,), name='wandb says', daemon=True)
        self._listener.start()
        write_all(_stdin(process), (json.dumps(beginning) + '\n').encode())
        return process

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """Print what the process says."""
        for line in _stdout(process):
            text = line.decode(errors='replace').strip()
            kind, _, rest = text.partition(' ')
            if kind == 'mistake':
                self._outage.begin(OSError(rest))
            elif kind == 'well':
                self._outage.end()
            elif kind == 'ready':
                self._outage.end()
                self._say(f'W&B: {rest}')
        # Its output ends with it.
        code = process.wait()
        if not self._outbox.is_closed:
            self._outage.begin(OSError(f'its process ended with {code}'))

    def _read_id(self) -> tuple[str, bool]:
        """Return the run's id, and whether it is new."""
        path = self._directory / 'run.json'
        try:
            if path.exists():
                value = read_json(path, 2**12)
                name = value.get('id') if isinstance(value, dict) else None
                if isinstance(name, str) and ID.fullmatch(name):
                    return name, False
                self._say(f'{path} holds no id of a W&B run; a new one begins')
        except Exception as error:
            self._say(f'{path} cannot be read ({error}); a new W&B run begins')
        return secrets.token_hex(8), True


def _stdin(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdin is not None  # it was started with a pipe
    return process.stdin


def _stdout(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stdout is not None  # it was started with a pipe
    return process.stdout


def write_all(pipe: IO[bytes], data: bytes) -> None:
    """Write all of `data` into a pipe without a buffer, which may take a part at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[pipe.write(rest) :]


class Outbox:
    """Messages in their order, of so many bytes at most; none waits to put one in.

    Attributes:
      is_closed: Whether no more messages are taken.
    """

    def __init__(self, room: int):
        self._messages: collections.deque[bytes] = collections.deque()
        self._bytes = 0
        self._room = room
        self.is_closed = False
        self._changed = threading.Condition()

    def put(self, data: bytes) -> bool:
        """Add a message if there is room; return whether there was."""
        with self._changed:
            if self.is_closed or self._bytes + len(data) > self._room:
                return False
            self._messages.append(data)
            self._bytes += len(data)
            self._changed.notify_all()
        return True

    def next(self) -> bytes | None:
        """Wait for a message and return the oldest, which stays until it is done.

        None once all are done after close.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._messages or self.is_closed)
            # It stays for now: where the process ends while it is written, the next one gets it.
            return self._messages[0] if self._messages else None

    def done(self) -> None:
        """Remove the oldest message."""
        with self._changed:
            self._bytes -= len(self._messages.popleft())

    def close(self, last: dict[str, Any]) -> None:
        """Take one more message, and none after that."""
        with self._changed:
            if not self.is_closed:
                # Whatever the room: W&B takes a run that does not say how it ended for one that crashed.
                self._messages.append((json.dumps(last) + '\n').encode())
                self._bytes += len(self._messages[-1])
            self.is_closed = True
            self._changed.notify_all()

    def wait_for_close(self, seconds: float) -> bool:
        """Wait so long, or until it is closed; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.is_closed, seconds)
