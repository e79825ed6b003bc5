"""TaiChi-HD as the First Order Motion Model's script makes it: {train,test}/VIDEO#START#END.mp4.

Each is a file or, with --format .png, a folder of pictures of that name; taichi-metadata.csv, where it is there, says
what should be there.
"""

import dataclasses
import os

from data_pipelines.datasets import layout
from data_pipelines.inputs.fields import ProblemError
from data_pipelines.inputs.item import Item
from vdm_jax.errors import UserError

SPLITS = ('train', 'test', 'all')
TABLE = 'taichi-metadata.csv'
COLUMNS = ('video_id', 'start', 'end', 'fps', 'partition')
# Of pictures that no row of the table knows; most of its rows say 29.97.
FPS = 30.0


def class_names(root: str) -> tuple[str, ...]:
    """Return no classes."""
    return ()


def list_items(root: str, split: str) -> list[Item]:
    """Return the Items of a split.

    Raises:
      UserError: its folder is missing, or the table lacks a column.
    """
    items: list[Item] = []
    for part in ('train', 'test') if split == 'all' else (split,):
        where = layout.find_folder(root, part, f'frames/{part}', f'taichi/{part}', f'taichi-png/{part}')
        items += _list_part(root, where, part)
    return items


def _list_part(root: str, where: str, part: str) -> list[Item]:
    rates = _read_rates(root, part)
    if rates is None:
        return layout.list_clips(root, where, part, FPS)

    def rate_of(name: str) -> float:
        return rates.get(_clip_name(name, where), FPS)

    items: list[Item] = []
    there: set[str] = set()
    for item in layout.list_clips(root, where, part, rate_of):
        clip = _clip_name(item.name, where)
        there.add(clip)
        # Clips that the table does not know are of other videos, or cut otherwise.
        if not item.problem and clip not in rates:
            item = dataclasses.replace(item, problem=layout.NOT_LISTED)
        items.append(item)

    problem = layout.missing_problem(TABLE)
    # In any order, as items are sorted by name in the end.
    for clip in rates.keys() - there:
        items.append(layout.make_item(root, os.path.join(where, clip), split=part, problem=problem))
    return items


def _clip_name(name: str, where: str) -> str:
    """Return the name of a clip: of the file, or of the folder, directly in the split's folder."""
    return name.removeprefix(where).lstrip('/').split('/')[0]


def _read_rates(root: str, part: str) -> dict[str, float] | None:
    """Return {clip: frames a second} of a partition by the table; None where there is no table."""
    path = os.path.join(root, TABLE)
    if not os.path.isfile(path):
        return None
    rates: dict[str, float] = {}
    for where, row in layout.read_table(path, COLUMNS):
        try:
            if isinstance(row, ProblemError):
                raise ValueError(row)
            start = int(row['start'])
            end = int(row['end'])
            fps = float(row['fps'])
        except ValueError as error:
            raise UserError(f'{path}, {where}: {error}') from None
        if row['partition'] == part:
            rates[f'{row["video_id"]}#{start:06}#{end:06}.mp4'] = fps
    return rates
