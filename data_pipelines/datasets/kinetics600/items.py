"""Kinetics-600 as CVDF's scripts unpack it.

Clips are {train,val,test}/ID_START_END.mp4, all in one folder or one folder a class, and lists are
annotations/{train,val,test}.txt or .csv with the columns label, youtube_id, time_start, time_end. The clips are cut
already; time_start and time_end count from the start of the YouTube video and are part of the name.
"""

import contextlib
import os
from typing import Any

from data_pipelines.datasets import layout
from data_pipelines.inputs.fields import ProblemError, parse_text
from data_pipelines.inputs.item import Item
from data_pipelines.inputs.readers import Row

SPLITS = ('train', 'val', 'test')
NAMES = {'val': ('val', 'validate', 'validation'), 'train': ('train',), 'test': ('test',)}
COLUMNS = ('youtube_id', 'time_start', 'time_end')


def class_names(root: str) -> tuple[str, ...]:
    """Return every label of the lists that are there, sorted: the numbers do not hang on the split."""
    labels: set[str] = set()
    for split in SPLITS:
        path = _find_list(root, split)
        if not path:
            continue
        for _, row in layout.read_table(path, COLUMNS):
            with contextlib.suppress(ProblemError):  # list_items reports it
                labels.add(_parse_label(row))
    return tuple(sorted(labels - {''}))


def list_items(root: str, split: str) -> list[Item]:
    """Return the Items of a split: of every row of its list, and of every file there that no row names.

    Raises:
      UserError: the list or the folder is missing, or the list lacks a column.
    """
    path = _find_list(root, split) or layout.find_file(root, *_list_candidates(split))
    where = layout.find_folder(root, *NAMES[split])
    labels = {name: label for label, name in enumerate(class_names(root))}
    files = layout.list_files(root, where)
    # Folders of classes play no part: the list says the class.
    stems = {os.path.splitext(os.path.basename(name))[0]: name for name in files if layout.is_video(name)}

    list_name = os.path.relpath(path, root)
    listed: dict[str, dict[str, Any]] = {}
    unusable: list[Item] = []
    for row_name, row in layout.read_table(path, COLUMNS):
        try:
            label = _parse_label(row)
            name = _find_video(row, stems, where)
            if name in listed:
                raise ProblemError('listed_twice', f'an earlier row of {list_name} has it')
        except ValueError as error:
            unusable.append(Item(f'{list_name} {row_name}', '', split=split, problem=f'bad_row: {error}'))
        except ProblemError as problem:
            unusable.append(Item(f'{list_name} {row_name}', '', split=split, problem=str(problem)))
        else:
            listed[name] = {'label': labels.get(label), 'label_name': label}
    return unusable + list(layout.pair_items(root, listed, files, (), list_name, split))


def _parse_label(row: Row) -> str:
    """Return the label of a row, '' for none; raise ProblemError, also for a row that is one."""
    if isinstance(row, ProblemError):
        raise row
    return parse_text(row.get('label'), 'label')


def _find_video(row: Any, stems: dict[str, str], where: str) -> str:
    """Return the name of a row's video, also where it is not there: with its times, or with the ID only."""
    stem = f'{row["youtube_id"]}_{int(row["time_start"]):06}_{int(row["time_end"]):06}'
    return stems.get(stem) or stems.get(row['youtube_id']) or f'{where}/{stem}.mp4'


def _list_candidates(split: str) -> list[str]:
    # .txt is before .csv, which CVDF calls incomplete.
    return [f'annotations/{name}.{ending}' for name in NAMES[split] for ending in ('txt', 'csv')]


def _find_list(root: str, split: str) -> str:
    """Return the path of the list of a split, '' for none."""
    for name in _list_candidates(split):
        path = os.path.join(root, name)
        if os.path.isfile(path):
            return path
    return ''
