"""DIR/manifest.json of a set of records: what the build put into it, with the sha256 of each file and of itself."""

import os
from typing import Any

from vdm_jax.data.json_values import JsonValues, is_local_name
from vdm_jax.errors import UserError
from vdm_jax.files import read_json, unseal

# Written last: a directory that has it is finished.
MANIFEST = 'manifest.json'
FORMAT = 1
FILES = 'shards', 'tables'  # lists of files in it
SMALL = 2**28  # bytes of a manifest, at most: a million shards


def read_manifest(directory: str) -> dict[str, Any]:
    """Return the manifest of the set in a directory.

    Raises:
      UserError: there is none, one that is damaged, or one that says what no build writes.
    """
    path = os.path.join(directory, MANIFEST)
    if not os.path.exists(path):
        raise UserError(f'{directory}: no {MANIFEST} there, so no finished set; let its build go on to the end')
    try:
        manifest = read_json(path, SMALL)
        if not isinstance(manifest, dict) or manifest.get('format') != FORMAT:
            raise UserError(f'{path} is no manifest of format {FORMAT}')
        manifest = unseal(manifest, path)
        _check_values(manifest, path)
    except UserError as error:
        raise UserError(f'{error}; build the set anew') from None
    return manifest


def sha256_of(directory: str, name: str) -> str | None:
    """Return the sha256 that a file of a set had when it was built, None in a directory without a manifest.

    Raises:
      UserError: the manifest is damaged, or does not know the file.
    """
    # A set that was written by hand has none.
    if not os.path.exists(os.path.join(directory, MANIFEST)):
        return None
    manifest = read_manifest(directory)
    hashes: dict[str, str] = {file['name']: file['sha256'] for kind in FILES for file in manifest[kind]}
    if name not in hashes:
        raise UserError(f'{os.path.join(directory, MANIFEST)}: does not know {name}; build the set anew')
    return hashes[name]


def _check_values(manifest: dict[str, Any], path: str) -> None:
    """Check that a manifest says what a build writes.

    Raises:
      UserError: it says something else.
    """
    values = JsonValues(manifest, path)
    _check_files(manifest, path)
    for name in ('inputs', 'clips'):
        values.counts(name)
    reasons = JsonValues(values.mapping('reasons'), f'{path}: reasons')
    for name in ('inputs', 'clips'):
        reasons.counts(name)
    values.integer('frames')
    values.number('seconds')
    for name in ('recipe', 'versions'):
        values.mapping(name)
    if 'kept' not in manifest['clips']:
        raise values.error('clips', 'how many were kept')
    if 'ignored_files' in manifest:
        values.counts('ignored_files')
    if 'unused_columns' in manifest:
        values.texts('unused_columns')


def _check_files(manifest: dict[str, Any], path: str) -> None:
    """Check the lists of files: their sizes, hashes, and that names are those of different files in the set."""
    names: set[str] = set()
    for kind in FILES:
        files = manifest.get(kind)
        if not isinstance(files, list):
            raise JsonValues(manifest, path).error(kind, 'a list of files')
        for about in files:
            file = JsonValues(about, f'{path}: a file of {kind}')
            file.integer('bytes')
            file.sha256('sha256')
            # Names are opened: one that led out of the set would have any file of this machine read.
            if not is_local_name(about.get('name')) or about['name'] in names:
                raise file.error('name', 'the name of a file in the set, each another one')
            names.add(about['name'])
