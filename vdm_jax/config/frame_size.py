"""The size of a frame as a config says it: config.data.pixels, a whole number for a square or HEIGHTxWIDTH.

A config keeps a square as a number and every other size as text: both are JSON values, and read back as they are.
"""

import dataclasses
import operator
import re
from typing import Annotated

from vdm_jax.config.ranges import Pixels, refusal, show
from vdm_jax.errors import UserError

KEY = 'config.data.pixels'


@dataclasses.dataclass(frozen=True)
class IsSize:
    """Sizes of frames: a side, 'HEIGHTxWIDTH' or (height, width)."""

    def refusal(self, value) -> str | None:
        """What is wanted in place of this value; None where it is a size."""
        sides = _sides(value)
        if sides is not None and not any(refusal(Pixels, side) for side in sides):
            return None
        return f'want a whole number from 1 to {LARGEST}, or HEIGHTxWIDTH such as 128x256 of a wide picture'


LARGEST = Pixels.__metadata__[0].high
FrameSize = Annotated[Pixels | str, IsSize()]  # a pair is read as well, and kept as text


def read_pixels(value, where: str = KEY) -> int | str:
    """A size as configs keep it: 64 of 64, '64', '64x64' and (64, 64); '64x96' of '64x96' and (64, 96).

    Raises:
      UserError: it is none of these, or a side is too long; names `where`, the key.
    """
    if reason := IsSize().refusal(value):
        raise UserError(f'{where}={show(value)}: {reason}')
    return pixels_of(*_sides(value))


def height_width(pixels, where: str = KEY) -> tuple[int, int]:
    """(height, width) of a size.

    Raises:
      UserError: as read_pixels.
    """
    return _sides(read_pixels(pixels, where))


def pixels_of(height: int, width: int) -> int | str:
    """The size of frames of so many rows and columns, as configs keep it."""
    return height if height == width else f'{height}x{width}'


def _sides(value) -> tuple[int, int] | None:
    """(height, width), None of what cannot be read."""
    if isinstance(value, str):
        return _sides_of_text(value)
    pair = value if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2 or any(isinstance(side, bool) for side in pair):
        return None
    try:
        return operator.index(pair[0]), operator.index(pair[1])
    except TypeError:
        return None


def _sides_of_text(text: str) -> tuple[int, int] | None:
    """The same of '64', '64x96' and, as lists are written on the command line, '64,96' and '(64, 96)'."""
    found = re.fullmatch(r'\s*[([]?\s*(\d{1,9})(?:\s*[x,]\s*(\d{1,9}))?\s*[)\]]?\s*', text, re.ASCII)
    if not found:
        return None
    height, width = found.group(1), found.group(2) or found.group(1)
    return int(height), int(width)
