"""Figures as text: a row for each set of clips, a column for each figure, no wider than a terminal."""

from collections.abc import Mapping

WIDTH = 120  # characters of a line, beyond which columns go on below
GAP = '  '


def format_rows(figures: Mapping[str, Mapping[str, float | None]], width: int = WIDTH) -> str:
    """Return figures {row: {column: number}} as text.

    Columns are in the order in which they appear; those for which there is no room stand in a table below, with the
    names of the rows once more. '-' is what a row does not have.
    """
    columns = list(dict.fromkeys(name for row in figures.values() for name in row))
    names = _pad(['', *figures])
    blocks: list[list[str]] = []
    for column in columns:
        cells = _pad([column, *(_format_figure(row.get(column)) for row in figures.values())], to_the_left=False)
        if not blocks or len(blocks[-1][0]) + len(GAP) + len(cells[0]) > width:
            blocks.append(names)
        blocks[-1] = [line + GAP + cell for line, cell in zip(blocks[-1], cells, strict=True)]
    return '\n\n'.join('\n'.join(block) for block in blocks or [names])


def _pad(cells: list[str], to_the_left: bool = True) -> list[str]:
    """Return texts as long as the longest."""
    width = max(map(len, cells))
    return [cell.ljust(width) if to_the_left else cell.rjust(width) for cell in cells]


def _format_figure(value: float | None) -> str:
    if value is None:
        return '-'
    return str(value) if isinstance(value, int) else f'{value:.3f}'
