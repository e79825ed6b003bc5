"""Constant random clips, made once: for measuring a step without a loader, and for tests. Needs numpy alone."""

import dataclasses
import functools
import math
from typing import Literal

import numpy as np

from vdm_jax.config.frame_size import FrameSize, height_width, read_pixels
from vdm_jax.config.ranges import Ahead, BatchSize, Classes, Frames, Side, Threads
from vdm_jax.data.source import Clip, Reader, Shape, Source
from vdm_jax.errors import UserError

MOST = 64  # GiB of clips, all of which are made at once


@dataclasses.dataclass(frozen=True)
class Synthetic(Source):
    """Clips of uniform noise; clip i has the label i modulo `classes`.

    With the sides and channels of a codec's latents it stands for clips that are encoded already, as far as shapes and
    speed go; what is learned from it means nothing.

    The pipeline hands out one and the same batch at every step (row r is clip r modulo size), made once and read-only,
    so that a benchmark sees no loader at all.

    Attributes:
      frames: Frames of a clip.
      pixels: Size of a frame.
      channels: Of a frame.
      size: Number of clips.
      classes: Number of classes; labels are in [0, classes). 0 gives all clips the label 0.
      threads: Not used: every batch is the same.
      prefetch: Not used either.
    """

    frames: Frames = 16
    pixels: FrameSize = 32
    channels: Side = 3
    size: BatchSize = 8
    classes: Classes = 10
    threads: Threads = 0
    prefetch: Ahead = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, 'pixels', read_pixels(self.pixels))
        gibibytes = self.size * math.prod(self.shape) / 2**30
        if gibibytes > MOST:
            raise UserError(f'config.data.size={self.size}: such clips take {gibibytes:.0f} GiB; want {MOST} or less')

    @property
    def shape(self) -> Shape:
        """(T, H, W, C) of a clip."""
        return self.frames, *height_width(self.pixels), self.channels

    def open(self) -> 'SyntheticReader':
        """Return a reader, which makes all clips when the first is asked for."""
        return SyntheticReader(self)


class SyntheticReader(Reader):
    """The clips of a Synthetic."""

    source: Synthetic

    @property
    def loading(self) -> Literal['constant']:
        """Every batch is the same."""
        return 'constant'

    @property
    def num_classes(self) -> int:
        """As the config says."""
        return self.source.classes

    def identity(self) -> str:
        """Return how many clips there are: which they are follows from the config."""
        return str(len(self))

    @functools.cached_property
    def videos(self) -> np.ndarray:
        """All clips, uint8 (size, T, H, W, C)."""
        count = self.source.size * int(np.prod(self.shape))
        # Raw words of 8 bytes each: all that is wanted is noise, and none is made faster.
        words = np.random.Philox(key=count).random_raw(-(-count // 8))
        return words.view(np.uint8)[:count].reshape(self.source.size, *self.shape)

    def __len__(self) -> int:
        return self.source.size

    def __getitem__(self, i: int) -> Clip:
        i = range(self.source.size)[i]
        classes = self.source.classes
        return {'video': self.videos[i], 'label': np.int32(i % classes if classes else 0)}

    def draw(self, i: int, rng: np.random.Generator) -> Clip:
        """Return clip i: nothing is drawn."""
        del rng
        return self[i]
