"""Clips -> sprite sheets: all frames of a step's samples in one picture, small enough for a page."""

import base64
import bisect
import io
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, features

from vdm_jax.report.thinning import spread_evenly

WIDEST = 16_383  # pixels of a side of a WebP
TRIED = 3  # sheets that a setting is tried with before all are encoded with it


@dataclass(frozen=True)
class Setting:
    """How sheets are encoded.

    Attributes:
      quality: 1 to 100; None for every bit as it was.
      shrink: Every so many pixels become one, in each direction.
    """

    quality: int | None
    shrink: int = 1

    def describe(self) -> str:
        """Return what was lost, in words, '' where nothing was."""
        loss = [] if self.quality is None else [f'compressed with loss (quality {self.quality})']
        size = [] if self.shrink == 1 else [f'reduced to 1/{self.shrink} of their width and height']
        return ' and '.join([*size, *loss])


# From the best on, each with smaller sheets than the one before.
SETTINGS = (
    Setting(None),
    *(Setting(quality) for quality in (90, 80, 70, 60, 50, 40, 30, 20)),
    *(Setting(quality, 2) for quality in (60, 40, 20)),
    *(Setting(quality, 4) for quality in (50, 20)),
    Setting(30, 8),
    Setting(20, 16),
)


@dataclass(frozen=True)
class Sheet:
    """A sprite sheet.

    Attributes:
      content: The picture.
      mime: Its type.
      videos: How many clips.
      frames: How many frames each has.
      height: Of a frame in the sheet, in pixels.
      width: Of a frame in the sheet.
      columns: Frames in a row of the sheet; frame t of clip n is number n * frames + t.
    """

    content: bytes
    mime: str
    videos: int
    frames: int
    height: int
    width: int
    columns: int

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, the picture in base64."""
        values = {name: value for name, value in vars(self).items() if name != 'content'}
        return values | {'data': base64.b64encode(self.content).decode()}


def encode_sheets(load: Sequence[Callable[[], np.ndarray]], budget: int) -> tuple[list[Sheet], Setting]:
    """Return a sheet for each set of clips, all encoded alike with the best setting that fits.

    Args:
      load: Return a set of clips, uint8 (N, T, H, W, 3), each; called more than once, so that one set alone is in
        memory for each thread.
      budget: Bytes of all sheets together. Where not even the last setting fits it, that one is taken.
    """
    trial = [load[number] for number in spread_evenly(len(load), TRIED)]

    def is_too_large(setting: Setting) -> bool:
        expected = sum(len(sheet.content) for sheet in _encode_all(trial, setting))
        return expected * len(load) > budget * len(trial)

    # A trial of each would take as long as the sheets themselves.
    low = bisect.bisect_left(SETTINGS, True, key=lambda setting: not is_too_large(setting))
    sheets: list[Sheet] = []
    setting = SETTINGS[-1]
    for setting in SETTINGS[low:] or SETTINGS[-1:]:
        sheets = _encode_all(load, setting)
        if sum(len(sheet.content) for sheet in sheets) <= budget:
            break
    return sheets, setting


def _encode_all(load: Iterable[Callable[[], np.ndarray]], setting: Setting) -> list[Sheet]:
    def encode(read: Callable[[], np.ndarray]) -> Sheet:
        return encode_sheet(read(), setting)

    # Pillow encodes without Python's lock.
    with ThreadPoolExecutor(2) as threads:
        return [*threads.map(encode, load)]


def encode_sheet(videos: np.ndarray, setting: Setting) -> Sheet:
    """Return the sheet of clips uint8 (N, T, H, W, 3)."""
    shrink = min(setting.shrink, *videos.shape[2:4])
    frames = _shrink(videos, shrink)
    n, t, h, w, _ = frames.shape

    # As few columns as a picture's height allows and at least a clip's frames, so that a sheet has no ragged end.
    columns = max(1, min(t, WIDEST // w))
    rows = -(-n * t // columns)
    while rows * h > WIDEST and (columns + 1) * w <= WIDEST:
        columns += 1
        rows = -(-n * t // columns)
    cells = np.zeros((rows * columns, h, w, 3), np.uint8)
    cells[: n * t] = frames.reshape(n * t, h, w, 3)
    picture = cells.reshape(rows, columns, h, w, 3).transpose(0, 2, 1, 3, 4).reshape(rows * h, columns * w, 3)
    content, mime = _encode_picture(picture, setting.quality)
    return Sheet(content, mime, n, t, h, w, columns)


def _shrink(videos: np.ndarray, factor: int) -> np.ndarray:
    """Return videos whose pixels are means of `factor` x `factor` ones; what is left over at the edges goes."""
    if factor == 1:
        return videos
    n, t, h, w, c = videos.shape
    h, w = h // factor, w // factor
    blocks = videos[:, :, : h * factor, : w * factor].reshape(n, t, h, factor, w, factor, c)
    total = np.zeros((n, t, h, w, c), np.uint16)
    for row in range(factor):
        for column in range(factor):
            total += blocks[:, :, :, row, :, column]
    return ((total + factor * factor // 2) // (factor * factor)).astype(np.uint8)


def _encode_picture(picture: np.ndarray, quality: int | None) -> tuple[bytes, str]:
    """Return (bytes, type) of a picture, as WebP where Pillow was built with it."""
    image = Image.fromarray(picture)
    buffer = io.BytesIO()
    fits_webp = max(picture.shape[:2]) <= WIDEST and features.check('webp')
    if fits_webp and quality is None:
        image.save(buffer, 'WEBP', lossless=True, quality=40, method=2)
        return buffer.getvalue(), 'image/webp'
    if fits_webp:
        image.save(buffer, 'WEBP', quality=quality, method=2)
        return buffer.getvalue(), 'image/webp'
    if quality is None:
        image.save(buffer, 'PNG', compress_level=6)
        return buffer.getvalue(), 'image/png'
    image.save(buffer, 'JPEG', quality=quality)
    return buffer.getvalue(), 'image/jpeg'
