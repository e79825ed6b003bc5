"""Contact sheets: frames of many clips, with words under each, in one PNG."""

import dataclasses
import io

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.files import write_whole

FRAME = 160, 90  # width and height that a frame is fitted into
GAP = 12
PAPER, INK, PALE = (255, 255, 255), (20, 20, 20), (120, 120, 120)
SIZE = 13  # of letters


@dataclasses.dataclass(frozen=True, eq=False)
class Cell:
    """One clip: frames uint8 (H, W, 3) of any sizes, side by side, and lines of words under them. The last line is
    broken into as many as two, longer ones are cut.
    """

    frames: list[np.ndarray]
    lines: list[str]


def write_sheet(path, cells: list[Cell], head: list[str] = (), columns: int = 2) -> None:
    """Writes the cells as a PNG, `columns` side by side, below the lines of `head`."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError:
        raise UserError("writing pictures needs Pillow, which is not installed: pip install 'vdm_jax[video]'") from None
    font, line = ImageFont.load_default(SIZE), SIZE + 5
    across = max([len(cell.frames) for cell in cells] + [4])
    width, height = across * (FRAME[0] + 2) - 2, FRAME[1] + 4 * line + 2 * GAP
    columns = max(min(columns, len(cells)), 1)
    page = columns * (width + GAP) + GAP

    def fits(words, space):
        return font.getlength(words) <= space

    head = [part for words in head for part in wrap(words, lambda text: fits(text, page - 2 * GAP), 3)]
    rows = -(-len(cells) // columns)
    sheet = Image.new('RGB', (page, (len(head) + 1) * line + GAP + rows * height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, words in enumerate(head):
        draw.text((GAP, GAP + number * line), words, INK, font)
    for number, cell in enumerate(cells):
        x = GAP + number % columns * (width + GAP)
        y = GAP + (len(head) + 1) * line + number // columns * height
        for place, frame in enumerate(cell.frames):
            image = Image.fromarray(frame)
            scale = min(FRAME[0] / image.width, FRAME[1] / image.height)
            image = image.resize((max(round(image.width * scale), 1), max(round(image.height * scale), 1)))
            left = x + place * (FRAME[0] + 2) + (FRAME[0] - image.width) // 2
            sheet.paste(image, (left, y + (FRAME[1] - image.height) // 2))
        *first, last = cell.lines or ['']
        lines = [part for words in first for part in wrap(words, lambda text: fits(text, width), 1)]
        lines += wrap(last, lambda text: fits(text, width), 2)
        for place, words in enumerate(lines):
            draw.text((x, y + FRAME[1] + 4 + place * line), words, INK if place != 1 else PALE, font)
    buffer = io.BytesIO()
    sheet.save(buffer, 'PNG')
    try:
        write_whole(path, buffer.getvalue())
    except OSError as error:
        raise UserError(f'{path}: {error.strerror}; name another file') from None


def wrap(text: str, fits, most: int) -> list[str]:
    """The text in at most so many lines that fit, broken at spaces where it can be; cut with an ellipsis."""
    words, lines = ' '.join(text.split()).encode(errors='replace').decode(), []
    while words and len(lines) < most:
        end = len(words)
        if not fits(words):
            end = next((end for end in range(len(words) - 1, 0, -1) if fits(words[:end] + '…')), 1)
            if len(lines) == most - 1:
                lines.append(words[:end] + '…')
                break
            end = words.rfind(' ', 1, end + 1) if ' ' in words[1 : end + 1] else end
        lines.append(words[:end])
        words = words[end:].lstrip()
    return lines
