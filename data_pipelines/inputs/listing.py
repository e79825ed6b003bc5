"""What a build is to work on: the videos of a folder, or the rows of a list, each an Item, in the order of their names.

Nothing is left out in silence: a row or file that cannot be used is an Item with a `problem`, other files of a folder
are counted.
"""

import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping, Sequence

from data_pipelines.inputs.fields import (
    KNOWN,
    PATH,
    ProblemError,
    captions_of,
    described,
    from_json,
    given,
    is_score,
    may_be_score,
    shown,
    split_lines,
    unique_captions,
)
from data_pipelines.inputs.frame_sources import identity
from data_pipelines.inputs.locate import LINKED_FOLDER, LISTED_ALREADY, located, stored_name
from data_pipelines.inputs.merge import is_caption_problem, merge_rows
from data_pipelines.inputs.readers import ENDINGS, TEXTS, rows_of
from vdm_jax import errors
from vdm_jax.data.filters import FACTS
from vdm_jax.data.records import Caption
from vdm_jax.data.video.files import look
from vdm_jax.data.video_folder import no_video
from vdm_jax.errors import UserError

SIDE_BYTES = 2**20  # the most that a file beside a video may hold
EDGE = 2**16  # bytes at either end of a file that a digest knows


@dataclasses.dataclass(frozen=True)
class Item:
    """One input: a video, or a window of one.

    name: its path below the source, as listed, with / between folders, and the window's times where there is one;
    unique. path: where to open it. captions: with times in seconds of the file. label, label_name: class number and
    what it is called. scores: by name, taken as they come (aesthetic, clip). start, end: the seconds of the file that
    count, None for its ends. split: such as 'train'. problem: 'reason: detail' where it cannot be used, else ''.
    stills: what the frames are where they are in no video file (data_pipelines/inputs/frame_sources.py), else None.
    """

    name: str
    path: str
    captions: tuple[Caption, ...] = ()
    label: int | None = None
    label_name: str = ''
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    start: float | None = None
    end: float | None = None
    split: str = ''
    problem: str = ''
    stills: object | None = None

    @property
    def source(self) -> str:
        """The name without the window."""
        return self.name.removesuffix(window(self.start, self.end))


@dataclasses.dataclass(frozen=True)
class Listing:
    """items: sorted by name. ignored: how many files of a folder were no videos, by ending. unused: columns of a list
    that mean nothing here.
    """

    items: tuple[Item, ...]
    ignored: Mapping[str, int] = dataclasses.field(default_factory=dict)
    unused: tuple[str, ...] = ()


def listed(
    source: str, root: str | None = None, follow_links: bool = False, scores: Sequence[str] | None = None
) -> Listing:
    """The videos of a folder and below, with the captions in NAME.txt (one a line) and NAME.json beside them; or those
    of a list (.csv, .tsv, .jsonl, .parquet), whose paths are taken from `root`, by default the list's own folder.

    follow_links: also through links that lead out of the folder, and into folders that are links. scores: the columns
    (of JSON files the fields) that are scores; None: those that hold numbers and name nothing.

    Raises: UserError for a source that is not there, is no list, or holds nothing, and a score that is no column.
    """
    if strange := next((name for name in scores or () if name in (*KNOWN, *FACTS)), None):
        raise UserError(f'--scores: {strange} has another meaning; give the column another name')
    if os.path.isdir(source):
        if root is not None:
            raise UserError(f'--root={root}: is for lists; --source={source} is a folder')
        listing = _folder(source, follow_links, scores)
    elif not os.path.exists(source):
        raise UserError(f'--source={source} is not there; name a folder of videos or a list of them')
    elif source.lower().endswith(ENDINGS):
        root = os.path.dirname(os.path.abspath(source)) if root is None else root
        listing = _list(source, root, follow_links, scores)
    else:
        raise UserError(f'--source={source} is no folder, and no list: those end in {", ".join(ENDINGS)}')
    if not listing.items:
        raise UserError(f'--source={source} holds no video')
    return dataclasses.replace(listing, items=in_order(merge_rows(listing.items)))


