"""Sets that are a table of captions beside videos: WebVid, OpenVid-1M, Panda-70M, InternVid.

Its columns say which of them a table is (TABLES). The table (CSV, JSON lines, parquet) is the one in ROOT, ROOT/data or
ROOT/data/train whose name says the split (..._train.csv, ..._validation.csv); one that says none is train. --source may
also be the table itself. Videos lie in ROOT/videos, ROOT/video or ROOT, and below. A part of a longer video is an Item
with start and end.
"""

import ast
import dataclasses
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from data_pipelines.datasets import layout
from data_pipelines.inputs.fields import (
    ProblemError,
    none_if_missing,
    parse_captions,
    parse_text,
    parse_window,
    to_number,
)
from data_pipelines.inputs.item import Item, format_window, to_utf8
from data_pipelines.inputs.readers import ENDINGS, read_rows
from vdm_jax.data.video.files import EXTENSIONS
from vdm_jax.errors import UserError

SPLITS = ('train', 'val', 'test', 'all')
TABLE_FOLDERS = ('', 'data', 'data/train')
VIDEOS = ('videos', 'video', '')


@dataclasses.dataclass(frozen=True)
class Table:
    """The columns of a set's table.

    Attributes:
      video: The name of a file, with or without its ending.
      caption: The caption.
      folder: The folder that the file lies in.
      start: Where the part of the video begins that is meant.
      end: Where it ends.
      windows: A list of [start, end] instead, with as many captions and scores in lists.
      scores: Numbers, taken where they are there.
    """

    video: str
    caption: str
    folder: str = ''
    start: str = ''
    end: str = ''
    windows: str = ''
    scores: tuple[str, ...] = ()

    @property
    def required_columns(self) -> set[str]:
        """Return the columns that a table of this set has to have."""
        return {self.video, self.caption, self.folder, self.start, self.end, self.windows} - {''}


TABLES = {
    'WebVid': Table('videoid', 'name', folder='page_dir'),
    'Panda-70M': Table('videoID', 'caption', windows='timestamp', scores=('matching_score',)),
    'InternVid': Table(
        'YoutubeID', 'caption', start='Start_timestamp', end='End_timestamp', scores=('Aesthetic_Score', 'UMT_Score')
    ),
    'OpenVid-1M': Table('video', 'caption', scores=('aesthetic score', 'motion score', 'temporal consistency score')),
}


def class_names(root: str) -> tuple[str, ...]:
    """Return no classes."""
    return ()


def list_items(root: str, split: str) -> list[Item]:
    """Return the Items of a split: of every row of the table, or every part a row names, and of every other video.

    Raises:
      UserError: there is no table, several that may be meant, or one with other columns.
    """
    path = _find_table(root, split)
    root = root if os.path.isdir(root) else os.path.dirname(os.path.abspath(root))
    where = layout.find_folder(root, *VIDEOS)
    videos = [name for name in layout.list_files(root, where) if layout.is_video(name)]
    stems = _index_stems(videos, root, where)

    items: list[Item] = []
    listed: set[str] = set()
    table: Table | None = None
    list_name = os.path.basename(path)
    for row_name, row in read_rows(path):
        try:
            if isinstance(row, ProblemError):
                raise row
            if table is None:
                # By the first row that can be read: the columns are those of the whole table.
                table = _match_table(path, row)
            video = parse_text(none_if_missing(row[table.video]), table.video)
            folder = parse_text(row.get(table.folder), table.folder)
            if not video:
                raise ProblemError('no_path', f'{row_name} has no {table.video}')

            name = stems.get(os.path.join(folder, _remove_ending(video)))
            if name is not None:
                listed.add(name)
            problem = '' if name is not None else layout.missing_problem(list_name)
            item_path = os.path.join(root, name) if name is not None else ''
            # A missing video is named as it would be called.
            label = name if name is not None else os.path.join(where, folder, f'{_remove_ending(video)}.mp4')
            for fields in _parse_parts(table, row):
                item_name = to_utf8(label) + format_window(fields['start'], fields['end'])
                items.append(Item(item_name, item_path, split=split, problem=problem, **fields))
        except ProblemError as row_problem:
            items.append(Item(f'{list_name} {row_name}', '', split=split, problem=str(row_problem)))
    if table is None:
        raise UserError(f'{path} holds no row that can be read')

    unlisted = [name for name in videos if name not in listed]
    return items + [layout.make_item(root, name, split=split, problem=layout.NOT_LISTED) for name in unlisted]


