"""Weights & Biases, in a process beside the run's: whatever becomes of it, of its network and of its own threads and
hooks, the run neither waits for it nor ends otherwise.

The run's side: a bounded outbox, and a thread that writes it into the process's pipe. The other side is
weights_biases_process.py.
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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.files import read_json, write_whole
from vdm_jax.train.loggers.logger import Logger, Outage
from vdm_jax.train.remote_files import StagedDirectory

ROOM = 2**26  # bytes that may wait for the process
CLOSE_SECONDS = 15.0  # that the end of a run waits for what is on its way; the process has some minutes more
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0  # seconds before a process that ended is started anew
ID = re.compile(r'[A-Za-z0-9_-]{1,64}')


@dataclass(frozen=True)
class WandbConfig:
    """Weights & Biases, beside metrics.jsonl and TensorBoard; pip install 'vdm_jax[wandb]'.

    mode: off; online, which wants `wandb login` or WANDB_API_KEY; offline, which keeps all in WORKDIR/wandb for `wandb
    sync`. project, entity (a user or a team, the account's own where not given) and name (the run directory's where not
    given) are what W&B calls them.
    """

    mode: Literal['off', 'online', 'offline'] = 'off'
    project: str = 'vdm_jax'
    entity: str | None = None
    name: str | None = None

    def __post_init__(self):
        for key in ('project', 'entity', 'name'):
            value = getattr(self, key)
            if value is not None and not (0 < len(value) <= 128 and value.isprintable()):
                raise UserError(f'config.log.wandb.{key}={value!r}: want 1 to 128 characters of one line')
        if set('/\\#?%:') & {*self.project, *(self.entity or '')}:
            raise UserError(
                f'config.log.wandb: project={self.project!r} and entity={self.entity!r} may hold none of /\\#?%:'
            )


def check_installed(config: WandbConfig) -> None:
    """Whether the package is there, where it is asked for.

    Raises:
      UserError: it is not.
    """
    if config.mode == 'off':
        return
    spec = importlib.util.find_spec('wandb')
    if spec is None or spec.origin is None:  # a folder of that name, such as W&B makes, is no package
        raise UserError(f"config.log.wandb.mode={config.mode}: wandb is not installed; pip install 'vdm_jax[wandb]'")


class WeightsBiases(Logger):
    """Sends to one W&B run, whose id lies in WORKDIR/wandb/run.json: a run that goes on goes on there."""

    shows_clips = True

    def __init__(self, workdir, config: WandbConfig, resolved: dict, say: Callable[[str], None]):
        self._config, self._resolved, self._say = config, resolved, say
        self._workdir, self._directory = epath.Path(workdir), epath.Path(workdir) / 'wandb'
        self._files: StagedDirectory | None = None
        self._id, self._id_is_new = self._read_id()
        self._outbox = Outbox(ROOM)
        self._process: subprocess.Popen | None = None
        self._outage = Outage('W&B', say)
        self._full = Outage('W&B', say, 'training goes on, and what it does not take is left out')
        self._thread = threading.Thread(target=self._work_off, name='wandb', daemon=True)
        self._thread.start()

    def scalars(self, step, values):
        self._put({'kind': 'scalars', 'step': step, 'values': values})

    def clip(self, step, name, gif, shape):
        self._put({'kind': 'clip', 'step': step, 'name': name, 'gif': base64.b64encode(gif).decode()})

    def flush(self):
        if self._id_is_new:
            write_whole(self._directory / 'run.json', json.dumps({'id': self._id}) + '\n')
            self._id_is_new = False
        if self._files:
            self._files.push()

    def close(self):
        """Waits a little for what is on its way, and leaves the process to itself; a run that ends with an error is
        said to.
        """
        self._outbox.close({'kind': 'finish', 'exit_code': int(sys.exc_info()[0] is not None)})
        until = time.monotonic() + CLOSE_SECONDS
        self._thread.join(CLOSE_SECONDS)
        process = self._process
        if process:
            try:
                process.wait(max(until - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                self._say(f'W&B: process {process.pid} still sends; it ends by itself')
        if self._files and process and process.poll() is None:
            self._files.push()  # what it still writes stays in the copy on this machine
        elif self._files:
            self._files.close()

    def _put(self, message: dict) -> None:
        data = (json.dumps(message, default=str) + '\n').encode(errors='backslashreplace')
        if self._outbox.put(data):
            self._full.end()
        else:
            self._full.begin(OSError(f'{ROOM >> 20} MiB wait for it'))

    def _work_off(self) -> None:
        """The thread: hands over what is in the outbox, and starts the process, anew where it has ended."""
        pause = FIRST_PAUSE
        while (data := self._outbox.next()) is not None:
            try:
                if self._process is None:
                    self._start()
                write_all(self._process.stdin, data)
                self._outbox.done()
                pause = FIRST_PAUSE
            except Exception as error:
                self._outage.begin(self._cause(error))
                self._process = None
                if self._outbox.wait_for_close(pause):
                    return
                pause = min(2 * pause, LONGEST_PAUSE)
        if self._process:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def _cause(self, error: Exception) -> Exception:
        """Why the process cannot be written to."""
        if self._process is None:
            return error
        self._listener.join(1.0)  # it may have said why
        return OSError(f'its process ended with {self._process.poll()}')

    def _start(self) -> None:
        self._files = self._files or StagedDirectory(self._directory)
        path = os.pathsep.join(filter(None, [*sys.path, os.environ.get('PYTHONPATH')]))
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'vdm_jax.train.loggers.weights_biases_process'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {'PYTHONPATH': path},
            bufsize=0,  # a buffer that a thread waits in would abort the end of the run
            start_new_session=True,  # a signal to the run is not meant for it: the run tells it to end
        )
        beginning = {
            'id': self._id,
            'project': self._config.project,
            'entity': self._config.entity,
            'name': self._config.name or self._workdir.name or None,
            'mode': self._config.mode,
            'dir': os.path.abspath(self._files.local),
            'config': self._resolved,
        }
        self._listener = threading.Thread(target=self._listen, args=(self._process,), name='wandb says', daemon=True)
        self._listener.start()
        write_all(self._process.stdin, (json.dumps(beginning) + '\n').encode())

    def _listen(self, process: subprocess.Popen) -> None:
        """A thread: tells what the process says."""
        for line in process.stdout:
            text = line.decode(errors='replace').strip()
            kind, _, rest = text.partition(' ')
            if kind == 'mistake':
                self._outage.begin(OSError(rest))
            elif kind == 'well':
                self._outage.end()
            elif kind == 'ready':
                self._outage.end()
                self._say(f'W&B: {rest}')
        code = process.wait()
        if not self._outbox.is_closed:
            self._outage.begin(OSError(f'its process ended with {code}'))

    def _read_id(self) -> tuple[str, bool]:
        """The run's id, and whether it has just been made up."""
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