def in_order(items: Iterable[Item]) -> tuple[Item, ...]:
    """The items sorted by name; of those with one name the later ones cannot be used."""
    usable_first = sorted(items, key=is_caption_problem)
    return tuple(_numbered(sorted(_named(usable_first), key=lambda item: item.name)))


def digest(item: Item) -> str:
    """16 hex digits, eight of all that an item says and eight of its file's size, head and tail: another listing, and
    another file, have others.
    """
    about = None if item.stills is None else identity(item.stills)
    edges = _edges(item.path) if item.path and not item.problem and item.stills is None else None
    return _code(_said(item) | {'stills': None})[:8] + _code([about, edges])[:8]


def former_digest(item: Item) -> str:
    """As sets that were built before have it: of all that an item says, and of the size of its file."""
    about = None if item.stills is None else identity(item.stills)
    size = None
    if item.path and not item.problem and item.stills is None and os.path.exists(item.path):
        size = os.stat(item.path).st_size
    return _code(_said(item) | {'stills': about, 'size': size})[:16]


def _said(item):
    return vars(item) | {'captions': [dataclasses.astuple(each) for each in item.captions], 'path': None}


def _code(plain):
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _edges(path):
    """[size, sha256 of the first EDGE bytes and the last], None for what is no file that can be read."""
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
            return None
        with open(path, 'rb') as file:
            found = hashlib.sha256(file.read(EDGE))
            if about.st_size > EDGE:
                file.seek(max(about.st_size - EDGE, EDGE))
                found.update(file.read(EDGE))
        return [about.st_size, found.hexdigest()]
    except OSError:
        return None


def window(start: float | None, end: float | None) -> str:
    """What a window of time adds to a name: '#12.5-20', '' for none."""
    if start is None and end is None:
        return ''
    return '#' + '-'.join('' if each is None else f'{each:.3f}'.rstrip('0').rstrip('.') for each in (start, end))


def _folder(source, follow_links, scores):
    found = look(source, follow_links)
    items = [Item(f'{printable(name)}/', '', problem=f'unreadable: {why}') for name, why in found.unreadable.items()]
    problem = LISTED_ALREADY if follow_links else LINKED_FOLDER
    items += [Item(f'{printable(name)}/', '', problem=problem) for name in found.links]
    fields = set()
    for name in found.videos:
        item, names = _video(source, name, found.sides.get(name, ()), follow_links, scores)
        items.append(item)
        fields |= names
    if lost := [name for name in scores or () if name not in fields]:
        raise UserError(f'--scores: no .json beside a video has {lost[0]!r}; found: {_listed(fields)}')
    if not items:
        raise UserError(f'--source={source} {no_video(found)}')
    used = {name for item in items for name in item.scores}.union(KNOWN, scores or ())
    ignored = {printable(ending): count for ending, count in found.others.items()}
    return Listing(tuple(items), ignored, tuple(sorted(printable(name) for name in fields - used)))


def _video(source, name, sides, follow_links, scores):
    """(the Item of one video of a folder, the names of the fields that JSON beside it has)."""
    item, fields = Item(printable(name), ''), set()
    try:
        item = dataclasses.replace(item, path=located(source, name, follow_links))
        for side in sides:
            text = _side(source, side, follow_links)
            if side.endswith('.txt'):
                found = {'captions': captions_of(split_lines(text), 'text')}
            elif not isinstance(row := from_json(text, os.path.basename(side)), dict):
                raise ProblemError('bad_json', f'{os.path.basename(side)} is no {{captions, label, ...}}')
            else:
                fields |= row.keys()
                found = described(row, scores)
            item = dataclasses.replace(item, **found | {'captions': unique_captions(item.captions + found['captions'])})
    except ProblemError as problem:
        return dataclasses.replace(item, problem=str(problem)), fields
    return dataclasses.replace(item, name=item.name + window(item.start, item.end)), fields


