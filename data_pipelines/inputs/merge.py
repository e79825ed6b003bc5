"""Merge several rows of a list that are of one video: several captions of it, as MSR-VTT and others write them."""

import dataclasses
from collections.abc import Iterable
from typing import Any

from data_pipelines.inputs.fields import unique_captions
from data_pipelines.inputs.item import Item

# Problems of a row that leave the other rows of its video as they are.
CAPTION_PROBLEMS = 'bad_caption', 'bad_json', 'encoding'


def merge_rows(items: Iterable[Item]) -> list[Item]:
    """Return the Items with those of one name made one, with the captions of all.

    A row that says something else of its video than an earlier one cannot be used, nor one behind a row that cannot;
    one that cannot for the same reason is no other input.
    """
    positions: dict[str, int] = {}  # of the first row of each video
    merged: list[Item] = []
    for item in items:
        # A row whose caption cannot be read costs that caption only.
        if is_caption_problem(item):
            merged.append(item)
            continue
        if item.name not in positions:
            positions[item.name] = len(merged)
            merged.append(item)
            continue

        position = positions[item.name]
        earlier = merged[position]
        if item.problem and item.problem == earlier.problem:
            continue  # each row of a video that is not there says so
        if item.problem or earlier.problem:
            problem = 'listed_twice: an earlier row of this video cannot be used; mend that one'
            merged.append(dataclasses.replace(item, problem=item.problem or problem))
        elif contradiction := _find_contradiction(earlier, item):
            merged.append(dataclasses.replace(item, problem=f'listed_twice: {contradiction}'))
        else:
            merged[position] = _merge_two(earlier, item)
    return merged


def is_caption_problem(item: Item) -> bool:
    """Return whether only the caption of a row cannot be used."""
    return item.problem.partition(':')[0] in CAPTION_PROBLEMS


def _find_contradiction(first: Item, item: Item) -> str:
    """Return what two rows of one video say differently, '' where they agree or one says nothing."""
    values: list[tuple[str, Any, Any]] = []
    for name in ('label', 'label_name', 'split'):
        values.append((name, getattr(first, name), getattr(item, name)))
    for name, score in item.scores.items():
        values.append((name, first.scores.get(name), score))

    for name, before, now in values:
        if before not in (None, '') and now not in (None, '') and before != now:
            return (
                f'its {name} is {now!r} in this row and {before!r} in an earlier one of this video; several rows may '
                'differ in their captions alone'
            )
    if (first.path, first.start, first.end, first.stills) != (item.path, item.start, item.end, item.stills):
        return 'an earlier row has this name; nothing tells the two apart'
    return ''


def _merge_two(first: Item, item: Item) -> Item:
    """Return one Item of two rows that agree."""
    # Rows that have a score both agree in it, as contradictions were found before.
    scores = {**item.scores, **first.scores}
    return dataclasses.replace(
        first,
        captions=unique_captions(first.captions + item.captions),
        label=item.label if first.label is None else first.label,
        label_name=first.label_name or item.label_name,
        split=first.split or item.split,
        scores=dict(sorted(scores.items())),
    )