def write_all(pipe, data: bytes) -> None:
    """Writes all of `data` into a pipe without a buffer."""
    rest = memoryview(data)
    while rest:
        rest = rest[pipe.write(rest) :]


class Outbox:
    """Messages in their order, of so many bytes at most; none waits to put one in."""

    def __init__(self, room: int):
        self._messages = collections.deque()
        self._bytes, self._room = 0, room
        self.is_closed = False
        self._changed = threading.Condition()

    def put(self, data: bytes) -> bool:
        """Whether there was room."""
        with self._changed:
            if self.is_closed or self._bytes + len(data) > self._room:
                return False
            self._messages.append(data)
            self._bytes += len(data)
            self._changed.notify_all()
        return True

    def next(self) -> bytes | None:
        """The oldest message, which stays until it is done, once there is one; None once all are done after close."""
        with self._changed:
            self._changed.wait_for(lambda: self._messages or self.is_closed)
            return self._messages[0] if self._messages else None

    def done(self) -> None:
        with self._changed:
            self._bytes -= len(self._messages.popleft())

    def close(self, last: dict) -> None:
        """Takes one more message, and none after that."""
        with self._changed:
            if not self.is_closed:
                self._messages.append((json.dumps(last) + '\n').encode())
                self._bytes += len(self._messages[-1])
            self.is_closed = True
            self._changed.notify_all()

    def wait_for_close(self, seconds: float) -> bool:
        """Waits so long, or until it is closed: whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.is_closed, seconds)
