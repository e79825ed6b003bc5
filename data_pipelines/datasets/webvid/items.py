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

from data_pipelines.datasets import layout
from data_pipelines.inputs.fields import ProblemError, as_number, captions_of, given, seconds, text_of
from data_pipelines.inputs.listing import Item, printable, window
from data_pipelines.inputs.readers import ENDINGS, rows_of
from vdm_jax.data.video.files import EXTENSIONS
from vdm_jax.errors import UserError

SPLITS = ('train', 'val', 'test', 'all')
PLACES = ('', 'data', 'data/train')
VIDEOS = ('videos', 'video', '')


@dataclasses.dataclass(frozen=True)
class Table:
    """The columns of a set's table.

    video: the name of a file, with or without its ending. folder: that it lies in. start, end: the part of the video
    that is meant; windows: a list of [start, end] instead, with as many captions and scores in lists. scores: numbers,
    taken where they are there.
    """

    video: str
    caption: str
    folder: str = ''
    start: str = ''
    end: str = ''
    windows: str = ''
    scores: tuple[str, ...] = ()

    @property
    def needed(self):
        return {each for each in (self.video, self.caption, self.folder, self.start, self.end, self.windows) if each}


TABLES = {
    'WebVid': Table('videoid', 'name', folder='page_dir'),
    'Panda-70M': Table('videoID', 'caption', windows='timestamp', scores=('matching_score',)),
    'InternVid': Table(
        'YoutubeID', 'caption', start='Start_timestamp', end='End_timestamp', scores=('Aesthetic_Score', 'UMT_Score')
    ),
    'OpenVid-1M': Table('video', 'caption', scores=('aesthetic score', 'motion score', 'temporal consistency score')),
}


def classes(root):
    return ()


def items(root, split):
    """Items of a split: of every row of the table, or every part a row names, and of every video that none names.

    Raises: UserError where there is no table, several that may be meant, or one with other columns.
    """
    path = _table_of(root, split)
    root = root if os.path.isdir(root) else os.path.dirname(os.path.abspath(root))
    where = layout.folder(root, *VIDEOS)
    found = [name for name in layout.files(root, where) if layout.is_video(name)]
    stems = {}
    for name in found:
        stem = _stem(os.path.relpath(os.path.join(root, name), os.path.join(root, where)))
        stems[stem] = name
        stems.setdefault(os.path.basename(stem), name)
        stems.setdefault(_stem(name), name)
    items, used, table, about = [], set(), None, os.path.basename(path)
    for place, row in rows_of(path):
        try:
            if isinstance(row, ProblemError):
                raise row
            table = table or _kind(path, row)
            video, folder = text_of(given(row[table.video]), table.video), text_of(row.get(table.folder), table.folder)
            if not video:
                raise ProblemError('no_path', f'{place} has no {table.video}')
            name = stems.get(os.path.join(folder, _stem(video)))
            used.add(name)
            for fields in _parts(table, row):
                lost = '' if name else layout.missing(about)
                at = name or os.path.join(where, folder, f'{_stem(video)}.mp4')
                named = printable(at) + window(fields['start'], fields['end'])
                path_ = os.path.join(root, at) if name else ''
                items.append(Item(**{'name': named, 'path': path_, 'split': split, 'problem': lost} | fields))
        except ProblemError as problem:
            items.append(Item(f'{about} {place}', '', split=split, problem=str(problem)))
    if table is None:
        raise UserError(f'{path} holds no row that can be read')
    items += [layout.item(root, name, split=split, problem=layout.NOT_LISTED) for name in found if name not in used]
    return items


def _table_of(root, split):
    """The path of the table that is meant."""
    if os.path.isfile(root):
        return root
    layout.folder(root, '')
    tables = [
        os.path.join(root, place, name)
        for place in PLACES
        if os.path.isdir(os.path.join(root, place))
        for name in sorted(os.listdir(os.path.join(root, place)))
        if name.lower().endswith(ENDINGS) and not name.startswith('.')
    ]
    meant = [path for path in tables if split in ('all', _split_of(path))]
    if len(meant) != 1:
        names = ', '.join(os.path.relpath(path, root) for path in meant) or 'none'
        raise UserError(f'--source={root}: want one table ({", ".join(ENDINGS)}) for {split}, found {names}; name it')
    return meant[0]


def _split_of(path):
    """Which split a table's name says it is of: train where it says none."""
    words = re.split('[^a-z]+', os.path.basename(path).lower())
    return next((split for split in ('train', 'val', 'test') if any(word.startswith(split) for word in words)), 'train')


def _kind(path, row):
    found = next((table for table in TABLES.values() if table.needed <= row.keys()), None)
    if found is None:
        wanted = '; '.join(f'{name}: {", ".join(sorted(table.needed))}' for name, table in TABLES.items())
        raise UserError(f'{path} has the columns {", ".join(row)}; want those of {wanted}')
    return found


def _stem(name):
    return os.path.splitext(name)[0] if name.lower().endswith(EXTENSIONS) else name


def _parts(table, row):
    """The fields of an Item of each part of a video that a row names. Raises: ProblemError."""
    rows = [row]
    if table.windows:
        columns = {name: _listed(row.get(name), name) for name in (table.windows, table.caption)}
        columns |= {name: _listed(row[name], name) for name in table.scores if given(row.get(name)) is not None}
        if len({len(values) for values in columns.values()}) != 1:
            counts = ', '.join(f'{len(values)} in {name}' for name, values in columns.items())
            raise ProblemError('bad_row', f'lists of different lengths: {counts}')
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    for each in rows:
        start, end = each.get(table.start), each.get(table.end)
        if table.windows:
            if not isinstance(each[table.windows], list | tuple) or len(each[table.windows]) != 2:
                raise ProblemError('bad_times', f'{table.windows} holds {each[table.windows]!r}, want [start, end]')
            start, end = each[table.windows]
        start, end = seconds(given(start), 'start'), seconds(given(end), 'end')
        if end is not None and end <= (start or 0):
            raise ProblemError('bad_times', f'it ends at {end:g} s, before it starts')
        scores = {name: as_number(given(each.get(name))) for name in table.scores}
        yield {
            'captions': captions_of(each[table.caption], 'caption'),
            'scores': {name.lower().replace(' ', '_'): value for name, value in scores.items() if value is not None},
            'start': start,
            'end': end,
        }


def _listed(value, name):
    """A list, from Python's notation of it where the table is CSV."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            raise ProblemError('bad_row', f'{name} is no list') from None
    if not isinstance(value, list | tuple):
        raise ProblemError('bad_row', f'{name} is no list')
    return value
