"""What is being built in a directory, so that a build that goes on, or is asked for again, is the same one."""

import contextlib
import fcntl
import json
import os
import platform
from importlib import metadata
from typing import TextIO

from data_pipelines.build import part_files
from data_pipelines.build.assemble import store
from data_pipelines.build.recipe import Limits, Recipe
from data_pipelines.inputs import changes
from data_pipelines.inputs.listing import Listing
from data_pipelines.inputs.table import read_inputs
from vdm_jax import __version__
from vdm_jax.config import differences
from vdm_jax.data.set_manifest import MANIFEST, read_manifest
from vdm_jax.errors import UserError

WORK = 'work'  # the folder in DIR that is there while the build is not finished
STATE = 'build.json'  # in it
# Keys of recipes that came later, with what was done before there was a choice.
LATER_KEYS = {'clips': {'pixel_aspect': 'stored'}, 'limits': {'index_pixels': Limits().index_pixels}}
PACKAGES = (
    'numpy',
    'av',
    'pillow',
    'opencv-python-headless',
    'scenedetect-headless',
    'imagehash',
    'msgpack',
    'array_record',
    'pyarrow',
)


def begin(out: str, listing: Listing, recipe: Recipe) -> tuple[str, dict, TextIO] | None:
    """(the folder to work in; what the set was begun with: {recipe, versions, listed: the digest of each item by name,
    ignored_files, unused_columns}, and `began`, when; the lock on the folder, which is to be closed), or None where the
    set is finished.

    Raises: UserError for a directory that holds something else, was begun with another recipe, source or versions, or
    where another build is at work.
    """
    about = {'recipe': recipe.as_dict(), 'versions': versions(), 'listed': changes.digests(listing.items)}
    about |= {'ignored_files': dict(listing.ignored), 'unused_columns': list(listing.unused)}
    folder, manifest = os.path.join(out, WORK), os.path.join(out, MANIFEST)
    if os.path.exists(manifest):
        listed, read = _read_finished(out, manifest)
        finished = about | {'recipe': read_manifest(out)['recipe'], 'listed': listed}
        _compare(out, finished, about, listing.items, read)
        return None
    state = os.path.join(folder, STATE)
    if not os.path.exists(state) and (strange := sorted(set(os.listdir(out)) - {WORK} if os.path.isdir(out) else ())):
        raise UserError(f'--out={out} holds {strange[0]}, which is no build that was begun; name an empty directory')
    os.makedirs(folder, exist_ok=True)
    with contextlib.ExitStack() as until_here:
        locked = until_here.enter_context(lock(folder))  # before a look at what another one may be about to write
        if os.path.exists(manifest):  # of a build that has ended just now
            return begin(out, listing, recipe)
        if os.path.exists(state):
            there = _read(state, out)
            _compare(out, there, about, listing.items, _read_parts(folder, listing.items))
            about = there
        else:
            for name in part_files.FOLDERS:  # made here alone, so that a worker left over from before makes no new ones
                os.makedirs(os.path.join(folder, name), exist_ok=True)
            store(state, json.dumps(about, ensure_ascii=False).encode())
        about['began'] = os.stat(state).st_mtime
        until_here.pop_all()
    return folder, about, locked


def lock(folder: str) -> TextIO:
    """An open file that keeps other builds out of the folder, until it is closed or its process ends.

    Raises: UserError where another one is at work.
    """
    file = open(os.path.join(folder, 'lock'), 'w')  # open for as long as the build runs
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(f'--out={os.path.dirname(folder)}: another build is at work there; wait for it') from None
    except OSError:  # a file system without locks
        pass
    return file


def versions() -> dict[str, str]:
    """Of everything that has a say in what comes out."""
    found = {'vdm_jax': __version__, 'python': platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # another build of it (opencv-python), or not needed by the recipe
            continue
    return found


def _compare(out, old, new, items, read):
    what = None
    recipe = old['recipe'] | {group: keys | old['recipe'].get(group, {}) for group, keys in LATER_KEYS.items()}
    if changed := differences(recipe, new['recipe'], 'recipe'):
        key, (before, now) = next(iter(changed.items()))
        what = f'{key} was {before}, now it is {now}'
    elif changed := differences(old['versions'], new['versions'], 'version of'):
        key, (before, now) = next(iter(changed.items()))
        what = f'{key.replace(".", " ", 1)} was {before}, now it is {now}'
    else:
        what = changes.difference(items, old['listed'], new['listed'], read)
    if what:
        raise UserError(f'--out={out} was begun with something else: {what}; name another directory, or remove it')


def _read_finished(out, manifest):
    """({name: digest} of all inputs, {name: (sha256, when)} of those that were read) of a finished set."""
    table = read_inputs(out, ['input', 'listed', 'sha256'])
    rows = [row for row in table.to_pylist() if row['listed'] is not None]
    began = os.stat(manifest).st_mtime  # assemble.py gives it the time at which the build began
    read = {row['input']: (row['sha256'], began) for row in rows if row['sha256'] is not None}
    return {row['input']: row['listed'] for row in rows}, read


def _read_parts(folder, items):
    """{name: (sha256, when)} of the inputs that have a part."""
    read = {}
    for item in items:
        path = part_files.path_of(folder, item.name)
        part = part_files.index(path)
        if part is not None and part['input']['sha256'] is not None:
            read[item.name] = part['input']['sha256'], os.stat(path).st_mtime
    return read


def _read(path, out):
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        raise UserError(f'--out={out}: {os.path.basename(path)} cannot be read: {error}') from None
