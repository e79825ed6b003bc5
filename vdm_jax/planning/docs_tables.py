"""Parts of our own Markdown pages that a command writes: what stands between two marked lines."""

import os
from collections.abc import Sequence
from pathlib import Path

from vdm_jax.errors import UserError
from vdm_jax.files import write_atomically

Page = str | os.PathLike[str]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [line(head), '|' + ' --- |' * len(head), *map(line, rows)]


def line(cells: Sequence[str]) -> str:
    """Return one row of a Markdown table."""
    escaped = [cell.replace('|', r'\|') for cell in cells]
    return f'| {" | ".join(escaped)} |'


def between(page: Page, begin: str, end: str) -> list[str]:
    """Return the lines that stand between the marks in the file `page`, without the empty ones at both ends.

    Raises:
      UserError: the file has no such marks.
    """
    _, text, _ = _split(page, begin, end)
    return text.strip('\n').splitlines()


def replace(page: Page, begin: str, end: str, lines: Sequence[str]) -> None:
    """Replace the lines between the marks in the file `page`.

    Raises:
      UserError: the file has no such marks.
    """
    before, _, after = _split(page, begin, end)
    write_atomically(page, '\n'.join([before + begin, '', *lines, '', end + after]))


def _split(page: Page, begin: str, end: str) -> tuple[str, str, str]:
    """Return the text before, between and behind the marks."""
    text = Path(page).read_text() if Path(page).is_file() else ''
    if begin not in text or end not in text:
        raise UserError(f'{page}: no lines {begin} and {end} in it')
    before, _, rest = text.partition(begin)
    inside, after = rest.split(end, 1)
    return before, inside, after
