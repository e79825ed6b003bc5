"""ImageNet (ILSVRC 2012) as one-frame videos, in any of these layouts.

    ROOT/train/nXXXXXXXX/*.JPEG, ROOT/val/nXXXXXXXX/*.JPEG    one folder a class (also below ILSVRC/Data/CLS-LOC/)
    ROOT/val/ILSVRC2012_val_XXXXXXXX.JPEG                     with ILSVRC2012_devkit_t12/data/ or LOC_val_solution.csv

Labels are ranks in the sorted synsets (what torchvision, TFDS and published class-conditional models use), not the
numbers of the development kit. label_name: the words of the kit or of LOC_synset_mapping.txt, else the synset.
"""

import functools
import os
import re
from typing import Any

from data_pipelines.datasets import layout
from data_pipelines.inputs.item import Item
from data_pipelines.inputs.stills import ImageFolder
from vdm_jax.errors import UserError

SPLITS = ('train', 'val', 'test')
FPS = 1.0  # a picture lasts a second
DATA = ('', 'ILSVRC/Data/CLS-LOC')
KIT = 'ILSVRC2012_devkit_t12/data/meta.mat'
KIT_TRUTH = 'ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt'
KIT_CLASSES = 1000
WORDS = 'LOC_synset_mapping.txt'
SOLUTION = 'LOC_val_solution.csv'


def class_names(root: str) -> tuple[str, ...]:
    """Return the synsets, sorted: those of the kit or the mapping where one is there, else the folders."""
    words = _read_words(root)
    if words:
        return tuple(sorted(words))
    for part in ('train', 'val'):
        for base in DATA:
            folder = os.path.join(root, base, part)
            names = os.listdir(folder) if os.path.isdir(folder) else []
            synsets = sorted(name for name in names if re.fullmatch(r'n\d{8}', name))
            if synsets:
                return tuple(synsets)
    return ()


def list_items(root: str, split: str) -> list[Item]:
    """Return the Items of a split, those of test without labels; a class without pictures is one with the problem.

    Raises:
      UserError: the folder is missing, or what says the classes of a val/ without folders.
    """
    where = layout.find_folder(root, *(os.path.join(base, split) for base in DATA))
    words = _read_words(root)
    labels = {synset: label for label, synset in enumerate(class_names(root))}

    # Read when it is needed: folders of classes want no kit.
    @functools.cache
    def truth() -> dict[str, str]:
        return _read_truth(root)

    def synset_of(name: str) -> str:
        folder, file = os.path.split(name)
        # The 50,000 validation pictures may lie in one folder, whose classes a list of the kit has.
        return truth().get(os.path.splitext(file)[0], '') if folder == where else os.path.basename(folder)

    items: list[Item] = []
    for name in layout.list_files(root, where):
        if not layout.is_picture(name):
            items.append(layout.make_item(root, name, split=split, problem=layout.no_video_problem(name)))
            continue

        fields: dict[str, Any] = {}
        if split != 'test':
            synset = synset_of(name)
            if synset not in labels:
                problem = 'not_listed: its class is not known'
                items.append(layout.make_item(root, name, split=split, problem=problem))
                continue
            fields = {'label': labels[synset], 'label_name': words.get(synset, synset)}

        folder, file = os.path.split(name)
        picture = ImageFolder(os.path.join(root, folder), (file,), FPS)
        items.append(layout.make_item(root, name, split=split, stills=picture, **fields))

    if split != 'test':
        # A class that was not unpacked would go unnoticed otherwise.
        labels_there = {item.label for item in items}
        for synset, label in labels.items():
            if label not in labels_there:
                problem = 'missing: a class without pictures'
                items.append(layout.make_item(root, os.path.join(where, synset), split=split, problem=problem))
    return items


def _read_words(root: str) -> dict[str, str]:
    """Return {synset: what it is called}, from the mapping or the kit; {} without either."""
    path = os.path.join(root, WORDS)
    if os.path.isfile(path):
        words = {}
        for line in layout.read_lines(path):
            synset, _, text = line.partition(' ')
            words[synset] = text
        return words
    path = os.path.join(root, KIT)
    if os.path.isfile(path):
        return dict(_read_kit(path).values())
    return {}


def _read_kit(path: str) -> dict[int, tuple[str, str]]:
    """Return {number in the development kit, 1 to 1000: (synset, words)}; higher numbers are groups of synsets."""
    from scipy.io import loadmat

    try:
        rows = loadmat(path, squeeze_me=True, struct_as_record=True)['synsets']
        synsets = {int(row['ILSVRC2012_ID']): (str(row['WNID']), str(row['words'])) for row in rows}
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(f'{path} is no meta.mat of the development kit: {error}') from None
    return {number: synset for number, synset in synsets.items() if number <= KIT_CLASSES}


def _read_truth(root: str) -> dict[str, str]:
    """Return {name of a validation picture, without its ending: synset}."""
    path = os.path.join(root, SOLUTION)
    if os.path.isfile(path):
        truth = {}
        for _, row in layout.read_table(path, ('ImageId', 'PredictionString')):
            if isinstance(row, dict):
                predictions = row['PredictionString'].split()
                truth[row['ImageId']] = predictions[0] if predictions else ''
        return truth

    kit = _read_kit(layout.find_file(root, KIT))
    path = layout.find_file(root, KIT_TRUTH)
    try:
        numbers = enumerate(layout.read_lines(path), 1)
        return {f'ILSVRC2012_val_{picture:08}': kit[int(line)][0] for picture, line in numbers}
    except (KeyError, ValueError) as error:
        raise UserError(f'{path}: {error} is no number of {KIT}') from None
