"""The metadata of a directory of latents: about.json, how much of each part is done, and the layout of its rows.

Version 3 carries sha256: about.json and done-* their own, done-* that of told-*, and each row of told-* that of its
moments. Version 2 has none; it is read as it is, unverified.
"""

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from vdm_jax.data.json_values import JsonValues, is_integer
from vdm_jax.data.npy import DIGEST
from vdm_jax.errors import UserError
from vdm_jax.files import SHA256, parse_json, read_bytes, seal, unseal, write_atomically

VERSION = 3
UNVERIFIED = 2  # the version without sha256
ABOUT = 'about.json'

# Kinds of files of a part: moments of the posterior, the conditions of its clips, and how far it is.
MOMENTS = 'moments'
CONDITIONS = 'told'
PROGRESS = 'done'

# As many as five digits in a file's name tell apart.
MAX_PARTS = 99_999
SMALL = 2**24  # bytes of about.json and done-*, at most
# Of a row of told-*, beside the scalars: no scalar can be called so.
OTHER_FIELDS = 'label', 'drawn', 'sha256'

Directory = str | os.PathLike[str]
About = dict[str, Any]  # the content of about.json: see store.LatentSet.about


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a part is, the content of done-*.

    Attributes:
      done: Clips and views that are done.
      sha256: Of its told-* up to there, '' in version 2.
    """

    done: int = 0
    sha256: str = ''

    def encode(self) -> str:
        """Return the content of done-*."""
        # A directory that version 2 began goes on as it was begun.
        if not self.sha256:
            return str(self.done)
        return json.dumps(seal({'done': self.done, CONDITIONS: self.sha256}))


def part_file(kind: str, number: int, parts: int) -> str:
    """Return the name of one part's file; kind is MOMENTS, CONDITIONS or PROGRESS."""
    return f'{kind}-{number:05}-of-{parts:05}' + ('' if kind == PROGRESS else '.npy')


def part_bounds(count: int, parts: int) -> np.ndarray:
    """Return the first clip of each part, and the number of all: int64 (parts + 1,)."""
    # In whole numbers, so that every machine comes to the same bounds.
    return np.arange(parts + 1) * count // parts


def is_verified(about: About) -> bool:
    """Whether latents carry the sha256 of what they are."""
    return bool(about['version'] > UNVERIFIED)


def conditions_dtype(about: About) -> np.dtype[Any]:
    """Return the type of a clip's conditions: its label, its scalars, and what was drawn for it."""
    fields: list[Any] = [('label', '<i4')]
    fields += [(name, '<f4') for name in about['scalars']]
    if about['drawn']:
        fields.append(('drawn', '<f8', (about['drawn'],)))
    return np.dtype(fields)


def row_dtype(about: About) -> np.dtype[Any]:
    """Return the type of a row of told-*.npy: the conditions, and the digest of its moments (npy.digest_of)."""
    conditions = conditions_dtype(about)
    return np.dtype(conditions.descr + [('sha256', DIGEST)]) if is_verified(about) else conditions


def read_about(directory: Directory, where: str) -> About | None:
    """Return about.json of a directory, None where there is none.

    Raises:
      UserError: it is damaged, or of another version.
    """
    path = Path(directory) / ABOUT
    if not path.exists():
        return None
    called = f'{where}: {ABOUT}'
    try:
        values = parse_json(read_bytes(path, SMALL, called), called)
        known = JsonValues(values, called)
        if values.get('version') not in (VERSION, UNVERIFIED):
            raise UserError(f'{where}: latents of another version of vdm_jax')
        # `unseal` lets values without a seal through, as version 2 has none: from version 3 on it is wanted.
        if values['version'] == VERSION:
            known.sha256(SHA256)
        values = unseal(values, called)
        _check_values(JsonValues(values, called), values)
    except UserError as error:
        raise UserError(f'{error}; make them anew, in another directory') from None
    return values


def _check_values(about: JsonValues, values: About) -> None:
    count = about.integer('count', 1, 2**40)
    views = about.integer('views', 1, 2**16)
    # No part is empty.
    about.integer('parts', 1, min(count, MAX_PARTS))
    dtype = about.text('dtype', ('float16', 'float32'))
    shape = about.integers('shape', 1, 4)
    drawn = about.integer('drawn', 0, 2**16)
    about.mapping('made')
    scalars = about.texts('scalars')
    if set(scalars) & {*OTHER_FIELDS, ''}:
        raise about.error('scalars', 'names of numbers')
    if values.get('seed') is not None and not is_integer(values['seed'], -(2**63)):
        raise about.error('seed', 'a whole number or null')

    # In whole numbers of any length: a damaged shape must not overflow.
    row_bytes = np.dtype(dtype).itemsize * math.prod(shape) + 8 * drawn
    if count * views * row_bytes > 2**62:
        raise about.error('shape', 'one of which so many clips fit on a disk')


def write_about(directory: Directory, about: About) -> None:
    """Write about.json."""
    write_atomically(Path(directory) / ABOUT, json.dumps(seal(about), indent=1))


def read_progress(directory: Directory, number: int, parts: int) -> Progress:
    """Return how far a part is.

    Raises:
      UserError: done-* is damaged.
    """
    path = Path(directory) / part_file(PROGRESS, number, parts)
    if not path.exists():
        return Progress()
    try:
        values = parse_json(read_bytes(path, SMALL), str(path))
        if is_integer(values):  # of version 2
            return Progress(values)
        known = JsonValues(values, str(path))
        known.sha256(SHA256)
        unseal(values, str(path))
        return Progress(known.integer('done'), known.sha256(CONDITIONS))
    except UserError as error:
        raise UserError(f'{error}; remove {path.parent} and make the latents anew') from None


def count_done(directory: Directory, about: About) -> int:
    """Return how many clips and views of all parts are there."""
    parts = about['parts']
    return sum(read_progress(directory, number, parts).done for number in range(parts))


def check_same_encoding(where: str, there: dict[str, Any], here: dict[str, Any]) -> None:
    """Check that latents were made with what is `here`: {what: JSON value}, 'weights' the sha256 of the codec's.

    Raises:
      UserError: something is another one `there`; both hashes are named where it is the codec.
    """
    # Latents of earlier versions do not say it: pixels were as they are stored.
    there = {what: 'stored' for what in here if what.endswith('.pixel_aspect')} | there
    names = [what for what in {**here, **there} if there.get(what) != here.get(what)]
    if not names:
        return

    differences = [f'{what} {there.get(what)}, and this run has {here.get(what)}' for what in names]
    if 'weights' not in names:
        raise UserError(f'{where}: made with {differences[0]}; name another directory')
    codec = next((f' ({each})' for each in differences if each.startswith('config.codec')), '')
    raise UserError(
        f'{where}: made by another codec{codec}: its weights have sha256 {there.get("weights")}, those of this run '
        f'{here.get("weights")}; take the codec that made them, or name another directory'
    )
