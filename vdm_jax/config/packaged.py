"""The experiments that come with the package, found by name from wherever one stands.

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


def names(suffix: str = '.py') -> dict[str, Path]:
    """{name: file} of what is there, by name: the experiments, or the files beside them with another suffix."""
    files = sorted(FOLDER.glob(f'*{suffix}'))
    return {file.stem: file for file in files if file.stem != '__init__'}


def find(path: str, suffix: str = '.py') -> str | None:
    """The file of the package that 'experiments/NAME.py', 'NAME.py' or 'NAME' means, None where it means none.

    A file of that very name on this machine comes first; that is for the caller to see.
    """
    parts = Path(path).parts
    if not parts or parts[:-1] not in ((), (WORD,)):
        return None
    file = names(suffix).get(parts[-1].removesuffix(suffix))
    return str(file) if file else None


def file_of(spec: str) -> tuple[str, str]:
    """('path/to/file.py', 'ARG') of --config=path/to/file.py:ARG; ARG is '' where it has none.

    Where there is no such file, it is the package's own experiment of that name.

    Raises:
      UserError: there is no such file, or it is no Python.
    """
    path, arg = _split(spec)
    if path.endswith('.py') and os.path.isfile(path):
        return path, arg
    if own := find(path):
        return own, arg
    what = f'{path} is no Python file' if os.path.exists(path) else f'no file {path}'
    raise UserError(f'--config={spec}: {what}; {_hint(path)}')


def weights_file(path: str) -> str:
    """The file of weights that --weights=PATH names; where there is none, the package's own of that name."""
    return path if os.path.exists(path) else find(path, '.safetensors') or path


def _split(spec: str) -> tuple[str, str]:
    """(path, ARG): a folder may have a colon in its name where the file's own ends in .py."""
    with_suffix = re.match(r'(.*?\.py)(?::(.*))?$', spec, flags=re.S)
    if with_suffix:
        return with_suffix[1], with_suffix[2] or ''
    name, _, arg = spec.partition(':')
    return name, arg


def _hint(path: str) -> str:
    """What is near to a name that is no experiment's, and where those of the package are."""
    known = [*names()]
    near = [f'{path}.py'] if os.path.isfile(f'{path}.py') else []
    near += difflib.get_close_matches(Path(path).stem, known, 1)
    guess = f'did you mean {near[0]!r}? ' if near else ''
    return f'{guess}the experiments of this package are {", ".join(known) or "not there"}, in {FOLDER}/'
