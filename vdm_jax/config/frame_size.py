"""The size of a frame in a config, config.data.pixels: a whole number for a square, or HEIGHTxWIDTH.

A config keeps a square as a number and every other size as text: both are JSON values, and read back as they are.
"""

import dataclasses
import operator
import re
import typing
from typing import Annotated, Any

from vdm_jax.config.ranges import Pixels, refusal, show
from vdm_jax.errors import UserError

KEY = 'config.data.pixels'


@dataclasses.dataclass(frozen=True)
class IsSize:
    """The rule that a value is a size of frames: a side, 'HEIGHTxWIDTH' or (height, width)."""

    def refusal(self, value: Any) -> str | None:
        """Return what is wanted in place of this value, None where it is a size."""
        sides = _parse_sides(value)
        if sides is not None and not any(refusal(Pixels, side) for side in sides):
            return None
        return f'want a whole number from 1 to {LARGEST}, or HEIGHTxWIDTH such as 128x256 of a wide picture'


LARGEST = typing.get_args(Pixels)[1].high
FrameSize = Annotated[Pixels | str, IsSize()]  # a pair is read as well, and kept as text


def read_pixels(value: Any, key: str = KEY) -> int | str:
    """Return a size as configs keep it: 64 of 64, '64', '64x64' and (64, 64); '64x96' of '64x96' and (64, 96).

    Raises:
      UserError: It is none of these, or a side is too long; the message names `key`.
    """
    return format_pixels(*height_width(value, key))


def height_width(pixels: Any, key: str = KEY) -> tuple[int, int]:
    """Return (height, width) of a size.

    Raises:
      UserError: As read_pixels.
    """
    if reason := IsSize().refusal(pixels):
        raise UserError(f'{key}={show(pixels)}: {reason}')
    sides = _parse_sides(pixels)
    assert sides is not None  # as it is not refused
    return sides


def format_pixels(height: int, width: int) -> int | str:
    """Return the size of frames of so many rows and columns, as configs keep it."""
    return height if height == width else f'{height}x{width}'


def _parse_sides(value: Any) -> tuple[int, int] | None:
    """Return (height, width), None of what cannot be read."""
    if isinstance(value, str):
        return _parse_text(value)
    # One number is the side of a square.
    pair = value if isinstance(value, (list, tuple)) else (value, value)
    # True is a number to Python, and no side.
    if len(pair) != 2 or any(isinstance(side, bool) for side in pair):
        return None
    try:
        return operator.index(pair[0]), operator.index(pair[1])
    except TypeError:
        return None


def _parse_text(text: str) -> tuple[int, int] | None:
    """Return the same of '64', '64x96' and, as lists are written on the command line, '64,96' and '(64, 96)'."""
    match = re.fullmatch(r'\s*[([]?\s*(\d{1,9})(?:\s*[x,]\s*(\d{1,9}))?\s*[)\]]?\s*', text, re.ASCII)
    if match is None:
        return None
    height = match.group(1)
    width = match.group(2) or height
    return int(height), int(width)
