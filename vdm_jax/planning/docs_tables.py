"""Parts of our own Markdown pages that a command writes: what stands between two marked lines."""

from pathlib import Path

from vdm_jax.errors import UserError
from vdm_jax.files import write_whole


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """The lines of a Markdown table."""
    return [line(head), '|' + ' --- |' * len(head), *map(line, rows)]


def line(cells: tuple[str, ...]) -> str:
    """One row of a Markdown table."""
    return f'| {" | ".join(cell.replace("|", chr(92) + "|") for cell in cells)} |'


def between(page: str, begin: str, end: str) -> list[str]:
    """The lines that stand between the marks in the file `page`, without the empty ones at both ends.

    Raises:
      UserError: the file has no place for them.
    """
    return _parts(page, begin, end)[1].strip('\n').splitlines()


def replace(page: str, begin: str, end: str, lines: list[str]) -> None:
    """Puts lines where the file `page` has its old ones.

    Raises:
      UserError: the file has no place for them.
    """
    before, _, after = _parts(page, begin, end)
    write_whole(page, '\n'.join([before + begin, '', *lines, '', end + after]))


def _parts(page: str, begin: str, end: str) -> tuple[str, str, str]:
    text = Path(page).read_text() if Path(page).is_file() else ''
    if begin not in text or end not in text:
        raise UserError(f'{page}: no lines {begin} and {end} in it')
    before, _, rest = text.partition(begin)
    return before, *rest.split(end, 1)
