"""Contact sheets: frames of many clips, with words under each, in one PNG."""

import dataclasses
import io
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.files import write_atomically

FRAME = 160, 90  # width and height that a frame is fitted into
FRAME_GAP = 2
GAP = 12  # between cells, and around them
PAPER = (255, 255, 255)
INK = (20, 20, 20)
PALE_INK = (120, 120, 120)
FONT_SIZE = 13
LINE = FONT_SIZE + 5
CELL_LINES = 4
CELL_HEIGHT = FRAME[1] + CELL_LINES * LINE + 2 * GAP


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One clip on a sheet.

    Attributes:
      frames: uint8 (H, W, 3) of any sizes, side by side.
      lines: Words under them. The last line is broken into two at most, longer ones are cut.
    """

    frames: list[np.ndarray]
    lines: list[str]


def write_sheet(
    path: str | os.PathLike[str], cells: Sequence[Cell], head: Sequence[str] = (), columns: int = 2
) -> None:
    """Write the cells as a PNG, `columns` side by side, below the lines of `head`."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise UserError("writing pictures needs Pillow, which is not installed: pip install 'vdm_jax[video]'") from None
    font = ImageFont.load_default(FONT_SIZE)

    def fits_into(width: int) -> Callable[[str], bool]:
        return lambda words: font.getlength(words) <= width

    frames_across = max([len(cell.frames) for cell in cells] + [4])
    cell_width = frames_across * (FRAME[0] + FRAME_GAP) - FRAME_GAP
    columns = max(min(columns, len(cells)), 1)
    rows = -(-len(cells) // columns)
    page_width = columns * (cell_width + GAP) + GAP
    head_lines = [line for words in head for line in wrap(words, fits_into(page_width - 2 * GAP), 3)]
    head_height = (len(head_lines) + 1) * LINE + GAP

    sheet = Image.new('RGB', (page_width, head_height + rows * CELL_HEIGHT), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, words in enumerate(head_lines):
        draw.text((GAP, GAP + number * LINE), words, INK, font)
    for number, cell in enumerate(cells):
        row, column = divmod(number, columns)
        x = GAP + column * (cell_width + GAP)
        y = head_height + row * CELL_HEIGHT
        for position, frame in enumerate(cell.frames):
            _paste_frame(sheet, Image.fromarray(frame), x + position * (FRAME[0] + FRAME_GAP), y)
        for position, words in enumerate(_wrap_cell(cell, fits_into(cell_width))):
            ink = PALE_INK if position == 1 else INK
            draw.text((x, y + FRAME[1] + 4 + position * LINE), words, ink, font)

    buffer = io.BytesIO()
    sheet.save(buffer, 'PNG')
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise UserError(f'{path}: {error.strerror}; name another file') from None


def _paste_frame(sheet: Any, image: Any, x: int, y: int) -> None:
    """Paste a picture, resized to fit FRAME, into the middle of the box of that size at (x, y)."""
    scale = min(FRAME[0] / image.width, FRAME[1] / image.height)
    width = max(round(image.width * scale), 1)
    height = max(round(image.height * scale), 1)
    corner = x + (FRAME[0] - width) // 2, y + (FRAME[1] - height) // 2
    sheet.paste(image.resize((width, height)), corner)


def _wrap_cell(cell: Cell, fits: Callable[[str], bool]) -> list[str]:
    *first, last = cell.lines or ['']
    lines = [line for words in first for line in wrap(words, fits, 1)]
    return lines + wrap(last, fits, 2)


def wrap(text: str, fits: Callable[[str], bool], most: int) -> list[str]:
    """Return the text in at most so many lines that fit, broken at spaces where it can be; cut with an ellipsis."""
    # Half characters (surrogates) can be drawn in no font.
    words = ' '.join(text.split()).encode(errors='replace').decode()
    lines: list[str] = []
    while words and len(lines) < most:
        end = len(words)
        if not fits(words):
            # At least one character a line, so that the loop ends.
            end = next((end for end in range(len(words) - 1, 0, -1) if fits(words[:end] + '…')), 1)
            if len(lines) == most - 1:
                lines.append(words[:end] + '…')
                break
            if ' ' in words[1 : end + 1]:
                end = words.rfind(' ', 1, end + 1)
        lines.append(words[:end])
        words = words[end:].lstrip()
    return lines
