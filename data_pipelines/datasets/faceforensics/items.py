"""FaceForensics in the layouts it is used in; the first that fits is taken.

    ROOT/{train,val,test}/original/*.avi                          version 1, as the authors' script fetches it
    ROOT/original_sequences/youtube/{c23,c40,c0,raw}/videos/      FaceForensics++; splits/{train,val,test}.json
    ROOT[/SPLIT][/videos]/*.mp4 or ROOT[/SPLIT][/videos]/CLIP/*.jpg      face crops (StyleGAN-V's script, Latte's copy)

Only original videos are taken, never manipulated ones nor masks.
"""

import json
import os

from data_pipelines.datasets import layout
from vdm_jax.errors import UserError

SPLITS = ('train', 'val', 'test', 'all')
FPS = 30.0  # of version 1's videos, which crops are cut from (README of its authors)
QUALITIES = ('c23', 'c0', 'raw', 'c40')


def classes(root):
    return ()


def items(root, split):
    """Items of a split. Raises UserError where the layout is none of the three, or the split is not in it."""
    layout.folder(root, '')
    if os.path.isdir(os.path.join(root, 'original_sequences', 'youtube')):
        return _plus_plus(root, split)
    parts = [part for part in ('train', 'val', 'test') if os.path.isdir(os.path.join(root, part))]
    if split != 'all' and parts and split not in parts:
        raise UserError(f'--split={split}: {root} has {", ".join(parts)}')
    if split != 'all' and not parts and split != 'train':
        raise UserError(f'--split={split}: {root} has no {split}/; without such folders everything is train')
    found = []
    for part in [split] if split in parts else parts or ['']:
        inside = next((name for name in ('original', 'videos') if os.path.isdir(os.path.join(root, part, name))), '')
        found += layout.clips(root, os.path.join(part, inside), part or 'train', FPS)
    return found


def _plus_plus(root, split):
    """Originals of FaceForensics++: numbered files, paired in the lists (each names a target and a source)."""
    base = os.path.join('original_sequences', 'youtube')
    where = layout.folder(root, *(os.path.join(base, quality, 'videos') for quality in QUALITIES))
    found = layout.files(root, where)
    if split == 'all':
        return layout.clips(root, where, split, FPS)
    listed = {}
    for part in ('train', 'val', 'test'):
        path = layout.file(root, f'splits/{part}.json', f'dataset/splits/{part}.json', f'{part}.json')
        try:
            with open(path, encoding='utf-8') as file:
                numbers = sorted({str(number) for pair in json.load(file) for number in pair})
        except (ValueError, TypeError) as error:
            raise UserError(f'{path}: {error}; want a list of pairs of numbers') from None
        listed[part] = [os.path.join(where, f'{number}.mp4') for number in numbers]
    known = [name for names in listed.values() for name in names]
    wanted = {name: {} for name in listed[split]}
    return list(layout.paired(root, wanted, found, known, f'splits/{split}.json', split))
