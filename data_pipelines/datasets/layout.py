"""How published sets lie on disk: their folders, their lists, and how what is listed and what is there are paired.

Nothing is dropped in silence: what a list names and the disk lacks, and what lies there and no list names, become
Items with a problem, which end as rows of the manifest. Hidden files are skipped, as everywhere in the house.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from data_pipelines.inputs import frame_sources
from data_pipelines.inputs.fields import ProblemError, split_lines
from data_pipelines.inputs.listing import Item, printable
from data_pipelines.inputs.readers import csv_rows
from vdm_jax.data.video.files import EXTENSIONS
from vdm_jax.errors import UserError


def folder(root, *names) -> str:
    """The first of these folders (relative to root, '' for root itself) that is there.

    Raises: UserError naming --source, with the folders that were looked for.
    """
    if not os.path.isdir(root):
        raise UserError(f'--source={root} is {"a file" if os.path.exists(root) else "not there"}; name a folder')
    for name in names:
        if os.path.isdir(os.path.join(root, name)):
            return name
    raise UserError(f'--source={root} holds no {" or ".join(name + "/" for name in names if name)}')


def file(root, *names) -> str:
    """The first of these files that is there, as a path. Raises UserError, naming --source and all of them."""
    for name in names:
        if os.path.isfile(os.path.join(root, name)):
            return os.path.join(root, name)
    raise UserError(f"--source={root} holds no {' or '.join(names)}; the set's README says where it comes from")


def files(root, where='') -> list[str]:
    """Every file in root/where and below, sorted, as paths relative to root with / between folders.

    Links to folders are not followed, but are among them, with a / at the end. Raises: UserError for a folder that
    cannot be read.
    """

    def unreadable(error):
        raise UserError(f'--source={root}: {error.filename} cannot be read: {error.strerror}')

    found = []
    for place, folders, names in os.walk(os.path.join(root, where), onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith('.')]
        inside = os.path.relpath(place, root).replace(os.sep, '/') + '/'
        links = [f'{name}/' for name in folders if os.path.islink(os.path.join(place, name))]
        found += [inside.removeprefix('./') + name for name in names + links if not name.startswith('.')]
    return sorted(found)


def rows(path, columns: Iterable[str]) -> Iterator[tuple[str, dict | ProblemError]]:
    """Yields (where, {column: text} or what is wrong) for a CSV with a header. Raises UserError: it lacks a column."""
    for where, row in csv_rows(path):
        if isinstance(row, dict) and (missing := [name for name in columns if name not in row]):
            raise UserError(f'{path} has no column {missing[0]}; found: {", ".join(row)}')
        yield where, row


def lines(path) -> list[str]:
    """The lines of a text file that are not empty. Raises UserError: it is not UTF-8."""
    try:
        text = Path(path).read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise UserError(f'{path} is no UTF-8 (byte {error.start}); save it as UTF-8') from None
    return [line.strip() for line in split_lines(text) if line.strip()]


def is_video(name) -> bool:
    """Whether a file is a video by its name. A .webp in a published set is a picture."""
    return name.lower().endswith(EXTENSIONS) and not is_picture(name)


def is_picture(name) -> bool:
    return name.lower().endswith(frame_sources.EXTENSIONS)


def item(root, name, **fields) -> Item:
    """The Item of a file, or folder, of root."""
    return Item(name=printable(name), path=os.path.join(root, name), **fields)


def paired(root, wanted: Mapping[str, Mapping], found: Iterable[str], elsewhere: Iterable[str], list_, split):
    """Items of `wanted` (name -> fields of its Item), and of what is in `found` and no list names.

    elsewhere: names that lists of other splits have, which are passed over. list_: what `wanted` was read from.
    """
    found = set(found)
    for name, fields in wanted.items():
        yield item(root, name, split=split, problem='' if name in found else missing(list_), **fields)
    for name in sorted(found - wanted.keys() - set(elsewhere)):
        yield item(root, name, split=split, problem=_link(name) or NOT_LISTED)


def missing(list_) -> str:
    return f'missing: {list_} names it, and it is not there'


NOT_LISTED = 'not_listed: no list of the set names it'


def no_video(name) -> str:
    return _link(name) or 'no_video: nor is it a picture'


def _link(name):
    return 'link: to a folder; links are not followed' if name.endswith('/') else ''


def clips(root, where, split, fps: float | Callable[[str], float]) -> list[Item]:
    """An Item for every video file in root/where and below, and one for every folder of pictures there.

    fps: of pictures, a number or a function of the folder's path relative to root. Pictures come in the order of the
    numbers that their names end in; scores: missing_frames, how many numbers are left out (0 where there are none).
    Other files have a problem.
    """
    items, inside = [], {}
    for name in files(root, where):
        if is_picture(name):
            inside.setdefault(os.path.dirname(name), []).append(os.path.basename(name))
        else:
            problem = '' if is_video(name) else no_video(name)
            items.append(item(root, name, split=split, problem=problem))
    for name, names in inside.items():
        names = tuple(sorted(names, key=lambda each: (_number(each), each)))
        rate = fps(name) if callable(fps) else fps
        video = frame_sources.Images(os.path.join(root, name), names, rate)
        items.append(item(root, name, split=split, scores={'missing_frames': _missing(names)}, stills=video))
    return items


def _number(name):
    """The last number in a file's name, -1 for none."""
    digits = re.findall(r'\d+', os.path.splitext(name)[0])
    return int(digits[-1]) if digits else -1


def _missing(names):
    """How many numbers are left out; names that are numbered in steps (0, 5, 10) leave none out between them."""
    numbers = sorted({_number(name) for name in names})
    steps = [b - a for a, b in zip(numbers, numbers[1:], strict=False)]
    if len(numbers) < len(names) or not steps:
        return 0.0
    return float(sum(step // min(steps) - 1 for step in steps))
