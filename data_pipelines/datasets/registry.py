"""Registry of published sets, for `build --dataset=NAME --source=ROOT --split=SPLIT`.

A set is a folder here: README.md (what it is, its licence, where it comes from, how it lies on disk) and items.py, a
module that is a Dataset. Nothing is fetched.
"""

import collections
from collections.abc import Sequence
from typing import Any, Protocol

from data_pipelines.datasets.bair import items as bair
from data_pipelines.datasets.faceforensics import items as faceforensics
from data_pipelines.datasets.imagenet import items as imagenet
from data_pipelines.datasets.kinetics600 import items as kinetics600
from data_pipelines.datasets.moving_mnist import items as moving_mnist
from data_pipelines.datasets.skytimelapse import items as skytimelapse
from data_pipelines.datasets.taichi import items as taichi
from data_pipelines.datasets.ucf101 import items as ucf101
from data_pipelines.datasets.webvid import items as webvid
from data_pipelines.inputs.item import Item
from data_pipelines.inputs.listing import Listing, sort_items
from vdm_jax.errors import UserError


class Dataset(Protocol):
    """What the module items.py of a set has."""

    @property
    def SPLITS(self) -> tuple[str, ...]:  # noqa: N802, a constant of a module
        """Return the names that `list_items` knows."""

    def class_names(self, root: str) -> tuple[str, ...]:
        """Return the names of the classes in the order of their numbers, none where the set has no classes."""

    def list_items(self, root: str, split: str) -> list[Item]:
        """Return what of a split lies in the folder `root`; raise UserError for another layout than the set's."""


DATASETS: dict[str, Dataset] = {
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
# Sets to be curated; of the others numbers are published, which hold for them as they are.
RAW = ('webvid',)
AS_PUBLISHED: dict[str, Any] = {
    'shots': {'detector': 'none', 'fades': False},
    'clips': {'seconds': None, 'min_seconds': 0.0},
    'filters': (),
    'duplicates': {'drop': False},
}
EXAMPLES = 3  # of each problem, by name


def base_recipe(dataset: str | None) -> dict[str, Any]:
    """Return what a recipe for the set says where the user's says nothing.

    Nothing is cut, filtered or dropped of a set that published numbers are for.
    """
    return {} if dataset is None or dataset in RAW else AS_PUBLISHED


def list_dataset(dataset: str, source: str, split: str) -> Listing:
    """List what of a split of a set lies in the folder `source`.

    Raises:
      UserError: the set or split is not known, or the folder is empty or not laid out as the set is.
    """
    if dataset not in DATASETS:
        raise UserError(f'--dataset={dataset}; known: {", ".join(DATASETS)}')
    module = DATASETS[dataset]
    if split not in module.SPLITS:
        raise UserError(f'--split={split or "(none)"}: {dataset} has {", ".join(module.SPLITS)}')
    items = module.list_items(source, split)
    # Most likely --source is another folder than the set's.
    if all(item.problem for item in items):
        problems = f'; {summarize(items)}' if items else ''
        raise UserError(f'--source={source} holds nothing of {dataset} {split} that can be used{problems}')
    return Listing(sort_items(items))


def summarize(items: Sequence[Item]) -> str:
    """Return how many can be used, and of what cannot: how many of each reason, the first few by name."""
    problems: dict[str, list[str]] = collections.defaultdict(list)
    for item in items:
        if item.problem:
            problems[item.problem.partition(':')[0]].append(item.name)
    parts = [f'{sum(not item.problem for item in items)} inputs']
    for reason, names in sorted(problems.items()):
        examples = ', '.join(names[:EXAMPLES]) + (', ...' if len(names) > EXAMPLES else '')
        parts.append(f'{len(names)} {reason} ({examples})')
    return '; '.join(parts)
