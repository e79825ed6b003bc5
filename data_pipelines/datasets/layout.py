"""Layouts of published sets: find their folders and lists, and pair what is listed with what is there.

Nothing is dropped in silence: what a list names and the disk lacks, and what lies there and no list names, become
Items with a problem, which end as rows of the manifest. Hidden files are skipped, as in every listing here.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_pipelines.inputs import stills
from data_pipelines.inputs.fields import split_lines
from data_pipelines.inputs.item import Item, to_utf8
from data_pipelines.inputs.readers import Row, read_csv
from vdm_jax.data.video.files import EXTENSIONS
from vdm_jax.errors import UserError

NOT_LISTED = 'not_listed: no list of the set names it'


def find_folder(root: str, *names: str) -> str:
    """Return the first of these folders (relative to root, '' for root itself) that is there.

    Raises:
      UserError: none is; the message names --source and the folders that were looked for.
    """
    if not os.path.isdir(root):
        raise UserError(f'--source={root} is {"a file" if os.path.exists(root) else "not there"}; name a folder')
    for name in names:
        if os.path.isdir(os.path.join(root, name)):
            return name
    raise UserError(f'--source={root} holds no {" or ".join(name + "/" for name in names if name)}')


def find_file(root: str, *names: str) -> str:
    """Return the path of the first of these files that is there.

    Raises:
      UserError: none is; the message names --source and all of them.
    """
    for name in names:
        if os.path.isfile(os.path.join(root, name)):
            return os.path.join(root, name)
    raise UserError(f"--source={root} holds no {' or '.join(names)}; the set's README says where it comes from")


def list_files(root: str, where: str = '') -> list[str]:
    """Return every file in root/where and below, sorted, as paths relative to root with / between folders.

    Links to folders are not followed, but are among them, with a / at the end.

    Raises:
      UserError: a folder cannot be read.
    """

    def report_unreadable(error: OSError) -> None:
        raise UserError(f'--source={root}: {error.filename} cannot be read: {error.strerror}')

    paths: list[str] = []
    for folder, folders, files in os.walk(os.path.join(root, where), onerror=report_unreadable):
        # os.walk goes on with what is left in this list.
        folders[:] = [name for name in folders if not name.startswith('.')]
        links = [f'{name}/' for name in folders if os.path.islink(os.path.join(folder, name))]
        prefix = os.path.relpath(folder, root).replace(os.sep, '/') + '/'
        paths += [prefix.removeprefix('./') + name for name in files + links if not name.startswith('.')]
    return sorted(paths)


def read_table(path: str, columns: Iterable[str]) -> Iterator[tuple[str, Row]]:
    """Yield (where, {column: text} or what is wrong) for a CSV with a header.

    Raises:
      UserError: it lacks one of the columns.
    """
    for where, row in read_csv(path):
        if isinstance(row, dict):
            missing = [name for name in columns if name not in row]
            if missing:
                raise UserError(f'{path} has no column {missing[0]}; found: {", ".join(row)}')
        yield where, row


def read_lines(path: str) -> list[str]:
    """Return the lines of a text file that are not empty.

    Raises:
      UserError: it is not UTF-8.
    """
    try:
        # Spreadsheets begin a file with a byte order mark.
        text = Path(path).read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise UserError(f'{path} is no UTF-8 (byte {error.start}); save it as UTF-8') from None
    return [line.strip() for line in split_lines(text) if line.strip()]


def is_video(name: str) -> bool:
    """Return whether a file is a video by its name. A .webp in a published set is a picture."""
    return name.lower().endswith(EXTENSIONS) and not is_picture(name)


def is_picture(name: str) -> bool:
    """Return whether a file is a picture by its name."""
    return name.lower().endswith(stills.EXTENSIONS)


def make_item(root: str, name: str, **fields: Any) -> Item:
    """Return the Item of a file, or folder, of root."""
    return Item(name=to_utf8(name), path=os.path.join(root, name), **fields)


def pair_items(
    root: str,
    listed: Mapping[str, Mapping[str, Any]],
    files: Iterable[str],
    listed_elsewhere: Iterable[str],
    list_name: str,
    split: str,
) -> Iterator[Item]:
    """Yield Items of what is listed, and of the files that no list names.

    Args:
      root: The folder of the set.
      listed: {name: fields of its Item}.
      files: Those that are there.
      listed_elsewhere: Names that lists of other splits have, which are passed over.
      list_name: What `listed` was read from.
      split: Of the Items.
    """
    there = set(files)
    for name, fields in listed.items():
        problem = '' if name in there else missing_problem(list_name)
        yield make_item(root, name, split=split, problem=problem, **fields)
    for name in sorted(there - listed.keys() - set(listed_elsewhere)):
        yield make_item(root, name, split=split, problem=_link_problem(name) or NOT_LISTED)


def missing_problem(list_name: str) -> str:
    """Return the problem of what a list names and the disk lacks."""
    return f'missing: {list_name} names it, and it is not there'


def no_video_problem(name: str) -> str:
    """Return the problem of a file that is neither a video nor a picture."""
    return _link_problem(name) or 'no_video: nor is it a picture'


def _link_problem(name: str) -> str:
    return 'link: to a folder; links are not followed' if name.endswith('/') else ''


def list_clips(root: str, where: str, split: str, fps: float | Callable[[str], float]) -> list[Item]:
    """Return an Item for every video file in root/where and below, and one for every folder of pictures there.

    Pictures come in the order of the numbers that their names end in, with the score missing_frames: how many numbers
    are left out (0 where there are none). Other files have a problem.

    Args:
      root: The folder of the set.
      where: The folder in it.
      split: Of the Items.
      fps: Of pictures, a number or a function of the folder's path relative to root.
    """
    items: list[Item] = []
    pictures: dict[str, list[str]] = {}
    for name in list_files(root, where):
        if is_picture(name):
            pictures.setdefault(os.path.dirname(name), []).append(os.path.basename(name))
        else:
            problem = '' if is_video(name) else no_video_problem(name)
            items.append(make_item(root, name, split=split, problem=problem))

    for folder, file_names in pictures.items():
        # frame_2 comes before frame_10, as texts would not.
        names = tuple(sorted(file_names, key=lambda name: (_last_number(name), name)))
        frames = stills.ImageFolder(os.path.join(root, folder), names, fps(folder) if callable(fps) else fps)
        scores = {'missing_frames': _count_missing(names)}
        items.append(make_item(root, folder, split=split, scores=scores, stills=frames))
    return items


def _last_number(name: str) -> int:
    """Return the last number in a file's name, -1 for none."""
    digits = re.findall(r'\d+', os.path.splitext(name)[0])
    return int(digits[-1]) if digits else -1


def _count_missing(names: Sequence[str]) -> float:
    """Return how many numbers are left out; names numbered in steps (0, 5, 10) leave none out between them."""
    numbers = sorted({_last_number(name) for name in names})
    steps = [after - before for before, after in zip(numbers, numbers[1:], strict=False)]
    # Where a number comes twice it counts something else than frames.
    if len(numbers) < len(names) or not steps:
        return 0.0
    # Pictures may be numbered in steps of more than one.
    smallest = min(steps)
    return float(sum(step // smallest - 1 for step in steps))
