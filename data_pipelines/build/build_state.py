"""State of a build in its directory, so that one that goes on, or is asked for again, is the same one."""

import contextlib
import fcntl
import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, TextIO

from data_pipelines.build import part_files
from data_pipelines.build.assemble import store_file
from data_pipelines.build.recipe import Limits, Recipe
from data_pipelines.inputs import changes
from data_pipelines.inputs.item import Item
from data_pipelines.inputs.listing import Listing
from data_pipelines.inputs.table import read_inputs
from vdm_jax import __version__
from vdm_jax.config.schema import find_differences
from vdm_jax.data.records.manifest import MANIFEST, read_manifest
from vdm_jax.errors import UserError

WORK = 'work'  # the folder in DIR that is there while the build is not finished
STATE = 'build.json'  # in it
# Keys of recipes that came later, with what was done before there was a choice.
LATER_KEYS: dict[str, dict[str, Any]] = {
    'clips': {'pixel_aspect': 'stored'},
    'limits': {'index_pixels': Limits().index_pixels},
}
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

ReadInputs = dict[str, tuple[str, float]]  # {name: (sha256, when it was read)}


def open_build(out: str, listing: Listing, recipe: Recipe) -> tuple[str, dict[str, Any], TextIO] | None:
    """Begin a build in a directory, or go on with one.

    Returns:
      None where the set is finished, else (folder, state, lock):
        folder: Where to work.
        state: What the set was begun with: {recipe, versions, listed: the digest of each item by name, ignored_files,
          unused_columns}, and `began`, when.
        lock: The lock on the folder, which is to be closed.

    Raises:
      UserError: the directory holds something else, was begun with another recipe, source or versions, or another build
        is at work there.
    """
    state: dict[str, Any] = {
        'recipe': recipe.as_dict(),
        'versions': collect_versions(),
        'listed': changes.digest_items(listing.items),
        'ignored_files': dict(listing.ignored),
        'unused_columns': list(listing.unused),
    }
    folder = os.path.join(out, WORK)
    manifest = os.path.join(out, MANIFEST)
    if os.path.exists(manifest):
        # Versions are not compared: the set is complete, whatever it was built with.
        listed, read = _read_finished(out, manifest)
        finished = state | {'recipe': read_manifest(out)['recipe'], 'listed': listed}
        _check_same_build(out, finished, state, listing.items, read)
        return None

    state_file = os.path.join(folder, STATE)
    if not os.path.exists(state_file) and os.path.isdir(out):
        others = sorted(set(os.listdir(out)) - {WORK})
        if others:
            raise UserError(f'--out={out} holds {others[0]}, which is no build that was begun; name an empty directory')

    os.makedirs(folder, exist_ok=True)
    with contextlib.ExitStack() as on_error:
        # Before a look at what another build may be about to write.
        lock = on_error.enter_context(lock_folder(folder))
        if os.path.exists(manifest):  # of a build that has ended just now
            return open_build(out, listing, recipe)

        if os.path.exists(state_file):
            begun_state = _read_state(state_file, out)
            _check_same_build(out, begun_state, state, listing.items, _read_parts(folder, listing.items))
            state = begun_state
        else:
            # Made here only, so that a worker left over from a build before makes no new ones.
            for name in part_files.FOLDERS:
                os.makedirs(os.path.join(folder, name), exist_ok=True)
            store_file(state_file, json.dumps(state, ensure_ascii=False).encode())
        state['began'] = os.stat(state_file).st_mtime
        # All went well, so the lock stays until the caller closes it.
        on_error.pop_all()
    return folder, state, lock


def lock_folder(folder: str) -> TextIO:
    """Return an open file that keeps other builds out of the folder, until it is closed or its process ends.

    Raises:
      UserError: another build is at work there.
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


def collect_versions() -> dict[str, str]:
    """Return the versions of everything that has a say in what comes out."""
    versions = {'vdm_jax': __version__, 'python': platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # another build of it (opencv-python), or not needed by the recipe
            continue
    return versions


def _check_same_build(
    out: str, old: Mapping[str, Any], new: Mapping[str, Any], items: Sequence[Item], read: ReadInputs
) -> None:
    """Raise UserError unless a build was begun with the same recipe, versions and source."""
    old_recipe = old['recipe']
    with_later_keys = {group: keys | old_recipe.get(group, {}) for group, keys in LATER_KEYS.items()}
    recipe_changes = find_differences(old_recipe | with_later_keys, new['recipe'], 'recipe')
    version_changes = find_differences(old['versions'], new['versions'], 'version of')

    if recipe_changes:
        key, (before, now) = next(iter(recipe_changes.items()))
        change = f'{key} was {before}, now it is {now}'
    elif version_changes:
        key, (before, now) = next(iter(version_changes.items()))
        change = f'{key.replace(".", " ", 1)} was {before}, now it is {now}'
    else:
        change = changes.find_change(items, old['listed'], new['listed'], read)
    if change:
        raise UserError(f'--out={out} was begun with something else: {change}; name another directory, or remove it')


def _read_finished(out: str, manifest: str) -> tuple[dict[str, str], ReadInputs]:
    """Return ({name: digest} of all inputs, those that were read) of a finished set."""
    table = read_inputs(out, ['input', 'listed', 'sha256'])
    rows = [row for row in table.to_pylist() if row['listed'] is not None]
    began = os.stat(manifest).st_mtime  # assemble.py sets it to the time at which the build began
    read = {row['input']: (row['sha256'], began) for row in rows if row['sha256'] is not None}
    return {row['input']: row['listed'] for row in rows}, read


def _read_parts(folder: str, items: Sequence[Item]) -> ReadInputs:
    """Return the inputs that have a part and were read for it."""
    read: ReadInputs = {}
    for item in items:
        path = part_files.part_path(folder, item.name)
        part = part_files.read_index(path)
        if part is not None and part['input']['sha256'] is not None:
            read[item.name] = part['input']['sha256'], os.stat(path).st_mtime
    return read


def _read_state(path: str, out: str) -> dict[str, Any]:
    try:
        with open(path, encoding='utf-8') as file:
            state: dict[str, Any] = json.load(file)
    except (OSError, ValueError) as error:
        raise UserError(f'--out={out}: {os.path.basename(path)} cannot be read: {error}') from None
    return state
