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
from typing import Literal, NamedTuple

from etils import epath

from vdm_jax.errors import UserError
from vdm_jax.files import check_regular, digest_json, is_local, read_json, write_whole
from vdm_jax.train import markers
from vdm_jax.train.remote_files import files_below

NAME = re.compile(r'manifest_(\d+)_of_(\d+)\.json')
BLOCK = 2**22  # bytes read at once; hashing them frees the GIL


class Integrity(NamedTuple):
    """intact: every file is as it was written. unverified: no damage found, but not every file has a known sha256.
    gone: the step is not there any more.
    """

    verdict: Literal['intact', 'unverified', 'damaged', 'gone']
    why: str = ''

    def __str__(self):
        return ': '.join(filter(None, self))


def write(directory: epath.Path, host: int = 0, hosts: int = 1) -> None:
    """Hashes what process `host` of `hosts` wrote into a complete step, and writes it down."""
    files = {name: digest(path) for name, path in files_of(directory) if owner(name, hosts) == host}
    text = json.dumps({'files': files, 'sha256': digest_json(files)}, indent=1)
    write_whole(directory / f'manifest_{host}_of_{hosts}.json', text)


def has(directory: epath.Path) -> bool:
    """Whether a step has any manifest: none is written before the step is complete."""
    return any(NAME.fullmatch(path.name) for path in directory.iterdir())


def check(directory: epath.Path, host: int = 0, hosts: int = 1) -> Integrity:
    """Holds the share of process `host` of `hosts` of a step's files against its manifests."""
    try:
        found = {path.name: NAME.fullmatch(path.name) for path in sorted(directory.iterdir()) if not path.is_dir()}
    except FileNotFoundError:
        return Integrity('damaged', 'it is missing')
    manifests = {name: match for name, match in found.items() if match}
    try:  # all of them, whatever manifests say: Orbax opens what it finds, and waits for a pipe
        for name, path in files_of(directory) if is_local(directory) else []:
            check_regular(path, called=name)
    except FileNotFoundError:  # it is being removed
        return Integrity('damaged', 'it is missing')
    except UserError as error:
        return Integrity('damaged', str(error))
    if not any(path.is_dir() for path in directory.iterdir()):
        return Integrity('damaged', 'it holds nothing')
    if not manifests:
        return Integrity('unverified', 'no manifest, as of a run that was killed before it wrote one')
    files = {}
    for name in manifests:
        try:
            files |= read(directory / name)
        except UserError as error:
            return Integrity('damaged', str(error))
    largest_first = sorted(files, key=lambda name: (-files[name][0], name))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        compare = functools.partial(_compare, directory, files)
        for damage in pool.map(compare, largest_first[host::hosts]):
            if damage:
                pool.shutdown(cancel_futures=True)
                return Integrity('damaged', damage)
    wrote = {int(match[2]) for match in manifests.values()}
    if wrote != {len(manifests)}:
        return Integrity('unverified', f'{len(manifests)} of {max(wrote)} manifests')
    return Integrity('intact')


def read(path: epath.Path) -> dict[str, list]:
    """The files that a manifest speaks of: {name below its directory: [bytes, sha256]}.

    Raises:
      UserError: it is gone, or not as it was written, or speaks of files that are not of its own step.
    """
    if not path.exists():
        raise UserError(f'{path.name} is missing')
    try:
        values = read_json(path)
        files = values['files']
        intact = isinstance(files, dict) and values['sha256'] == digest_json(files)
    except (UserError, KeyError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise UserError(f'{path.name} is not as it was written')
    for name, entry in files.items():
        if not (is_below(name) and is_entry(entry)):
            raise UserError(f'{path.name} speaks of {name!r:.80}, which is no file of this step')
    return files


def is_below(name: str) -> bool:
    """Whether a file's name stays below the directory that it is looked for in."""
    parts = name.split('/')
    return '\0' not in name and '\\' not in name and not {'', '.', '..'} & {*parts}


def is_entry(entry) -> bool:
    """Whether this is [bytes, sha256]."""
    if not isinstance(entry, list) or len(entry) != 2:
        return False
    size, sha256 = entry
    return type(size) is int and size >= 0 and isinstance(sha256, str)


def steps_of(directory: epath.Path) -> list[int]:
    """The steps that a directory of checkpoints has directories of, complete or not, oldest first."""
    if not directory.exists():
        return []
    return sorted(int(path.name) for path in directory.iterdir() if re.fullmatch('0|[1-9][0-9]{0,17}', path.name))


def files_of(directory: epath.Path) -> list[tuple[str, epath.Path]]:
    """(name below the directory, path) of each file that a manifest speaks of."""
    named = [(path.relative_to(directory).as_posix(), path) for path in files_below(directory)]
    return [(name, path) for name, path in named if path.name not in markers.NAMES and not name.startswith('manifest_')]


def owner(name: str, hosts: int) -> int:
    """The process that wrote a file: Orbax keeps what each writes apart and has process 0 write the rest."""
    own = re.search(r'(?:^|[/.])process_(\d+)(?:/|$)', name)
    return int(own[1]) % hosts if own else 0


def digest(path: epath.Path) -> list:
    """[bytes, sha256] of a file."""
    size, sha256 = 0, hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(BLOCK):
            size += len(block)
            sha256.update(block)
    return [size, sha256.hexdigest()]


def _compare(directory, files: dict, name: str) -> str:
    """What is wrong with a file, or nothing."""
    path = directory / name
    try:
        if not path.exists():
            return f'{name} is missing'
        size = check_regular(path, called=name)
        if size != files[name][0]:
            return f'{name} has {size} bytes of {files[name][0]}'
        _, sha256 = digest(path)
    except FileNotFoundError:
        return f'{name} is missing'
    except UserError as error:
        return str(error)
    except OSError as error:
        return f'{name} cannot be read ({error})'
    return '' if sha256 == files[name][1] else f'{name} has other bits than were written (sha256)'
