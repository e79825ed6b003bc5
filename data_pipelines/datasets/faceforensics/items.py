"""FaceForensics in the layouts it is used in; the first that fits is taken.

    ROOT/{train,val,test}/original/*.avi                          version 1, as the authors' script fetches it
    ROOT/original_sequences/youtube/{c23,c40,c0,raw}/videos/      FaceForensics++; splits/{train,val,test}.json
    ROOT[/SPLIT][/videos]/*.mp4 or ROOT[/SPLIT][/videos]/CLIP/*.jpg      face crops (StyleGAN-V's script, Latte's copy)

Only original videos are taken, never manipulated ones nor masks.
"""

import json
import os
from typing import Any

from data_pipelines.datasets import layout
from data_pipelines.inputs.item import Item
from vdm_jax.errors import UserError

SPLITS = ('train', 'val', 'test', 'all')
PARTS = ('train', 'val', 'test')
# Of version 1's videos, which crops are cut from (README of its authors).
FPS = 30.0
QUALITIES = ('c23', 'c0', 'raw', 'c40')


def class_names(root: str) -> tuple[str, ...]:
    """Return no classes."""
    return ()


def list_items(root: str, split: str) -> list[Item]:
    """Return the Items of a split.

    Raises:
      UserError: the layout is none of the three, or the split is not in it.
    """
    layout.find_folder(root, '')
    if os.path.isdir(os.path.join(root, 'original_sequences', 'youtube')):
        return _list_plus_plus(root, split)

    folders = [part for part in PARTS if os.path.isdir(os.path.join(root, part))]
    if split != 'all' and folders and split not in folders:
        raise UserError(f'--split={split}: {root} has {", ".join(folders)}')
    if split != 'all' and not folders and split != 'train':
        raise UserError(f'--split={split}: {root} has no {split}/; without such folders everything is train')

    parts = [split] if split in folders else folders or ['']
    items: list[Item] = []
    for part in parts:
        # Version 1 has the originals beside manipulated videos and masks.
        inner = [name for name in ('original', 'videos') if os.path.isdir(os.path.join(root, part, name))]
        where = os.path.join(part, inner[0] if inner else '')
        items += layout.list_clips(root, where, part or 'train', FPS)
    return items


def _list_plus_plus(root: str, split: str) -> list[Item]:
    """Return originals of FaceForensics++: numbered files, paired in the lists (each names a target and a source)."""
    base = os.path.join('original_sequences', 'youtube')
    where = layout.find_folder(root, *(os.path.join(base, quality, 'videos') for quality in QUALITIES))
    files = layout.list_files(root, where)
    if split == 'all':
        return layout.list_clips(root, where, split, FPS)

    listed: dict[str, list[str]] = {}
    for part in PARTS:
        path = layout.find_file(root, f'splits/{part}.json', f'dataset/splits/{part}.json', f'{part}.json')
        listed[part] = [os.path.join(where, f'{number}.mp4') for number in _read_numbers(path)]

    # Videos of other splits are no strays.
    all_listed = [name for names in listed.values() for name in names]
    fields: dict[str, dict[str, Any]] = {name: {} for name in listed[split]}
    return list(layout.pair_items(root, fields, files, all_listed, f'splits/{split}.json', split))


def _read_numbers(path: str) -> list[str]:
    """Return the numbers of the videos of a list of pairs, sorted as texts."""
    try:
        with open(path, encoding='utf-8') as file:
            return sorted({str(number) for pair in json.load(file) for number in pair})
    except (ValueError, TypeError) as error:
        raise UserError(f'{path}: {error}; want a list of pairs of numbers') from None
