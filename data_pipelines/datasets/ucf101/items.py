"""UCF-101 as it is unpacked: UCF-101/CLASS/v_CLASS_gNN_cNN.avi and ucfTrainTestlist/.

Labels are the numbers of classInd.txt less one. That order takes no notice of case, so it is not the order in which
Python sorts the folders (Hammering before HammerThrow, JumpingJack before JumpRope).
"""

import os
from collections.abc import Iterable, Iterator

from data_pipelines.datasets import layout
from data_pipelines.inputs.item import Item
from vdm_jax.errors import UserError

SPLITS = ('train', 'test', 'train02', 'test02', 'train03', 'test03', 'all')
VIDEOS = ('UCF-101', 'UCF101', '')
LISTS = ('ucfTrainTestlist', '')


def class_names(root: str) -> tuple[str, ...]:
    """Return the names in the order of classInd.txt; without that file, those of the folders in the same order."""
    path = _find_list(root, 'classInd.txt')
    if not path:
        where = os.path.join(root, layout.find_folder(root, *VIDEOS))
        folders = {entry.name for entry in os.scandir(where) if entry.is_dir() and not entry.name.startswith('.')}
        return tuple(sorted(folders - set(LISTS), key=str.lower))

    lines = [line.split() for line in layout.read_lines(path)]
    names = tuple(words[-1] for words in lines)
    if lines != [[str(number), name] for number, name in enumerate(names, 1)]:
        raise UserError(f'{path}: want lines such as "1 ApplyEyeMakeup", numbered from 1')
    return names


def list_items(root: str, split: str) -> list[Item]:
    """Return the Items of a split.

    'train' and 'test' are the first of the three official splits, 'all' is every video there is.

    Raises:
      UserError: a list is missing ('all' needs none) or damaged.
    """
    where = layout.find_folder(root, *VIDEOS)
    classes = class_names(root)
    part = split.rstrip('0123456789')
    number = split.removeprefix(part) or '01'

    listed: dict[str, list[str]] = {}
    for list_part in ('train', 'test'):
        file = f'{list_part}list{number}.txt'
        path = _find_list(root, file)
        if path:
            listed[list_part] = [os.path.join(where, name) for name in _read_list(path, classes)]
        elif part != 'all':
            # For its error, which says where the list was looked for.
            layout.find_file(root, *(os.path.join(folder, file) for folder in LISTS))

    # Where ROOT itself holds the classes, the lists lie among them.
    files = {name for name in layout.list_files(root, where) if not name.startswith(LISTS[0])}
    wanted: Iterable[str]
    elsewhere: Iterable[str] = ()
    if part == 'all':
        # Without lists only the folders say what is a class.
        videos = {name for name in files if layout.is_video(name) and _class_of(name) in classes}
        wanted = videos.union(*listed.values())
        list_name = 'a list'
    else:
        wanted = listed[part]
        elsewhere = listed['train' if part == 'test' else 'test']
        list_name = f'{part}list{number}.txt'

    labels = {name: label for label, name in enumerate(classes)}
    fields = {}
    for name in sorted(wanted):
        class_name = _class_of(name)
        fields[name] = {'label': labels[class_name], 'label_name': class_name}
    return list(layout.pair_items(root, fields, files, elsewhere, list_name, split))


def _find_list(root: str, name: str) -> str:
    """Return the path of a list, '' where it is not there."""
    for folder in LISTS:
        path = os.path.join(root, folder, name)
        if os.path.isfile(path):
            return path
    return ''


def _class_of(name: str) -> str:
    return os.path.basename(os.path.dirname(name))


def _read_list(path: str, classes: tuple[str, ...]) -> Iterator[str]:
    """Yield the videos a list names, CLASS/FILE.avi; the number beside it must be that of its class."""
    for line_number, line in enumerate(layout.read_lines(path), 1):
        name, *numbers = line.split()
        folder, _, file = name.partition('/')
        is_valid = folder in classes and file and '/' not in file
        if not is_valid or numbers not in ([], [str(classes.index(folder) + 1)]):
            raise UserError(f'{path}, line {line_number}: {line!r} is no CLASS/FILE of classInd.txt with its number')
        yield name
