"""metrics.jsonl: a line of strict JSON for every step that is logged, complete and once, whatever disk and run do.

`{"step": 10, "loss": 0.5, …}`. A number that JSON does not know is null, and the line says what it was:
`{"step": 20, "loss": null, "not_finite": {"loss": "nan"}}`.
"""

import json
import math
from typing import Any

import numpy as np
from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.files import parse_json, write_atomically
from vdm_jax.train.loggers.append_file import AppendFile
from vdm_jax.train.loggers.file_logger import FileLogger
from vdm_jax.train.loggers.logger import Say
from vdm_jax.train.remote_files import StagedDirectory

NAME = 'metrics.jsonl'
BROKEN = f'{NAME}.broken'


class JsonLines(FileLogger):
    """The file of a run that goes on after `start_step`.

    Its later lines are dropped, as they are written again, and what is no line of metrics is moved to
    metrics.jsonl.broken.
    """

    def __init__(self, workdir: epath.PathLike, start_step: int, say: Say):
        super().__init__(workdir)
        self._start_step = start_step
        self._say = say

    def scalars(self, step: int, values: dict[str, Any]) -> None:
        self._append(format_line(step, values))

    def _make_file(self, staged: StagedDirectory) -> AppendFile:
        # In a store the file is not here yet.
        self._fetch(staged, NAME)
        path = staged.local / NAME
        if path.exists():
            self._mend(staged, path)
        return AppendFile(path, end=b'\n')

    def _mend(self, staged: StagedDirectory, path: epath.Path) -> None:
        """Leave the lines of metrics up to the start alone in the file, and move broken ones aside."""
        content = path.read_bytes()
        lines, broken = sort_lines(content, self._start_step)
        if broken:
            self._fetch(staged, BROKEN)
            aside = path.parent / BROKEN
            before = aside.read_bytes() if aside.exists() else b''
            # It ends with them already where this was interrupted.
            if not before.endswith(broken):
                write_atomically(aside, before + broken)
            count = broken.count(b'\n')
            self._say(f'{self._directory / NAME}: {count} broken line{"s" * (count > 1)} moved to {BROKEN}')
        # A file that is as it should be is not written anew at every start.
        if lines != content:
            write_atomically(path, lines)

    def _fetch(self, staged: StagedDirectory, name: str) -> None:
        try:
            staged.fetch(name)
        except Exception as error:  # stores raise whatever their clients do
            raise OSError(f'{self._directory / name} cannot be read ({error})') from error


def sort_lines(content: bytes, last_step: int) -> tuple[bytes, bytes]:
    """Return the lines of metrics up to `last_step`, and those that are no lines of metrics, each with its end."""
    lines = []
    broken = []
    for line in content.split(b'\n'):
        if not line.strip():
            continue
        step = read_step(line)
        if step is None:
            broken.append(line + b'\n')
        elif step <= last_step:
            lines.append(line + b'\n')
    return b''.join(lines), b''.join(broken)


def read_step(line: bytes) -> int | None:
    """Return the step of a line of metrics; None if it is none."""
    try:
        values = parse_json(line.decode(), NAME)
    except (UnicodeDecodeError, UserError):
        return None
    step = values.get('step') if isinstance(values, dict) else None
    return step if type(step) is int and step >= 0 else None


def format_line(step: int, values: dict[str, Any]) -> bytes:
    """Return the line of a step's values, in strict JSON and UTF-8."""
    not_finite: dict[str, str] = {}
    plain = {name: _to_json(value, name, not_finite) for name, value in values.items()}
    note = {'not_finite': not_finite} if not_finite else {}
    return (json.dumps({'step': int(step), **plain, **note}, allow_nan=False) + '\n').encode()


def _to_json(value: Any, name: str, not_finite: dict[str, str]) -> Any:
    """Return a value that strict JSON knows; numbers that it does not know are noted in `not_finite`."""
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _to_json(item, f'{name}.{key}', not_finite) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(item, f'{name}.{number}', not_finite) for number, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        not_finite[name] = str(value)  # 'nan', 'inf', '-inf'
        return None
    # A file's name need not be UTF-8.
    if isinstance(value, str):
        return value.encode(errors='backslashreplace').decode()
    return value
