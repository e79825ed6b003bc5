"""TaiChi-HD as the First Order Motion Model's script makes it: {train,test}/VIDEO#START#END.mp4, a file or, with
--format .png, a folder of pictures of that name; taichi-metadata.csv, where it is there, says what should be there.
"""

import dataclasses
import os

from data_pipelines.datasets import layout
from data_pipelines.inputs.fields import ProblemError
from vdm_jax.errors import UserError

SPLITS = ('train', 'test', 'all')
TABLE = 'taichi-metadata.csv'
COLUMNS = ('video_id', 'start', 'end', 'fps', 'partition')
FPS = 30.0  # of pictures that no row of the table knows; most of its rows say 29.97


def classes(root):
    return ()


def items(root, split):
    """Items of a split. Raises UserError where its folder is missing or the table lacks a column."""
    found = []
    for part in ('train', 'test') if split == 'all' else (split,):
        where = layout.folder(root, part, f'frames/{part}', f'taichi/{part}', f'taichi-png/{part}')
        found += _part(root, where, part)
    return found


def _part(root, where, part):
    rates = _rates(root, part)
    if rates is None:
        return layout.clips(root, where, part, FPS)
    items = layout.clips(root, where, part, lambda name: rates.get(_clip(name, where), FPS))
    known = {item.name: _clip(item.name, where) for item in items}
    items = [
        item if item.problem or known[item.name] in rates else dataclasses.replace(item, problem=layout.NOT_LISTED)
        for item in items
    ]
    lacking = rates.keys() - set(known.values())
    return items + [
        layout.item(root, os.path.join(where, name), split=part, problem=layout.missing(TABLE)) for name in lacking
    ]


def _clip(name, where):
    """The name of a clip: of the file, or of the folder, directly in the split's folder."""
    return name.removeprefix(where).lstrip('/').split('/')[0]


def _rates(root, part):
    """{clip: frames a second} of a partition by the table; None where there is no table."""
    path = os.path.join(root, TABLE)
    if not os.path.isfile(path):
        return None
    rates = {}
    for place, row in layout.rows(path, COLUMNS):
        try:
            if isinstance(row, ProblemError):
                raise ValueError(row)
            first, last, fps = int(row['start']), int(row['end']), float(row['fps'])
        except ValueError as error:
            raise UserError(f'{path}, {place}: {error}') from None
        if row['partition'] == part:
            rates[f'{row["video_id"]}#{first:06}#{last:06}.mp4'] = fps
    return rates