def _index_stems(videos: Iterable[str], root: str, where: str) -> dict[str, str]:
    """Return {how a table may call a video: its name}: its path below the videos' folder, its file name, its path."""
    stems: dict[str, str] = {}
    for name in videos:
        stem = _remove_ending(os.path.relpath(os.path.join(root, name), os.path.join(root, where)))
        stems[stem] = name
        # Tables name videos by path or by file name; a full path wins over a file name.
        stems.setdefault(os.path.basename(stem), name)
        stems.setdefault(_remove_ending(name), name)
    return stems


def _find_table(root: str, split: str) -> str:
    """Return the path of the table that is meant."""
    if os.path.isfile(root):
        return root
    layout.find_folder(root, '')

    tables: list[str] = []
    for folder in (os.path.join(root, name) for name in TABLE_FOLDERS):
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        tables += [
            os.path.join(folder, name) for name in names if name.lower().endswith(ENDINGS) and not name.startswith('.')
        ]
    matches = [path for path in tables if split in ('all', _split_of(path))]
    if len(matches) != 1:
        names_there = ', '.join(os.path.relpath(path, root) for path in matches) or 'none'
        raise UserError(
            f'--source={root}: want one table ({", ".join(ENDINGS)}) for {split}, found {names_there}; name it'
        )
    return matches[0]


def _split_of(path: str) -> str:
    """Return which split a table's name says it is of: train where it says none."""
    words = re.split('[^a-z]+', os.path.basename(path).lower())
    for split in ('train', 'val', 'test'):
        # By how a word begins: `validation` is val.
        if any(word.startswith(split) for word in words):
            return split
    return 'train'


def _match_table(path: str, row: dict[str, Any]) -> Table:
    """Return which of TABLES has the columns of a row."""
    for table in TABLES.values():
        if table.required_columns <= row.keys():
            return table
    wanted = '; '.join(f'{name}: {", ".join(sorted(table.required_columns))}' for name, table in TABLES.items())
    raise UserError(f'{path} has the columns {", ".join(row)}; want those of {wanted}')


def _remove_ending(name: str) -> str:
    return os.path.splitext(name)[0] if name.lower().endswith(EXTENSIONS) else name


def _parse_parts(table: Table, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the fields of an Item of each part of a video that a row names; raise ProblemError."""
    for part in _split_row(table, row) if table.windows else [row]:
        start_value = part.get(table.start)
        end_value = part.get(table.end)
        if table.windows:
            window = part[table.windows]
            if not isinstance(window, list | tuple) or len(window) != 2:
                raise ProblemError('bad_times', f'{table.windows} holds {window!r}, want [start, end]')
            start_value, end_value = window

        start, end = parse_window(start_value, end_value)

        scores: dict[str, float] = {}
        for name in table.scores:
            score = to_number(none_if_missing(part.get(name)))
            if score is not None:
                scores[name.lower().replace(' ', '_')] = score
        captions = parse_captions(part[table.caption], 'caption')
        yield {'captions': captions, 'scores': scores, 'start': start, 'end': end}


def _split_row(table: Table, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each window of a row whose columns are lists of as many."""
    columns = {name: _parse_list(row.get(name), name) for name in (table.windows, table.caption)}
    for name in table.scores:
        if none_if_missing(row.get(name)) is not None:
            columns[name] = _parse_list(row[name], name)
    if len({len(values) for values in columns.values()}) != 1:
        counts = ', '.join(f'{len(values)} in {name}' for name, values in columns.items())
        raise ProblemError('bad_row', f'lists of different lengths: {counts}')
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _parse_list(value: Any, name: str) -> Sequence[Any]:
    """Return a list, from Python's notation of it where the table is CSV."""
    if isinstance(value, str):
        try:
            # Not by `eval`: whoever wrote the table would run code here.
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            raise ProblemError('bad_row', f'{name} is no list') from None
    if not isinstance(value, list | tuple):
        raise ProblemError('bad_row', f'{name} is no list')
    return value
