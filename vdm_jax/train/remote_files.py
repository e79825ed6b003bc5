"""Files that grow or are written piece by piece, for stores that know neither append nor rename nor lock."""

import contextlib
import os
import re
import shutil
import tempfile

from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.files import HALF, explain_refusal, is_local


def try_writing(option: str, place: str, file: bool = False) -> None:
    """Whether a directory of a store, or that of a file, can be written: writes an object there and removes it.

    Raises:
      UserError: see files.check_store; or there is no such bucket, or nothing may be written into it.
    """
    if file and not re.fullmatch(r'\w+://[^/]+/.*[^/]', place):
        raise UserError(f'{option}={place}: names no file in the bucket')
    directory = epath.Path(place).parent if file else epath.Path(place)
    probe = directory / f'.vdm_jax_{os.urandom(8).hex()}'
    with explain_refusal(f'{option}={place}'):
        probe.write_bytes(b'can be written')
    with contextlib.suppress(Exception):  # where one may write and not remove, it stays
        probe.unlink()


def files_below(directory: epath.Path) -> list[epath.Path]:
    """Every file in a directory and below, sorted (epath itself has no recursive glob).

    Left out are links to directories, which may lead anywhere, and back, and what another process or thread is writing.
    """
    found = []
    for path in sorted(directory.iterdir()):
        if path.name.endswith(HALF):
            continue
        if not path.is_dir():
            found.append(path)
        elif not (is_local(path) and os.path.islink(path)):
            found += files_below(path)
    return found


def copy_below(source: epath.Path, target: epath.Path) -> None:
    """Copies every file below `source` to the same place below `target`, whole."""
    for file in files_below(source):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())


class Mirror:
    """A directory to write into with ordinary files: `local` is the place itself, or a copy of it that `push` uploads.

    Only whole files are ever written to the store, each in one go.
    """

    def __init__(self, directory):
        self.directory = epath.Path(directory)
        self._temporary = None if is_local(directory) else tempfile.mkdtemp(prefix='vdm_jax_')
        self.local = self.directory if is_local(directory) else epath.Path(self._temporary)
        self._pushed = {}
        self.local.mkdir(parents=True, exist_ok=True)

    def fetch(self, name: str) -> None:
        """Brings one file of the store into `local`, if the store has it."""
        source = self.directory / name
        if self._temporary and source.exists():
            (self.local / name).write_bytes(source.read_bytes())

    def push(self) -> None:
        """Uploads every file that has changed since the last push."""
        if not self._temporary:
            return
        for file in files_below(self.local):
            try:
                state, content = (file.stat().length, file.stat().mtime), None
                content = file.read_bytes() if self._pushed.get(file) != state else None
            except FileNotFoundError:  # another process writes here too, and has removed it
                continue
            if content is not None:
                target = self.directory / file.relative_to(self.local)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                self._pushed[file] = state

    def close(self) -> None:
        """Pushes what is left and removes the local copy.

        Raises:
          OSError: the store does not take it; the copy stays.
        """
        try:
            self.push()
        except Exception as error:  # stores raise whatever their clients do
            raise OSError(f'{self.directory}: {error}; what it lacks stays in {self.local}') from error
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)
