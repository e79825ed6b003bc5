"""The directory of fetched weights: $XDG_CACHE_HOME/vdm_jax/weights, else ~/.cache/vdm_jax/weights.

Weights lie there as NAME.safetensors, sealed and with their provenance, and what is no tensor as NAME.FILE beside them.
"""

import contextlib
import fcntl
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from vdm_jax import files
from vdm_jax.errors import Failure, UserError
from vdm_jax.pretrained import available, tensors
from vdm_jax.pretrained.available import Weights

FORMAT = 'vdm_jax fetched weights 1'
COMMAND = 'python -m vdm_jax weights fetch'
SCRATCH = '.fetch-'  # how the directory of a fetch begins


def folder() -> Path:
    """Return the directory; it need not be there yet.

    Raises:
      UserError: The user has no home.
    """
    cache = files.user_cache()
    if cache is None:
        raise UserError('weights are kept in the cache directory, and this user has no home: set XDG_CACHE_HOME')
    return Path(cache) / 'weights'


def path_of(weights: Weights) -> Path:
    """Return where the tensors of an entry lie once they are fetched."""
    return folder() / f'{weights.name}.safetensors'


def name_of(path: str) -> str | None:
    """Return the name of the entry whose fetched tensors a path is of, None of any other file."""
    if not os.path.exists(path):
        return None
    entries = (each for each in available.AVAILABLE.values() if is_here(each))
    return next((each.name for each in entries if os.path.samefile(path_of(each), path)), None)


def path_beside(weights: Weights, file_name: str) -> Path:
    """Return where a file that belongs to an entry lies once it is fetched, such as tokenizer.json."""
    return folder() / f'{weights.name}.{file_name}'


def is_here(weights: Weights) -> bool:
    """Return whether files of an entry lie here, all of them; `check` says whether they are undamaged."""
    paths = [path_of(weights), *(path_beside(weights, each.file_name) for each in weights.beside)]
    return all(path.is_file() for path in paths)


def find(name_or_path: str | os.PathLike[str], called: str | None = None) -> str:
    """Return the file that a user means: that of fetched weights where it is a name of the table, else the path itself.

    A name is a name even where a file or directory is called the same, with a warning; ./NAME means that one. Whether
    a path is there is for its reader to say.

    Args:
      name_or_path: As the user gives it.
      called: What messages call it, such as config.reconstruction.lpips_path=lpips.

    Raises:
      UserError: It is a name, and the weights are not here or damaged; says how to fetch them.
    """
    name = os.fspath(name_or_path)
    if name not in available.AVAILABLE:
        return name
    if os.path.lexists(name):
        warnings.warn(f'{called or name}: means the weights of that name; ./{name} means what is here', stacklevel=2)
    called = called or name
    weights = available.get_fetchable(name, called)
    if not is_here(weights):
        raise UserError(f'{called}: these weights are not here yet; {COMMAND} {name}')
    try:
        check_provenance(weights)
    except UserError as error:
        raise UserError(f'{called}: {add_cure(str(error), name)}') from None
    return str(path_of(weights))


def add_cure(message: str, name: str) -> str:
    """Return a message about weights with how to bring them anew, where they are damaged fetched ones."""
    cure = f'{COMMAND} {name}'
    is_damaged = name in available.AVAILABLE and not is_intact(available.get(name))
    return f'{message}; or anew: {cure}' if is_damaged and cure not in message else message


def find_beside(name: str, file_name: str) -> str:
    """Return the path of a file that belongs to fetched weights, such as tokenizer.json of minilm.

    Raises:
      UserError: The weights are not here, or have no such file.
    """
    weights = available.get(name)
    if file_name not in {each.file_name for each in weights.beside}:
        raise UserError(f'{name}: has no {file_name}')
    find(name)
    return str(path_beside(weights, file_name))


def check_provenance(weights: Weights) -> None:
    """Check that what lies here came from the file that the table names; its tensors are not read.

    Raises:
      UserError: It is damaged, or came from another file, such as that of an earlier version.
    """
    path = path_of(weights)
    metadata = tensors.read_header(path, str(path)).metadata
    about = files.parse_json(metadata.get('about', 'null'), f"{path}: its metadata 'about'")
    known = {'name': weights.name, 'sha256': weights.sha256}
    is_from_it = isinstance(about, dict) and {name: about.get(name) for name in known} == known
    if metadata.get('format') != FORMAT or not is_from_it:
        raise UserError(f'{path}: is not from {weights.origin}, sha256 {weights.sha256[:8]}…; {COMMAND} {weights.name}')


def check(weights: Weights) -> int:
    """Check all that lies here of an entry, to the last byte; return how many bytes that are.

    Raises:
      UserError: It is not here, not what was written, or from another file; says what to do.
    """
    if not is_here(weights):
        raise UserError(f'{weights.name}: is not here; {COMMAND} {weights.name}')
    path = path_of(weights)
    num_bytes = path.stat().st_size
    try:
        check_provenance(weights)
        tensors.read(path, str(path))
        for member in weights.beside:
            beside = path_beside(weights, member.file_name)
            content = files.read_bytes(beside, member.size)
            files.check_sha256(content, member.sha256, str(beside))
            num_bytes += len(content)
    except UserError as error:
        cure = f'{COMMAND} {weights.name}'
        raise UserError(str(error) if cure in str(error) else f'{error}; or anew: {cure}') from None
    return num_bytes


def is_intact(weights: Weights) -> bool:
    """Return whether all of an entry is here and undamaged."""
    try:
        check(weights)
    except UserError:
        return False
    return True


def write(weights: Weights, arrays: Mapping[str, np.ndarray], beside: Mapping[str, bytes]) -> None:
    """Write the tensors of an entry, and the files that belong to it by their names.

    Raises:
      OSError: They cannot be written.
    """
    # The tensors last: once they are there all is.
    for file_name, content in beside.items():
        files.write_atomically(path_beside(weights, file_name), content)
    about = json.dumps(weights.provenance, sort_keys=True)
    tensors.write(path_of(weights), arrays, {'format': FORMAT, 'about': about}, seal=True)


@contextlib.contextmanager
def hold() -> Iterator[Path]:
    """Hold the directory while the context is open, so that two fetches follow each other; gives a scratch directory.

    The scratch directory is removed with all in it when the context closes; that of a fetch that was killed, when the
    next one opens.

    Raises:
      Failure: The directory cannot be made or written.
    """
    where = folder()
    try:
        where.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(where, os.O_RDONLY)
    except OSError as error:
        raise _make_unwritable_error(where, error) from None
    try:
        if _lock(descriptor):
            # Nobody else is at work here.
            remove_leftovers(where)
        scratch = where / f'{SCRATCH}{os.urandom(8).hex()}'
        try:
            scratch.mkdir()
        except OSError as error:
            raise _make_unwritable_error(where, error) from None
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    finally:
        # This lets go of the lock, too.
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Wait for the lock of a directory; return False on a file system that has none, where each writes by itself."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def remove_leftovers(where: Path) -> None:
    """Remove what fetches have left behind that were killed."""
    for path in where.glob(f'{SCRATCH}*'):
        shutil.rmtree(path, ignore_errors=True)
    for path in where.glob(f'.*{files.HALF}'):
        with contextlib.suppress(OSError):
            path.unlink()


def _make_unwritable_error(where: Path, error: OSError) -> Failure:
    reason = error.strerror or error
    return Failure(
        f'{where}: cannot be written ({reason}); mend that, or set XDG_CACHE_HOME to a directory of your own'
    )
