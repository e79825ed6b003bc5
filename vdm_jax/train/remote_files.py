"""Files in object stores, which know neither append nor rename nor lock.

What grows or is written piece by piece is written to local files, and copied to the store file by file.
"""

import contextlib
import os
import re
import shutil
import tempfile

from etils import epath

from vdm_jax.errors import UserError, first_line
from vdm_jax.files import HALF, explain_refusal, is_local


def check_writable(option: str, path: str, is_file: bool = False) -> None:
    """Check that a directory of a store can be written: write an object there and remove it.

    Args:
      option: The command's, for messages.
      path: The directory, or a file whose directory is meant.
      is_file: Which of the two.

    Raises:
      UserError: See files.check_store; or there is no such bucket, or nothing may be written into it.
    """
    if is_file and not re.fullmatch(r'\w+://[^/]+/.*[^/]', path):
        raise UserError(f'{option}={path}: names no file in the bucket')

    directory = epath.Path(path).parent if is_file else epath.Path(path)
    probe = directory / f'.vdm_jax_{os.urandom(8).hex()}'
    with explain_refusal(f'{option}={path}'):
        probe.write_bytes(b'can be written')
    # Where one may write and not remove, it stays.
    with contextlib.suppress(Exception):
        probe.unlink()


def walk_files(directory: epath.Path) -> list[epath.Path]:
    """Return every file in a directory and below, sorted; epath itself has no recursive glob.

    Left out are links to directories, which may lead anywhere, and back, and what another process or thread is writing.
    """
    files = []
    for path in sorted(directory.iterdir()):
        if path.name.endswith(HALF):
            continue
        if not path.is_dir():
            files.append(path)
        elif not (is_local(path) and os.path.islink(path)):
            files += walk_files(path)
    return files


def copy_files(source: epath.Path, target: epath.Path) -> None:
    """Copy every file below `source` to the same path below `target`, each in one go."""
    for file in walk_files(source):
        copy = target / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())


class StagedDirectory:
    """A directory to write into with ordinary files, wherever it is.

    Only complete files are ever written to a store, each in one go.

    Attributes:
      directory: Where the files end up.
      local: Where to write them: the directory itself, or a copy of it on this machine, which `push` uploads.
    """

    def __init__(self, directory: epath.PathLike):
        self.directory = epath.Path(directory)
        self._temporary = None if is_local(directory) else tempfile.mkdtemp(prefix='vdm_jax_')
        self.local = self.directory if self._temporary is None else epath.Path(self._temporary)
        self._pushed: dict[epath.Path, tuple[int, float]] = {}  # length and time of change of what the store has
        # Of a store this is the temporary directory, which is there already.
        self.local.mkdir(parents=True, exist_ok=True)

    def fetch(self, name: str) -> None:
        """Bring one file of the store into `local`, if the store has it."""
        source = self.directory / name
        if self._temporary and source.exists():
            (self.local / name).write_bytes(source.read_bytes())

    def push(self) -> None:
        """Upload every file that has changed since the last push."""
        if not self._temporary:
            return
        for file in walk_files(self.local):
            try:
                version = (file.stat().length, file.stat().mtime)
                if self._pushed.get(file) == version:
                    continue
                content = file.read_bytes()
            except FileNotFoundError:
                # Another process writes here too, and has removed it.
                continue
            target = self.directory / file.relative_to(self.local)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            self._pushed[file] = version

    def close(self) -> None:
        """Push what is left and remove the local copy.

        Raises:
          OSError: The store does not take it; the copy stays.
        """
        try:
            self.push()
        except Exception as error:  # stores raise whatever their clients do
            raise OSError(f'{self.directory}: {first_line(error)}; what it lacks stays in {self.local}') from error
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)
