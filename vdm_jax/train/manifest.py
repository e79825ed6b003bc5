"""The size and sha256 of every file of a checkpoint, beside them: Orbax itself restores flipped bits without a word.

manifest_I_of_N.json lies in the step's own directory, so that it goes where the step goes; process I of N wrote it, for
the files that are its own. Any number of processes can check it later.
"""

import functools
import hashlib
import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple, TypeGuard

from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.files import check_regular, digest_json, is_local, read_json, write_atomically
from vdm_jax.train import markers
from vdm_jax.train.remote_files import walk_files

NAME = re.compile(r'manifest_(\d+)_of_(\d+)\.json')
BLOCK = 2**22  # bytes read at once; hashing them frees the GIL

Entry = list[Any]  # [bytes, sha256] of a file, as JSON has it
Files = dict[str, Entry]  # by name below the step's directory


class Integrity(NamedTuple):
    """Whether a checkpoint's files are as they were written.

    Attributes:
      verdict: 'intact', every file is as it was written; 'unverified', no damage was seen, but not every file has a
        known sha256; 'damaged'; 'removed', the step is not there any more.
      why: What is wrong, '' where nothing is.
    """

    verdict: Literal['intact', 'unverified', 'damaged', 'removed']
    why: str = ''

    def __str__(self) -> str:
        return ': '.join(filter(None, self))


def write(directory: epath.Path, host: int = 0, hosts: int = 1) -> None:
    """Hash what process `host` of `hosts` wrote into a complete step, and write its manifest."""
    files = {name: hash_file(path) for name, path in list_files(directory) if owner(name, hosts) == host}
    text = json.dumps({'files': files, 'sha256': digest_json(files)}, indent=1)
    write_atomically(directory / f'manifest_{host}_of_{hosts}.json', text)


def has_manifest(directory: epath.Path) -> bool:
    """Return whether a step has any manifest: none is written before the step is complete."""
    return any(NAME.fullmatch(path.name) for path in directory.iterdir())


def check(directory: epath.Path, host: int = 0, hosts: int = 1) -> Integrity:
    """Compare the share of process `host` of `hosts` of a step's files with its manifests."""
    try:
        names = sorted(path.name for path in directory.iterdir() if not path.is_dir())
    except FileNotFoundError:
        return Integrity('damaged', 'it is missing')
    manifests = {name: match for name in names if (match := NAME.fullmatch(name))}

    if damage := _find_irregular_file(directory):
        return Integrity('damaged', damage)
    if not any(path.is_dir() for path in directory.iterdir()):
        return Integrity('damaged', 'it holds nothing')
    if not manifests:
        return Integrity('unverified', 'no manifest, as of a run that was killed before it wrote one')

    # Any number of processes can check it, so each reads all manifests and hashes its share.
    files: Files = {}
    for name in manifests:
        try:
            files |= read(directory / name)
        except UserError as error:
            return Integrity('damaged', str(error))
    if damage := _find_damage(directory, files, host, hosts):
        return Integrity('damaged', damage)

    # A process that was killed early leaves the step without the hashes of its own files.
    expected = {int(match[2]) for match in manifests.values()}
    if expected != {len(manifests)}:
        return Integrity('unverified', f'{len(manifests)} of {max(expected)} manifests')
    return Integrity('intact')


def _find_irregular_file(directory: epath.Path) -> str:
    """Return what is wrong with the first file that is no regular one, '' where all are.

    All files are looked at, whatever manifests say: Orbax opens what is there, and waits for a pipe.
    """
    if not is_local(directory):
        return ''
    try:
        for name, path in list_files(directory):
            check_regular(path, called=name)
    except FileNotFoundError:  # it is being removed
        return 'it is missing'
    except UserError as error:
        return str(error)
    return ''


def _find_damage(directory: epath.Path, files: Files, host: int, hosts: int) -> str:
    """Return what is wrong with the first file of a process's share that is not as its manifest says, '' for none."""
    # Large files first, so that no thread begins one when the others are done.
    largest_first = sorted(files, key=lambda name: (-files[name][0], name))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        compare = functools.partial(_compare, directory, files)
        # In stripes, so that each process has as many of the large ones.
        for damage in pool.map(compare, largest_first[host::hosts]):
            if damage:
                # One file condemns the step: the others need no hashing.
                pool.shutdown(cancel_futures=True)
                return damage
    return ''


def _compare(directory: epath.Path, files: Files, name: str) -> str:
    """Return what is wrong with a file, '' for nothing."""
    path = directory / name
    expected_size, expected_sha256 = files[name]
    try:
        if not path.exists():
            return f'{name} is missing'
        size = check_regular(path, called=name)
        if size != expected_size:
            return f'{name} has {size} bytes of {expected_size}'
        _, sha256 = hash_file(path)
    except FileNotFoundError:
        return f'{name} is missing'
    except UserError as error:
        return str(error)
    except OSError as error:
        return f'{name} cannot be read ({error})'
    return '' if sha256 == expected_sha256 else f'{name} has other bits than were written (sha256)'


def read(path: epath.Path) -> Files:
    """Return the files that a manifest names.

    Raises:
      UserError: It is not there, or not as it was written, or names files that are not of its own step.
    """
    if not path.exists():
        raise UserError(f'{path.name} is missing')
    try:
        values = read_json(path)
        files = values['files']
        intact = isinstance(files, dict) and values['sha256'] == digest_json(files)
    # A foreign file may be JSON of any shape, and nested deeper than Python goes.
    except (UserError, KeyError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise UserError(f'{path.name} is not as it was written')

    # Whoever wrote a manifest may have named any file of this machine.
    for name, entry in files.items():
        if not (is_below(name) and is_entry(entry)):
            raise UserError(f'{path.name} speaks of {name!r:.80}, which is no file of this step')
    checked: Files = files
    return checked


def is_below(name: str) -> bool:
    """Return whether a file's name stays below the directory that it is looked for in."""
    parts = name.split('/')
    return '\0' not in name and '\\' not in name and not {'', '.', '..'} & {*parts}


def is_entry(entry: object) -> TypeGuard[Entry]:
    """Return whether a value is [bytes, sha256]."""
    if not isinstance(entry, list) or len(entry) != 2:
        return False
    size, sha256 = entry
    return type(size) is int and size >= 0 and isinstance(sha256, str)


def list_steps(directory: epath.Path) -> list[int]:
    """Return the steps that a directory of checkpoints has directories of, complete or not, oldest first."""
    if not directory.exists():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if re.fullmatch('0|[1-9][0-9]{0,17}', path.name))


def list_files(directory: epath.Path) -> list[tuple[str, epath.Path]]:
    """Return (name below the directory, path) of each file that a manifest names: neither markers nor manifests."""
    files = []
    for path in walk_files(directory):
        name = path.relative_to(directory).as_posix()
        if path.name not in markers.NAMES and not name.startswith('manifest_'):
            files.append((name, path))
    return files


def owner(name: str, hosts: int) -> int:
    """Return the process that wrote a file: Orbax keeps apart what each writes, and process 0 writes the rest."""
    match = re.search(r'(?:^|[/.])process_(\d+)(?:/|$)', name)
    return int(match[1]) % hosts if match else 0


def hash_file(path: epath.Path) -> Entry:
    """Return [bytes, sha256] of a file."""
    size = 0
    sha256 = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(BLOCK):
            size += len(block)
            sha256.update(block)
    return [size, sha256.hexdigest()]
