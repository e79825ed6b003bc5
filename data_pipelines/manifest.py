"""DIR/manifest.json of a set of records: what the build put into it, and what became of its inputs."""

import json
import os

from vdm_jax.errors import UserError

MANIFEST = 'manifest.json'  # written last: a directory that has it is finished
FORMAT = 1


def read_manifest(directory: str) -> dict:
    """The manifest of the set in a directory.

    Raises:
      UserError: there is none, or one that cannot be read.
    """
    path = os.path.join(directory, MANIFEST)
    try:
        with open(path, encoding='utf-8') as file:
            manifest = json.load(file)
    except FileNotFoundError:
        raise UserError(
            f'{directory}: no {MANIFEST} there, so no finished set; let its build go on to the end'
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f'{path} cannot be read: {error}; build the set anew') from None
    if not isinstance(manifest, dict) or manifest.get('format') != FORMAT:
        raise UserError(f'{path} is no manifest of format {FORMAT}; build the set anew with this version')
    return manifest


def printable(text: str) -> str:
    """A name on one line of a terminal, whatever characters a file was called by."""
    return ''.join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
