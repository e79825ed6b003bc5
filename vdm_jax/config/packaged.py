"""Find the experiments that come with the package by name, from any directory.

vdm_jax/experiments holds them: in a checkout it is a link to experiments/ at its top, in an installed package it is a
folder of files. They are files to this module; nothing imports them.
"""

import difflib
import os
import re
from pathlib import Path

from vdm_jax.errors import UserError

FOLDER = (Path(__file__).parents[1] / 'experiments').resolve()
WORD = 'experiments'  # the folder's name in commands, which is that of the checkout


def list_files(suffix: str = '.py') -> dict[str, Path]:
    """Return {name: file} of the experiments, or of the files beside them with another suffix, sorted by name."""
    files = sorted(FOLDER.glob(f'*{suffix}'))
    return {file.stem: file for file in files if file.stem != '__init__'}


def find_file(path: str, suffix: str = '.py') -> str | None:
    """Return the package's file that 'experiments/NAME.py', 'NAME.py' or 'NAME' means, None where it means none.

    A file of that very name on this machine comes first; that is for the caller to see.
    """
    # Any other folder is one of the user's own, in which a file is missing.
    parts = Path(path).parts
    if not parts or parts[:-1] not in ((), (WORD,)):
        return None
    file = list_files(suffix).get(parts[-1].removesuffix(suffix))
    return str(file) if file else None


def find_experiment(spec: str) -> tuple[str, str]:
    """Return ('path/to/file.py', 'ARG') of --config=path/to/file.py:ARG; ARG is '' where it has none.

    Where there is no such file, it is the package's own experiment of that name.

    Raises:
      UserError: There is no such file, or it is no Python.
    """
    path, arg = _split(spec)
    # A user's own file comes before the package's of the same name.
    if path.endswith('.py') and os.path.isfile(path):
        return path, arg
    if packaged_file := find_file(path):
        return packaged_file, arg
    mistake = f'{path} is no Python file' if os.path.exists(path) else f'no file {path}'
    raise UserError(f'--config={spec}: {mistake}; {_hint(path)}')


def find_weights(path: str) -> str:
    """Return the file of --weights=PATH or --from=PATH; where there is none, the package's own weights of that name.

    A path that names neither comes back as it is: whoever reads it says what is wrong.
    """
    if os.path.exists(path):
        return path
    return find_file(path, '.safetensors') or path


def _split(spec: str) -> tuple[str, str]:
    """Return (path, ARG); a folder may have a colon in its name where the file's own ends in .py."""
    match = re.match(r'(.*?\.py)(?::(.*))?$', spec, flags=re.S)
    if match:
        return match[1], match[2] or ''
    name, _, arg = spec.partition(':')
    return name, arg


def _hint(path: str) -> str:
    """Return what is near to a name that is no experiment's, and where those of the package are."""
    known = list(list_files())
    # A file whose suffix was left out is nearer than any experiment.
    near = [f'{path}.py'] if os.path.isfile(f'{path}.py') else []
    near += difflib.get_close_matches(Path(path).stem, known, 1)
    guess = f'did you mean {near[0]!r}? ' if near else ''
    return f'{guess}the experiments of this package are {", ".join(known) or "not there"}, in {FOLDER}/'
