"""Kinetics-600 as CVDF's scripts unpack it: {train,val,test}/ID_START_END.mp4, all in one folder or one folder a class,
and annotations/{train,val,test}.txt or .csv with the columns label, youtube_id, time_start, time_end.

The clips are cut already; time_start and time_end count from the start of the YouTube video and are part of the name.
"""

import contextlib
import os

from data_pipelines.datasets import layout
from data_pipelines.inputs.fields import ProblemError, text_of
from data_pipelines.inputs.listing import Item

SPLITS = ('train', 'val', 'test')
NAMES = {'val': ('val', 'validate', 'validation'), 'train': ('train',), 'test': ('test',)}
COLUMNS = ('youtube_id', 'time_start', 'time_end')


def classes(root) -> tuple[str, ...]:
    """Every label of the lists that are there, sorted: the numbers do not hang on the split."""
    lists = [path for split in SPLITS if (path := _list(root, split))]
    labels = set()
    for row in (row for path in lists for _, row in layout.rows(path, COLUMNS)):
        with contextlib.suppress(ProblemError):  # `items` tells of it
            labels.add(_label(row))
    return tuple(sorted(labels - {''}))


def items(root, split):
    """Items of a split: of every row of its list, and of every file there that no row names.

    Raises: UserError where the list or the folder is missing, or the list lacks a column.
    """
    path = _list(root, split) or layout.file(root, *_candidates(split))
    where = layout.folder(root, *NAMES[split])
    labels = {name: i for i, name in enumerate(classes(root))}
    found = layout.files(root, where)
    stems = {os.path.splitext(os.path.basename(name))[0]: name for name in found if layout.is_video(name)}
    list_ = os.path.relpath(path, root)
    wanted, items = {}, []
    for place, row in layout.rows(path, COLUMNS):
        try:
            label = _label(row)
            stem = f'{row["youtube_id"]}_{int(row["time_start"]):06}_{int(row["time_end"]):06}'
            name = stems.get(stem) or stems.get(row['youtube_id']) or f'{where}/{stem}.mp4'
            if name in wanted:
                raise ProblemError('listed_twice', f'an earlier row of {list_} has it')
        except ValueError as error:
            items.append(Item(f'{list_} {place}', '', split=split, problem=f'bad_row: {error}'))
        except ProblemError as problem:
            items.append(Item(f'{list_} {place}', '', split=split, problem=str(problem)))
        else:
            wanted[name] = {'label': labels.get(label), 'label_name': label}
    return items + list(layout.paired(root, wanted, found, (), list_, split))


def _label(row):
    """The label of a row, '' for none. Raises: ProblemError, also for a row that is one."""
    if isinstance(row, ProblemError):
        raise row
    return text_of(row.get('label'), 'label')


def _candidates(split):
    return [f'annotations/{name}.{kind}' for name in NAMES[split] for kind in ('txt', 'csv')]


def _list(root, split):
    """The list of a split, '' for none: .txt before .csv, which CVDF calls incomplete."""
    return next((path for name in _candidates(split) if os.path.isfile(path := os.path.join(root, name))), '')
