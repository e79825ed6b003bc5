"""ImageNet (ILSVRC 2012) as one-frame videos, from any of

    ROOT/train/nXXXXXXXX/*.JPEG, ROOT/val/nXXXXXXXX/*.JPEG    one folder a class (also below ILSVRC/Data/CLS-LOC/)
    ROOT/val/ILSVRC2012_val_XXXXXXXX.JPEG                     with ILSVRC2012_devkit_t12/data/ or LOC_val_solution.csv

Labels are places in the sorted synsets (what torchvision, TFDS and published class-conditional models use), not the
numbers of the development kit. label_name: the words of the kit or of LOC_synset_mapping.txt, else the synset.
"""

import os
import re

from data_pipelines.datasets import layout
from data_pipelines.inputs import frame_sources
from vdm_jax.errors import UserError

SPLITS = ('train', 'val', 'test')
FPS = 1.0  # a picture lasts a second
DATA = ('', 'ILSVRC/Data/CLS-LOC')
KIT = 'ILSVRC2012_devkit_t12/data/meta.mat'
TRUTH = 'ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt'
WORDS = 'LOC_synset_mapping.txt'
SOLUTION = 'LOC_val_solution.csv'


def classes(root) -> tuple[str, ...]:
    """The synsets, sorted: those of the kit or the mapping where one is there, else the folders of train or val."""
    if words := _words(root):
        return tuple(sorted(words))
    for part in ('train', 'val'):
        for base in DATA:
            folder = os.path.join(root, base, part)
            found = os.listdir(folder) if os.path.isdir(folder) else ()
            if synsets := sorted(name for name in found if re.fullmatch(r'n\d{8}', name)):
                return tuple(synsets)
    return ()


def items(root, split):
    """Items of a split, those of test without labels; a class without pictures is one with the problem.

    Raises: UserError where the folder is missing, or what says the classes of a val/ without folders.
    """
    where = layout.folder(root, *(os.path.join(base, split) for base in DATA))
    words, labels = _words(root), {synset: i for i, synset in enumerate(classes(root))}
    truth, found = None, []
    for name in layout.files(root, where):
        if not layout.is_picture(name):
            found.append(layout.item(root, name, split=split, problem=layout.no_video(name)))
            continue
        folder, file = os.path.split(name)
        fields = {}
        if split != 'test':
            if folder == where and truth is None:
                truth = _truth(root)
            synset = truth.get(os.path.splitext(file)[0]) if folder == where else os.path.basename(folder)
            if synset not in labels:
                found.append(layout.item(root, name, split=split, problem='not_listed: its class is not known'))
                continue
            fields = {'label': labels[synset], 'label_name': words.get(synset, synset)}
        video = frame_sources.Images(os.path.join(root, folder), (file,), FPS)
        found.append(layout.item(root, name, split=split, stills=video, **fields))
    if split != 'test':
        there = {item.label for item in found}
        empty = [synset for synset, i in labels.items() if i not in there]
        problem = 'missing: a class without pictures'
        found += [layout.item(root, os.path.join(where, synset), split=split, problem=problem) for synset in empty]
    return found


def _words(root):
    """{synset: what it is called}, from the mapping or the kit; {} without either."""
    if os.path.isfile(path := os.path.join(root, WORDS)):
        return dict(line.partition(' ')[::2] for line in layout.lines(path))
    if os.path.isfile(path := os.path.join(root, KIT)):
        return {synset: words for synset, words in _kit(path).values()}
    return {}


def _kit(path):
    """{number in the development kit, 1 to 1000: (synset, words)}; higher numbers are groups of synsets."""
    from scipy.io import loadmat

    try:
        rows = loadmat(path, squeeze_me=True, struct_as_record=True)['synsets']
        found = {int(row['ILSVRC2012_ID']): (str(row['WNID']), str(row['words'])) for row in rows}
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(f'{path} is no meta.mat of the development kit: {error}') from None
    return {number: named for number, named in found.items() if number <= 1000}


def _truth(root):
    """{name of a validation picture, without its ending: synset}."""
    if os.path.isfile(path := os.path.join(root, SOLUTION)):
        rows = [row for _, row in layout.rows(path, ('ImageId', 'PredictionString')) if isinstance(row, dict)]
        return {row['ImageId']: (row['PredictionString'].split() or [''])[0] for row in rows}
    kit, path = _kit(layout.file(root, KIT)), layout.file(root, TRUTH)
    try:
        return {f'ILSVRC2012_val_{i:08}': kit[int(line)][0] for i, line in enumerate(layout.lines(path), 1)}
    except (KeyError, ValueError) as error:
        raise UserError(f'{path}: {error} is no number of {KIT}') from None
