"""What a build is to work on: the videos of a folder, or the rows of a list, each an Item, in the order of their names.

Nothing is left out in silence: a row or file that cannot be used is an Item with a `problem`, other files of a folder
are counted.
"""

import collections
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Mapping

from data_pipelines.fields import KNOWN, PATH, ProblemError, as_number, captions_of, described, from_json, given
from data_pipelines.lists import ENDINGS, rows_of
from data_pipelines.stills import identity
from vdm_jax.data.filters import FACTS
from vdm_jax.data.records import Caption
from vdm_jax.data.video_folder import EXTENSIONS
from vdm_jax.errors import UserError

SIDE = '.json', '.txt'  # files beside a video, of its name, that say what is in it
SIDE_BYTES = 2**20  # the most that one may hold
HIDDEN = 'hidden'


@dataclasses.dataclass(frozen=True)
class Item:
    """One input: a video, or a window of one.

    name: its path below the source, as listed, with / between folders, and the window's times where there is one;
    unique. path: where to open it. captions: with times in seconds of the file. label, label_name: class number and
    what it is called. scores: by name, taken as they come (aesthetic, clip). start, end: the seconds of the file that
    count, None for its ends. split: such as 'train'. problem: 'reason: detail' where it cannot be used, else ''.
    stills: what the frames are where they are in no video file (data_pipelines/stills.py), else None.
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
    that mean nothing here."""

    items: tuple[Item, ...]
    ignored: Mapping[str, int] = dataclasses.field(default_factory=dict)
    unused: tuple[str, ...] = ()


def listed(source: str, root: str | None = None) -> Listing:
    """The videos of a folder and below, with the captions in NAME.txt (one a line) and NAME.json beside them; or those
    of a list (.csv, .jsonl, .parquet), whose paths are taken from `root`, by default the list's own folder.

    Raises: UserError for a source that is not there, is no list, or holds nothing.
    """
    if os.path.isdir(source):
        if root is not None:
            raise UserError(f'--root={root}: is for lists; --source={source} is a folder')
        listing = _folder(source)
    elif not os.path.exists(source):
        raise UserError(f'--source={source} is not there; name a folder of videos or a list of them')
    elif source.lower().endswith(ENDINGS):
        listing = _list(source, os.path.dirname(os.path.abspath(source)) if root is None else root)
    else:
        raise UserError(f'--source={source} is no folder, and no list: those end in {", ".join(ENDINGS)}')
    if not listing.items:
        kinds = ', '.join(ending[1:] for ending in EXTENSIONS)
        raise UserError(f'--source={source} holds no video' + (f' ({kinds})' if os.path.isdir(source) else ''))
    return dataclasses.replace(listing, items=in_order(listing.items))


def in_order(items: Iterable[Item]) -> tuple[Item, ...]:
    """The items sorted by name; of those with one name the later ones cannot be used."""
    return tuple(_numbered(sorted(_named(items), key=lambda item: item.name)))


def digest(item: Item) -> str:
    """16 hex digits of all that an item says, and of the size of its file: another listing has another."""
    try:
        size = os.stat(item.path).st_size if item.path and not item.problem and item.stills is None else None
    except OSError:
        size = None
    about = None if item.stills is None else identity(item.stills)
    fields = vars(item) | {'captions': [dataclasses.astuple(each) for each in item.captions], 'stills': about}
    fields |= {'path': None, 'size': size}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


def window(start: float | None, end: float | None) -> str:
    """What a window of time adds to a name: '#12.5-20', '' for none."""
    if start is None and end is None:
        return ''
    return '#' + '-'.join('' if each is None else f'{each:.3f}'.rstrip('0').rstrip('.') for each in (start, end))


