"""Published sets by name, for `build --dataset=NAME --source=ROOT --split=SPLIT`: what of a set lies on disk, as Items.

A set is a folder here: README.md (what it is, its licence, where it comes from, how it lies on disk) and items.py with
SPLITS, classes(root), the names of its classes in the order of their numbers, and items(root, split). Nothing is
fetched.
"""

import collections

from data_pipelines.datasets.bair import items as bair
from data_pipelines.datasets.faceforensics import items as faceforensics
from data_pipelines.datasets.imagenet import items as imagenet
from data_pipelines.datasets.kinetics600 import items as kinetics600
from data_pipelines.datasets.moving_mnist import items as moving_mnist
from data_pipelines.datasets.skytimelapse import items as skytimelapse
from data_pipelines.datasets.taichi import items as taichi
from data_pipelines.datasets.ucf101 import items as ucf101
from data_pipelines.datasets.webvid import items as webvid
from data_pipelines.inputs.listing import Item, Listing, in_order
from vdm_jax.errors import UserError

DATASETS = {
    'bair': bair,
    'faceforensics': faceforensics,
    'imagenet': imagenet,
    'kinetics600': kinetics600,
    'moving_mnist': moving_mnist,
    'skytimelapse': skytimelapse,
    'taichi': taichi,
    'ucf101': ucf101,
    'webvid': webvid,  # and the other tables of captions that it knows
}
RAW = ('webvid',)  # to be curated; the others are what published numbers are for
AS_PUBLISHED = {
    'shots': {'detector': 'none', 'fades': False},
    'clips': {'seconds': None, 'min_seconds': 0.0},
    'filters': (),
    'duplicates': {'drop': False},
}
NAMED = 3  # examples of each problem


def recipe_of(dataset: str | None) -> dict:
    """What a recipe for the set says where the user's says nothing: nothing is cut, filtered or dropped of a set that
    published numbers are for.
    """
    return {} if dataset is None or dataset in RAW else AS_PUBLISHED


def listed(dataset: str, source: str, split: str) -> Listing:
    """What of a split of a set lies in the folder `source`.

    Raises: UserError for a set or split that is not known, a folder that is not laid out as the set is, or an empty
    one.
    """
    if dataset not in DATASETS:
        raise UserError(f'--dataset={dataset}; known: {", ".join(DATASETS)}')
    found = DATASETS[dataset]
    if split not in found.SPLITS:
        raise UserError(f'--split={split or "(none)"}: {dataset} has {", ".join(found.SPLITS)}')
    items = found.items(source, split)
    if not any(not item.problem for item in items):
        problems = f'; {summary(items)}' if items else ''
        raise UserError(f'--source={source} holds nothing of {dataset} {split} that can be used{problems}')
    return Listing(in_order(items))


def summary(items: list[Item]) -> str:
    """How many can be used, and of what cannot: how many of each reason, the first few by name."""
    problems = collections.defaultdict(list)
    for item in items:
        if item.problem:
            problems[item.problem.partition(':')[0]].append(item.name)
    parts = [f'{sum(not item.problem for item in items)} inputs']
    for reason, names in sorted(problems.items()):
        shown = ', '.join(names[:NAMED]) + (', ...' if len(names) > NAMED else '')
        parts.append(f'{len(names)} {reason} ({shown})')
    return '; '.join(parts)
