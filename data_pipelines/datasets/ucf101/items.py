"""UCF-101 as it is unpacked: UCF-101/CLASS/v_CLASS_gNN_cNN.avi and ucfTrainTestlist/.

Labels are the numbers of classInd.txt less one. That order takes no notice of case, so it is not the order in which
Python sorts the folders (Hammering before HammerThrow, JumpingJack before JumpRope).
"""

import os

from data_pipelines.datasets import layout
from vdm_jax.errors import UserError

SPLITS = ('train', 'test', 'train02', 'test02', 'train03', 'test03', 'all')
VIDEOS = ('UCF-101', 'UCF101', '')
LISTS = ('ucfTrainTestlist', '')


def classes(root) -> tuple[str, ...]:
    """Names in the order of classInd.txt; without that file, those of the folders in the same order."""
    if not (path := _list(root, 'classInd.txt')):
        where = os.path.join(root, layout.folder(root, *VIDEOS))
        names = (entry.name for entry in os.scandir(where) if entry.is_dir() and not entry.name.startswith('.'))
        return tuple(sorted(set(names) - set(LISTS), key=str.lower))
    numbered = [tuple(line.split()) for line in layout.lines(path)]
    names = tuple(pair[-1] for pair in numbered)
    if numbered != [(str(i), name) for i, name in enumerate(names, 1)]:
        raise UserError(f'{path}: want lines such as "1 ApplyEyeMakeup", numbered from 1')
    return names


def items(root, split):
    """Items of a split: 'train' and 'test' are the first of the three official ones, 'all' is every video there is.

    Raises: UserError where a list is missing ('all' needs none) or is damaged.
    """
    where = layout.folder(root, *VIDEOS)
    names = classes(root)
    number = split[-2:] if split[-1].isdigit() else '01'
    part = split.rstrip('0123456789')
    listed = {}
    for each in ('train', 'test'):
        if path := _list(root, f'{each}list{number}.txt'):
            listed[each] = [os.path.join(where, name) for name in _listed(path, names)]
        elif part != 'all':
            layout.file(root, *(os.path.join(folder, f'{each}list{number}.txt') for folder in LISTS))
    found = {name for name in layout.files(root, where) if not name.startswith(LISTS[0])}
    if part == 'all':
        there = {name for name in found if layout.is_video(name) and _class(name) in names}
        wanted, elsewhere, list_ = there.union(*listed.values()), (), 'a list'
    else:
        wanted, elsewhere = listed[part], listed['train' if part == 'test' else 'test']
        list_ = f'{part}list{number}.txt'
    labels = {name: i for i, name in enumerate(names)}
    wanted = {name: {'label': labels[_class(name)], 'label_name': _class(name)} for name in sorted(wanted)}
    return list(layout.paired(root, wanted, found, elsewhere, list_, split))


def _list(root, name):
    """The path of a list, '' where it is not there."""
    return next((path for folder in LISTS if os.path.isfile(path := os.path.join(root, folder, name))), '')


def _class(name):
    return os.path.basename(os.path.dirname(name))


def _listed(path, names):
    """The videos a list names, CLASS/FILE.avi; the number beside it must be that of its class."""
    for place, line in enumerate(layout.lines(path), 1):
        name, *number = line.split()
        folder, _, file = name.partition('/')
        if folder not in names or not file or '/' in file or number not in ([], [str(names.index(folder) + 1)]):
            raise UserError(f'{path}, line {place}: {line!r} is no CLASS/FILE of classInd.txt with its number')
        yield name