def _side(source, path, follow_links):
    name = os.path.basename(path)
    try:
        with open(located(source, path, follow_links), 'rb') as file:
            content = file.read(SIDE_BYTES + 1)
    except ProblemError as problem:
        raise ProblemError(problem.args[0], f'{name}: {problem.args[1]}') from None
    except OSError as error:
        raise ProblemError('caption_file', f'{name}: {error.strerror}') from None
    if len(content) > SIDE_BYTES:
        raise ProblemError('caption_file', f'{name} is larger than {SIDE_BYTES} bytes')
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ProblemError('encoding', f'{name} is no UTF-8 (byte {error.start}); save it as UTF-8') from None


def _list(source, root, follow_links, scores):
    if not os.path.isdir(root):
        raise UserError(f'--root={root} is no folder')
    names, numeric = set(), {}
    texts = source.lower().endswith(TEXTS)
    for _, row in rows_of(source):
        if isinstance(row, ProblemError):
            continue
        names |= row.keys()
        for name in row:
            if (value := given(row[name])) is not None:
                numeric[name] = numeric.get(name, may_be_score(name)) and is_score(value, texts)
    key = next((name for name in PATH if name in names), None)
    if names and key is None:
        raise UserError(
            f'--source={source} has no column {" or ".join(PATH[:3])}; found: {_listed(names)}; '
            f'call the one with the paths of the videos {PATH[0]}'
        )
    if lost := [name for name in scores or () if name not in names]:
        raise UserError(f'--scores: --source={source} has no column {lost[0]!r}; found: {_listed(names)}')
    if scores is None:
        scores = sorted(name for name, holds in numeric.items() if holds)
    items = []
    for place, row in rows_of(source):
        item = Item(f'{os.path.basename(source)} {place}', '')
        try:
            if isinstance(row, ProblemError):
                raise row
            value = given(row.get(key))
            if value is None:
                raise ProblemError('no_path', f'{place} has no {key}')
            value = stored_name(root, _readable(value, key))
            item = Item(printable(_below(root, value)), '')
            item = dataclasses.replace(item, path=located(root, value, follow_links), **described(row, scores))
            item = dataclasses.replace(item, name=item.name + window(item.start, item.end))
        except ProblemError as problem:
            item = dataclasses.replace(item, problem=str(problem))
        items.append(item)
    used = set(KNOWN) - set(PATH) | {key, *scores}
    return Listing(tuple(items), unused=tuple(sorted(printable(name) for name in names - used)))


def _listed(names):
    return ', '.join(errors.printable(name) for name in sorted(names)) or 'none'


def _readable(value, key):
    if not isinstance(value, str) or '\0' in value:
        raise ProblemError('no_path', f'{key} is {shown(value)}')
    try:
        os.fsencode(value)
    except UnicodeEncodeError:  # half a character, as JSON may hold
        raise ProblemError('encoding', f'{key} is no name that a file can have: {shown(value)}') from None
    return value


def _below(root, name):
    """A path of a list as a name: relative to the root, with / between folders; as it is written where it leads out."""
    root = os.path.abspath(root)
    path = os.path.relpath(os.path.join(root, name), root)
    return name if path.split(os.sep)[0] == os.pardir else path.replace(os.sep, '/')


def printable(name):
    """A file name, or any other text, as one that UTF-8 can hold."""
    try:
        return os.fsencode(name).decode('utf-8', 'backslashreplace')
    except UnicodeEncodeError:
        return name.encode('utf-8', 'backslashreplace').decode()


def _named(items):
    """The items with names that occur once: of two alike the later one is not used."""
    seen = {}
    for item in items:
        count = seen[item.name] = seen.get(item.name, 0) + 1
        if count > 1:
            again = f'{item.name} ({count})'
            while again in seen:
                again += "'"
            seen[again] = 1
            problem = item.problem or 'listed_twice: an earlier row has this file; put several captions into one row'
            item = dataclasses.replace(item, name=again, problem=problem)
        yield item


def _numbered(items):
    """The items with numbers for the names of classes, in the order of these, where a listing has names alone."""
    if any(item.label is not None for item in items):
        return items
    numbers = {name: number for number, name in enumerate(sorted({item.label_name for item in items} - {''}))}
    return [dataclasses.replace(item, label=numbers.get(item.label_name)) for item in items]
