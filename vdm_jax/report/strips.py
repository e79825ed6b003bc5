"""Contact sheets that media.write_strip wrote -> the clips in them."""

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vdm_jax.errors import UserError, first_line
from vdm_jax.media import COLUMN_GAP, FPS, ROW_GAP, SEPARATOR, STRIP

MOST_PIXELS = 2**27  # of a sheet that is opened


@dataclass(frozen=True)
class Clips:
    """The clips of a contact sheet.

    Attributes:
      videos: uint8 (N, T, H, W, 3), without the enlargement of the sheet.
      fps: Frames a second.
    """

    videos: np.ndarray
    fps: float = FPS


def read_strip(content: bytes, frames: int | None = None) -> Clips:
    """Return the clips of a contact sheet.

    Args:
      content: The PNG.
      frames: How many a clip has, for a sheet that does not say; None for as many as lines between them tell.

    Raises:
      UserError: It is no picture, too large, or cannot be cut into clips.
    """
    try:
        with Image.open(io.BytesIO(content), formats=['PNG']) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise UserError(f'has {width}x{height} pixels, and at most {MOST_PIXELS:,} are read')
            sheet = np.asarray(image.convert('RGB'))
            layout = _read_layout(dict(image.info).get(STRIP))
    except UserError:
        raise
    except Exception as error:  # Pillow raises whatever a damaged file leads to
        raise UserError(f'cannot be read as PNG ({first_line(error)})') from None
    if layout:
        return _cut_as_described(sheet, layout)
    return _cut_along_lines(sheet, frames)


def _read_layout(text: object) -> dict[str, Any]:
    """Return what the sheet says of itself, {} where that is nothing."""
    try:
        layout = json.loads(text) if isinstance(text, str) else {}
    except (ValueError, RecursionError):
        return {}
    names = ('videos', 'frames', 'scale', 'left')
    is_right = isinstance(layout, dict) and all(type(layout.get(name)) is int for name in names)
    return layout if is_right else {}


def _cut_as_described(sheet: np.ndarray, layout: dict[str, Any]) -> Clips:
    n, t, scale, left = (layout[name] for name in ('videos', 'frames', 'scale', 'left'))
    if min(n, t, scale) < 1 or not 0 <= left < sheet.shape[1]:
        raise UserError('says that it holds no clips')
    videos = _cut(sheet[:, left:], n, t, scale)
    if videos is None:
        raise UserError(f'has not the size of {n} clips of {t} frames that it says it holds')

    fps = layout.get('fps')
    return Clips(videos, float(fps) if isinstance(fps, int | float) and 0 < fps < 1000 else FPS)


def _cut_along_lines(sheet: np.ndarray, frames: int | None) -> Clips:
    """Cut a sheet of an earlier version, which has no description, along the grey lines between its clips."""
    height, width, _ = sheet.shape
    grey_rows = (sheet == SEPARATOR).all((1, 2))
    grey_columns = (sheet == SEPARATOR).all((0, 2))
    counts = [frames] if frames else _possible_counts(grey_columns, width, COLUMN_GAP)
    for t in counts:
        for n in _possible_counts(grey_rows, height, ROW_GAP):
            if t and _has_lines(grey_columns, t, COLUMN_GAP):
                videos = _cut(sheet, n, t, 1)
                if videos is not None:
                    return Clips(_shrink(videos))
    raise UserError('is no contact sheet of samples: no grey lines between frames')


def _possible_counts(is_grey: np.ndarray, size: int, gap: int) -> list[int]:
    """Return how many equal parts with grey lines between them a side may have, the most first."""
    # Of eight parts every other line cuts four: the most that fit are the parts that were put together.
    return [count for count in range(size // (gap + 1) + 1, 0, -1) if _has_lines(is_grey, count, gap)]


def _has_lines(is_grey: np.ndarray, count: int, gap: int) -> bool:
    """Return whether grey lines of `gap` pixels cut a side into `count` equal parts."""
    size = len(is_grey) + gap
    if size % count or size // count <= gap:
        return False
    part = size // count
    lines = [is_grey[number * part - offset] for number in range(1, count) for offset in range(1, gap + 1)]
    return all(lines)


def _cut(sheet: np.ndarray, n: int, t: int, scale: int) -> np.ndarray | None:
    """Return the frames of a sheet, uint8 (N, T, H, W, 3); None where it has another size."""
    height, width, _ = sheet.shape
    row_height, rest_height = divmod(height + ROW_GAP, n)
    column_width, rest_width = divmod(width + COLUMN_GAP, t)
    h = row_height - ROW_GAP
    w = column_width - COLUMN_GAP
    if rest_height or rest_width or h < scale or w < scale or h % scale or w % scale:
        return None
    padded = np.pad(sheet, [(0, ROW_GAP), (0, COLUMN_GAP), (0, 0)])
    cells = padded.reshape(n, row_height, t, column_width, 3)[:, :h:scale, :, :w:scale]
    return np.ascontiguousarray(cells.transpose(0, 2, 1, 3, 4))


def _shrink(videos: np.ndarray) -> np.ndarray:
    """Return videos without the enlargement that a sheet shows small frames with, where there is any."""
    h, w = videos.shape[2:4]
    for scale in range(min(h, w), 1, -1):
        if h % scale or w % scale:
            continue
        small = videos[:, :, ::scale, ::scale]
        if np.array_equal(small.repeat(scale, 2).repeat(scale, 3), videos):
            return small
    return videos
