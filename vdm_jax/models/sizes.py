"""Named sizes: the papers' own, and ours with heads of 128 dimensions, which accelerators multiply at full rate."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Size of a network, as a row of Latte's Table 1 and DiT's.

    Attributes:
      depth: Blocks, those over space and those over time together.
      width: Of all tokens, D.
      heads: Of an attention, K.
    """

    depth: int
    width: int
    heads: int


SIZES = {
    'tiny': Size(6, 128, 4),
    'S': Size(12, 384, 6),
    'B': Size(12, 768, 12),
    'L': Size(24, 1024, 16),
    'XL': Size(28, 1152, 16),
    'S128': Size(12, 384, 3),
    'B128': Size(12, 768, 6),
    'L128': Size(24, 1024, 8),
    'XL128': Size(28, 1152, 9),
}
