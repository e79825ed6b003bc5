"""What a directory of latents says of itself: about.json, how much of each part is done, and how its rows are laid out.

Version 3 carries sha256: about.json and done-* their own, done-* that of told-*, and each row of told-* that of its
moments. Version 2 has none; it is read as it is, unverified.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np

from vdm_jax.data.foreign import Values, is_whole
from vdm_jax.data.npy import DIGEST
from vdm_jax.errors import UserError
from vdm_jax.files import SHA256, parse_json, read_whole, sealed, unsealed, write_whole

VERSION = 3
UNVERIFIED = 2  # the version without sha256
ABOUT = 'about.json'
MOST_PARTS = 99_999
SMALL = 2**24  # bytes of about.json and done-*, at most
OTHER_FIELDS = 'label', 'drawn', 'sha256'  # of a row of told-*, which no scalar can be called


@dataclasses.dataclass(frozen=True)
class Note:
    """How far a part is: clips and views that are done, and sha256 of its told-* up to there, '' in version 2."""

    done: int = 0
    told: str = ''


def part_file(kind: str, number: int, parts: int) -> str:
    """The name of one part's file: kind is moments, told or done."""
    return f'{kind}-{number:05}-of-{parts:05}' + ('' if kind == 'done' else '.npy')


def bounds(count: int, parts: int) -> np.ndarray:
    """The first clip of each part, and the number of all: int64 (parts + 1,)."""
    return np.arange(parts + 1) * count // parts


def is_verified(about: dict) -> bool:
    """Whether latents carry the sha256 of what they are."""
    return about['version'] > UNVERIFIED


def told_dtype(about: dict) -> np.dtype:
    """Of what is told of a view of a clip."""
    scalars = [(name, '<f4') for name in about['scalars']]
    return np.dtype([('label', '<i4'), *scalars] + [('drawn', '<f8', (about['drawn'],))] * bool(about['drawn']))


def row_dtype(about: dict) -> np.dtype:
    """Of a row of told-*.npy: what is told, and the digest of its moments (npy.digest_of)."""
    own = told_dtype(about)
    return np.dtype(own.descr + [('sha256', DIGEST)]) if is_verified(about) else own


def read_about(directory, where: str) -> dict | None:
    """about.json of a directory, None where there is none.

    Raises:
      UserError: it is damaged, or of another version.
    """
    path = Path(directory) / ABOUT
    if not path.exists():
        return None
    called = f'{where}: {ABOUT}'
    try:
        values = parse_json(read_whole(path, SMALL, called), called)
        known = Values(values, called)
        if values.get('version') not in (VERSION, UNVERIFIED):
            raise UserError(f'{where}: latents of another version of vdm_jax')
        if values['version'] == VERSION:
            known.sha256(SHA256)
        values = unsealed(values, called)
        _check(Values(values, called), values)
    except UserError as error:
        raise UserError(f'{error}; make them anew, in another directory') from None
    return values


def _check(about: Values, values: dict) -> None:
    count, views = about.whole('count', 1, 2**40), about.whole('views', 1, 2**16)
    about.whole('parts', 1, min(count, MOST_PARTS))
    dtype = about.text('dtype', ('float16', 'float32'))
    shape = about.wholes('shape', 1, 4)
    drawn = about.whole('drawn', 0, 2**16)
    about.mapping('made')
    scalars = about.texts('scalars')
    if set(scalars) & {*OTHER_FIELDS, ''}:
        raise about.wrong('scalars', 'names of numbers')
    if values.get('seed') is not None and not is_whole(values['seed'], -(2**63)):
        raise about.wrong('seed', 'a whole number or null')
    size = count * views * (np.dtype(dtype).itemsize * int(np.prod(shape, dtype=object)) + 8 * drawn)
    if size > 2**62:
        raise about.wrong('shape', 'one of which so many clips fit on a disk')


def write_about(directory, about: dict) -> None:
    """Writes about.json."""
    write_whole(Path(directory) / ABOUT, json.dumps(sealed(about), indent=1))


def read_note(directory, number: int, parts: int) -> Note:
    """How far a part is.

    Raises:
      UserError: done-* is damaged.
    """
    path = Path(directory) / part_file('done', number, parts)
    if not path.exists():
        return Note()
    try:
        values = parse_json(read_whole(path, SMALL), str(path))
        if is_whole(values):  # of version 2
            return Note(values)
        known = Values(values, str(path))
        known.sha256(SHA256)
        unsealed(values, str(path))
        return Note(known.whole('done'), known.sha256('told'))
    except UserError as error:
        raise UserError(f'{error}; remove {path.parent} and make the latents anew') from None


def note_text(note: Note) -> str:
    """The content of done-*."""
    return json.dumps(sealed(dataclasses.asdict(note))) if note.told else str(note.done)


def read_done(directory, number: int, parts: int) -> int:
    """How many of a part's clips and views are there."""
    return read_note(directory, number, parts).done


def all_done(directory, about: dict) -> int:
    """How many clips and views of all parts are there."""
    return sum(read_done(directory, number, about['parts']) for number in range(about['parts']))


def agree(where: str, there: dict, here: dict) -> None:
    """Whether latents were made with what is `here`: {what: JSON value}, 'weights' the sha256 of the codec's.

    Raises:
      UserError: something is another one `there`; both hashes are named where it is the codec.
    """
    there = {what: 'stored' for what in here if what.endswith('.pixel_aspect')} | there  # those of before say nothing
    differ = [what for what in {**here, **there} if there.get(what) != here.get(what)]
    if not differ:
        return
    said = [f'{what} {there.get(what)}, and this run has {here.get(what)}' for what in differ]
    if 'weights' not in differ:
        raise UserError(f'{where}: made with {said[0]}; name another directory')
    codec = next((f' ({each})' for each in said if each.startswith('config.codec')), '')
    raise UserError(
        f'{where}: made by another codec{codec}: its weights have sha256 {there.get("weights")}, those of this run '
        f'{here.get("weights")}; take the codec that made them, or name another directory'
    )