def _folder(source):
    items, ignored = [], collections.Counter()

    def unreadable(error):
        name = printable(os.path.relpath(error.filename, source))
        items.append(Item(f'{name}/', '', problem=f'unreadable: {error.strerror}'))

    for folder, folders, files in os.walk(source, onerror=unreadable):
        inside = os.path.relpath(folder, source)
        ignored[HIDDEN] += sum(name.startswith('.') for name in folders + files)
        folders[:] = [name for name in folders if not name.startswith('.')]
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):  # os.walk does not follow it
                items.append(Item(_name(inside, name) + '/', '', problem='link: to a folder; links are not followed'))
        files = {name for name in files if not name.startswith('.')}
        videos = {name for name in files if name.lower().endswith(EXTENSIONS)}
        beside = set()
        for name in videos:
            stem = os.path.splitext(name)[0]
            sides = [stem + ending for ending in SIDE if stem + ending in files]
            items.append(_video(source, inside, name, sides))
            beside.update(sides)
        ignored.update(os.path.splitext(name)[1].lower() or 'no ending' for name in files - videos - beside)
    return Listing(tuple(items), {printable(ending): count for ending, count in sorted(ignored.items()) if count})


def _video(source, inside, name, sides):
    """The Item of one video of a folder."""
    item = Item(_name(inside, name), '')
    try:
        item = dataclasses.replace(item, path=located(source, os.path.join(inside, name)))
        for side in sides:
            text = _side(source, inside, side)
            if side.endswith('.txt'):
                found = {'captions': captions_of(text.splitlines(), 'text')}
            elif not isinstance(row := from_json(text, side), dict):
                raise ProblemError('bad_json', f'{side} is no {{captions, label, ...}}')
            else:
                found = described(row)
            item = dataclasses.replace(item, **found | {'captions': item.captions + found['captions']})
    except ProblemError as problem:
        return dataclasses.replace(item, problem=str(problem))
    return dataclasses.replace(item, name=item.name + window(item.start, item.end))


def _side(source, inside, name):
    try:
        with open(located(source, os.path.join(inside, name)), 'rb') as file:
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


def _list(source, root):
    if not os.path.isdir(root):
        raise UserError(f'--root={root} is no folder')
    names, numeric = set(), {}
    for _, row in rows_of(source):
        if isinstance(row, ProblemError):
            continue
        names |= row.keys()
        for name in row.keys() - {*KNOWN, *FACTS}:
            if (value := given(row[name])) is not None:
                numeric[name] = numeric.get(name, True) and as_number(value) is not None
    key = next((name for name in PATH if name in names), None)
    if names and key is None:
        raise UserError(f'--source={source} has no column {" or ".join(PATH)}; found: {", ".join(sorted(names))}')
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
            value = _readable(value, key)
            item = Item(printable(_below(root, value)), '')
            item = dataclasses.replace(item, path=located(root, value), **described(row, scores))
            item = dataclasses.replace(item, name=item.name + window(item.start, item.end))
        except ProblemError as problem:
            item = dataclasses.replace(item, problem=str(problem))
        items.append(item)
    return Listing(tuple(items), unused=tuple(sorted(names - set(scores) - set(KNOWN))))


def _readable(value, key):
    if not isinstance(value, str) or '\0' in value:
        raise ProblemError('no_path', f'{key} is {ascii(value)}')
    return value


def located(root: str, name: str) -> str:
    """Where the file `name` below `root` lies. Raises: ProblemError where it is not there, no file, or outside."""
    path = os.path.normpath(os.path.join(os.path.abspath(root), name))
    real, below = os.path.realpath(path), os.path.realpath(root)
    if os.path.commonpath([real, below]) != below:
        raise ProblemError('outside', 'it lies outside of the folder of --source, or of that of --root')
    if not os.path.exists(path):
        raise ProblemError('missing', 'no such file')
    if not os.path.isfile(path):
        raise ProblemError('no_file', 'it is no ordinary file')
    return path


def _below(root, name):
    """A path of a list as a name: relative to the root, with / between folders; as it is written where it leads out."""
    root = os.path.abspath(root)
    path = os.path.relpath(os.path.join(root, name), root)
    return name if path.split(os.sep)[0] == os.pardir else path.replace(os.sep, '/')


def _name(inside, name):
    return printable(name if inside == '.' else f'{inside}/{name}'.replace(os.sep, '/'))


def printable(name):
    """A file name as a text that UTF-8 can hold."""
    return os.fsencode(name).decode('utf-8', 'backslashreplace')


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
