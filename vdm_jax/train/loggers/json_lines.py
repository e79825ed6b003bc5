"""metrics.jsonl: a line of strict JSON for every step that is logged, whole and once, whatever disk and run do.

`{"step": 10, "loss": 0.5, …}`. A number that JSON does not know is null, and the line says what it was:
`{"step": 20, "loss": null, "not_finite": {"loss": "nan"}}`.
"""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.files import parse_json, write_whole
from vdm_jax.train.loggers.append_file import Appended
from vdm_jax.train.loggers.logger import Logger
from vdm_jax.train.remote_files import StagedDirectory

NAME = 'metrics.jsonl'
BROKEN = f'{NAME}.broken'


class JsonLines(Logger):
    """The file of a run that goes on after `start_step`: its later lines are dropped, as they are written again, and
    what is no line of metrics is moved to metrics.jsonl.broken.
    """

    def __init__(self, workdir, start_step: int, say: Callable[[str], None]):
        self._workdir, self._start_step, self._say = epath.Path(workdir), start_step, say
        self._files: StagedDirectory | None = None
        self._file: Appended | None = None

    def scalars(self, step, values):
        self._opened().append(line_of(step, values))

    def flush(self):
        self._opened().sync()
        self._files.push()

    def close(self):
        if self._file:
            self._file.close()
        if self._files:
            self._files.close()

    def _opened(self) -> Appended:
        """The file, once it is what a run that goes on needs: until that could be done nothing is written."""
        if self._file is None:
            self._files = self._files or StagedDirectory(self._workdir)
            self._fetch(NAME)
            path = self._files.local / NAME
            if path.exists():
                self._mend(path)
            self._file = Appended(path, end=b'\n')
        return self._file

    def _mend(self, path) -> None:
        content = path.read_bytes()
        lines, broken = sorted_out(content, self._start_step)
        if broken:
            self._fetch(BROKEN)
            aside = path.parent / BROKEN
            before = aside.read_bytes() if aside.exists() else b''
            if not before.endswith(broken):  # as it does where this was interrupted
                write_whole(aside, before + broken)
            count = broken.count(b'\n')
            self._say(f'{self._workdir / NAME}: {count} broken line{"s" * (count > 1)} moved to {BROKEN}')
        if lines != content:
            write_whole(path, lines)

    def _fetch(self, name: str) -> None:
        try:
            self._files.fetch(name)
        except Exception as error:  # stores raise whatever their clients do
            raise OSError(f'{self._workdir / name} cannot be read ({error})') from error


def sorted_out(content: bytes, last_step: int) -> tuple[bytes, bytes]:
    """The lines of metrics up to `last_step`, and those that are no lines of metrics, each with its end."""
    lines, broken = [], []
    for line in content.split(b'\n'):
        if not line.strip():
            continue
        step = step_of(line)
        if step is None:
            broken.append(line + b'\n')
        elif step <= last_step:
            lines.append(line + b'\n')
    return b''.join(lines), b''.join(broken)


def step_of(line: bytes) -> int | None:
    """The step of a line of metrics; None if it is none."""
    try:
        values = parse_json(line.decode(), NAME)
    except (UnicodeDecodeError, UserError):
        return None
    step = values.get('step') if isinstance(values, dict) else None
    return step if type(step) is int and step >= 0 else None


def line_of(step: int, values: dict) -> bytes:
    """The line of a step's values, in strict JSON and UTF-8."""
    not_finite = {}
    plain = {name: _plain(value, name, not_finite) for name, value in values.items()}
    note = {'not_finite': not_finite} if not_finite else {}
    return (json.dumps({'step': int(step), **plain, **note}, allow_nan=False) + '\n').encode()


def _plain(value: Any, name: str, not_finite: dict) -> Any:
    """A value that strict JSON knows; `not_finite` notes what it does not know."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item, f'{name}.{key}', not_finite) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f'{name}.{number}', not_finite) for number, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        not_finite[name] = str(value)  # 'nan', 'inf', '-inf'
        return None
    if isinstance(value, str):  # a file's name need not be UTF-8
        return value.encode(errors='backslashreplace').decode()
    return value
