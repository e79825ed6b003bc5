"""List the inputs of a build: the videos of a folder, or the rows of a list, each an Item, in the order of their names.

Nothing is left out in silence: a row or file that cannot be used is an Item with a `problem`, other files of a folder
are counted.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from data_pipelines.inputs.fields import (
    KNOWN_COLUMNS,
    PATH_COLUMNS,
    ProblemError,
    format_value,
    is_score_name,
    is_score_value,
    none_if_missing,
    parse_captions,
    parse_json,
    parse_row,
    split_lines,
    unique_captions,
)
from data_pipelines.inputs.item import Item, format_window, to_utf8
from data_pipelines.inputs.locate import LINKED_FOLDER, LISTED_ALREADY, locate_file, stored_name
from data_pipelines.inputs.merge import is_caption_problem, merge_rows
from data_pipelines.inputs.readers import ENDINGS, TEXT_ENDINGS, read_rows
from vdm_jax.data.records.filters import FACTS
from vdm_jax.data.video.files import describe_no_video, list_folder
from vdm_jax.errors import UserError, escape_unprintable

MAX_SIDE_BYTES = 2**20  # of a file beside a video


@dataclasses.dataclass(frozen=True)
class Listing:
    """The inputs of a build.

    Attributes:
      items: Sorted by name.
      ignored: How many files of a folder were no videos, by ending.
      unused: Columns of a list that mean nothing here.
    """

    items: tuple[Item, ...]
    ignored: Mapping[str, int] = dataclasses.field(default_factory=dict)
    unused: tuple[str, ...] = ()


def list_inputs(
    source: str, root: str | None = None, follow_links: bool = False, scores: Sequence[str] | None = None
) -> Listing:
    """List the videos of a folder, or those of a list.

    Args:
      source: A folder, listed with all below it and with the captions in NAME.txt (one a line) and NAME.json beside its
        videos; or a list (.csv, .tsv, .jsonl, .parquet).
      root: What a list's paths are relative to, by default its own folder.
      follow_links: Whether also through links that lead out of the folder, and into folders that are links.
      scores: The columns (of JSON files the fields) that are scores; None: those that hold numbers and name nothing.

    Raises:
      UserError: the source is not there, is no list, or holds nothing; or a score is no column.
    """
    if reserved := [name for name in scores or () if name in (*KNOWN_COLUMNS, *FACTS)]:
        raise UserError(f'--scores: {reserved[0]} has another meaning; give the column another name')
    if os.path.isdir(source):
        if root is not None:
            raise UserError(f'--root={root}: is for lists; --source={source} is a folder')
        listing = _list_folder(source, follow_links, scores)
    elif not os.path.exists(source):
        raise UserError(f'--source={source} is not there; name a folder of videos or a list of them')
    elif source.lower().endswith(ENDINGS):
        root = os.path.dirname(os.path.abspath(source)) if root is None else root
        listing = _list_rows(source, root, follow_links, scores)
    else:
        raise UserError(f'--source={source} is no folder, and no list: those end in {", ".join(ENDINGS)}')
    if not listing.items:
        raise UserError(f'--source={source} holds no video')
    return dataclasses.replace(listing, items=sort_items(merge_rows(listing.items)))


def sort_items(items: Iterable[Item]) -> tuple[Item, ...]:
    """Return the items sorted by name; of those with one name the later ones cannot be used."""
    # Among rows of one name, one with a caption that cannot be read is not to displace a usable one.
    usable_first = sorted(items, key=is_caption_problem)
    by_name = sorted(_make_names_unique(usable_first), key=lambda item: item.name)
    return tuple(_number_classes(by_name))


def _list_folder(source: str, follow_links: bool, scores: Sequence[str] | None) -> Listing:
    folder = list_folder(source, follow_links)
    items = [Item(f'{to_utf8(name)}/', '', problem=f'unreadable: {why}') for name, why in folder.unreadable.items()]
    link_problem = LISTED_ALREADY if follow_links else LINKED_FOLDER
    items += [Item(f'{to_utf8(name)}/', '', problem=link_problem) for name in folder.links]

    fields: set[str] = set()
    for name in folder.videos:
        item, own_fields = _describe_video(source, name, folder.sides.get(name, ()), follow_links, scores)
        items.append(item)
        fields |= own_fields

    missing = [name for name in scores or () if name not in fields]
    if missing:
        raise UserError(f'--scores: no .json beside a video has {missing[0]!r}; found: {_join_names(fields)}')
    if not items:
        raise UserError(f'--source={source} {describe_no_video(folder)}')

    # What no item uses is reported, lest a misspelt column goes unnoticed.
    used = {name for item in items for name in item.scores}.union(KNOWN_COLUMNS, scores or ())
    ignored = {to_utf8(ending): count for ending, count in folder.others.items()}
    return Listing(tuple(items), ignored, tuple(sorted(to_utf8(name) for name in fields - used)))


def _describe_video(
    source: str, name: str, sides: Iterable[str], follow_links: bool, scores: Sequence[str] | None
) -> tuple[Item, set[str]]:
    """Return (the Item of one video of a folder, the names of the fields that JSON beside it has)."""
    item = Item(to_utf8(name), '')
    fields: set[str] = set()
    try:
        item = dataclasses.replace(item, path=locate_file(source, name, follow_links))
        for side in sides:
            text = _read_side(source, side, follow_links)
            if side.endswith('.txt'):
                values: dict[str, Any] = {'captions': parse_captions(split_lines(text), 'text')}
            else:
                row = parse_json(text, os.path.basename(side))
                if not isinstance(row, dict):
                    raise ProblemError('bad_json', f'{os.path.basename(side)} is no {{captions, label, ...}}')
                fields |= row.keys()
                values = parse_row(row, scores)
            # NAME.txt and NAME.json may both have captions; they add up.
            values['captions'] = unique_captions(item.captions + values['captions'])
            item = dataclasses.replace(item, **values)
    except ProblemError as problem:
        return dataclasses.replace(item, problem=str(problem)), fields
    return dataclasses.replace(item, name=item.name + format_window(item.start, item.end)), fields


def _read_side(source: str, path: str, follow_links: bool) -> str:
    """Return the text of a file beside a video."""
    name = os.path.basename(path)
    try:
        with open(locate_file(source, path, follow_links), 'rb') as file:
            # One byte more than allowed, so that a larger file is noticed and not cut off.
            content = file.read(MAX_SIDE_BYTES + 1)
    except ProblemError as problem:
        raise ProblemError(problem.args[0], f'{name}: {problem.args[1]}') from None
    except OSError as error:
        raise ProblemError('caption_file', f'{name}: {error.strerror}') from None
    if len(content) > MAX_SIDE_BYTES:
        raise ProblemError('caption_file', f'{name} is larger than {MAX_SIDE_BYTES} bytes')
    try:
        # Some editors begin a file with a byte order mark.
        return content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise ProblemError('encoding', f'{name} is no UTF-8 (byte {error.start}); save it as UTF-8') from None


def _list_rows(source: str, root: str, follow_links: bool, scores: Sequence[str] | None) -> Listing:
    if not os.path.isdir(root):
        raise UserError(f'--root={root} is no folder')

    # The list is read twice: which columns are scores is known at its end only.
    columns, numeric_columns = _scan_columns(source)
    path_column = next((name for name in PATH_COLUMNS if name in columns), None)
    # No row can be read: each has its own reason.
    if not columns:
        path_column = PATH_COLUMNS[0]
    if path_column is None:
        raise UserError(
            f'--source={source} has no column {" or ".join(PATH_COLUMNS[:3])}; found: {_join_names(columns)}; '
            f'call the one with the paths of the videos {PATH_COLUMNS[0]}'
        )
    missing = [name for name in scores or () if name not in columns]
    if missing:
        raise UserError(f'--scores: --source={source} has no column {missing[0]!r}; found: {_join_names(columns)}')
    if scores is None:
        scores = numeric_columns

    items = []
    for where, row in read_rows(source):
        item = Item(f'{os.path.basename(source)} {where}', '')
        try:
            if isinstance(row, ProblemError):
                raise row
            path = none_if_missing(row.get(path_column))
            if path is None:
                raise ProblemError('no_path', f'{where} has no {path_column}')
            path = stored_name(root, _check_path(path, path_column))
            item = Item(to_utf8(_relative_name(root, path)), '')
            item = dataclasses.replace(item, path=locate_file(root, path, follow_links), **parse_row(row, scores))
            item = dataclasses.replace(item, name=item.name + format_window(item.start, item.end))
        except ProblemError as problem:
            item = dataclasses.replace(item, problem=str(problem))
        items.append(item)

    used = set(KNOWN_COLUMNS) - set(PATH_COLUMNS) | {path_column, *scores}
    return Listing(tuple(items), unused=tuple(sorted(to_utf8(name) for name in columns - used)))


def _scan_columns(source: str) -> tuple[set[str], list[str]]:
    """Return (the columns of a list, those that are scores by themselves: every value that is there is a number)."""
    columns: set[str] = set()
    is_numeric: dict[str, bool] = {}
    texts = source.lower().endswith(TEXT_ENDINGS)
    for _, row in read_rows(source):
        if isinstance(row, ProblemError):
            continue
        columns |= row.keys()
        for name in row:
            value = none_if_missing(row[name])
            if value is not None:
                is_numeric[name] = is_numeric.get(name, is_score_name(name)) and is_score_value(value, texts)
    return columns, sorted(name for name, numeric in is_numeric.items() if numeric)


def _join_names(names: Iterable[str]) -> str:
    return ', '.join(escape_unprintable(name) for name in sorted(names)) or 'none'


def _check_path(value: Any, column: str) -> str:
    """Return a value that can be the name of a file; raise ProblemError for any other."""
    if not isinstance(value, str) or '\0' in value:
        raise ProblemError('no_path', f'{column} is {format_value(value)}')
    try:
        os.fsencode(value)
    except UnicodeEncodeError:  # half a character, as JSON may hold
        raise ProblemError('encoding', f'{column} is no name that a file can have: {format_value(value)}') from None
    return value


def _relative_name(root: str, name: str) -> str:
    """Return a listed path relative to the root, with / between folders; as it is written where it leads out."""
    root = os.path.abspath(root)
    path = os.path.relpath(os.path.join(root, name), root)
    return name if path.split(os.sep)[0] == os.pardir else path.replace(os.sep, '/')


def _make_names_unique(items: Iterable[Item]) -> Iterator[Item]:
    """Yield the items with names that occur once: of two with one name the later one is not used."""
    seen: Counter[str] = Counter()
    for item in items:
        seen[item.name] += 1
        count = seen[item.name]
        if count > 1:
            name = f'{item.name} ({count})'
            # A list may have a file of that very name.
            while name in seen:
                name += "'"
            seen[name] = 1
            problem = item.problem or 'listed_twice: an earlier row has this file; put several captions into one row'
            item = dataclasses.replace(item, name=name, problem=problem)
        yield item


def _number_classes(items: Sequence[Item]) -> Sequence[Item]:
    """Return the items with numbers for the names of classes, in the order of these, where a listing has names only."""
    if any(item.label is not None for item in items):
        return items
    names = sorted({item.label_name for item in items} - {''})
    numbers = {name: number for number, name in enumerate(names)}
    return [dataclasses.replace(item, label=numbers.get(item.label_name)) for item in items]
