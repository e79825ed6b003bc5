"""Constant random clips, made once: for measuring a step without a loader, and for tests. Needs numpy alone."""

import dataclasses
import functools
import math

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.frame_size import FrameSize, height_width, read_pixels
from vdm_jax.ranges import Ahead, Batch, Classes, Frames, Ranged, Side, Threads

MOST = 64  # GiB of clips, all of which are made at once


@dataclasses.dataclass(frozen=True)
class Synthetic(Ranged, where='config.data'):
    """`size` clips of uniform noise with `channels` channels; clip i has the label i modulo `classes`.

    With the sides and channels of a codec's latents it stands for clips that are encoded already, as far as shapes and
    speed go; what is learned from it means nothing.

    The pipeline hands out one and the same batch at every step (row r is clip r modulo size), made once and read-only,
    so that a benchmark sees no loader at all.
    """

    frames: Frames = 16
    pixels: FrameSize = 32
    channels: Side = 3
    size: Batch = 8
    classes: Classes = 10
    threads: Threads = 0
    prefetch: Ahead = 0

    constant = True  # not a field: tells the pipeline that every batch is the same

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, 'pixels', read_pixels(self.pixels))
        gibibytes = self.size * math.prod(self.shape) / 2**30
        if gibibytes > MOST:
            raise UserError(f'config.data.size={self.size}: such clips take {gibibytes:.0f} GiB; want {MOST} or less')

    @property
    def shape(self):
        return self.frames, *height_width(self.pixels), self.channels

    @property
    def num_classes(self):
        return self.classes

    @functools.cached_property
    def videos(self):
        """All clips, uint8 (size, T, H, W, C)."""
        count = self.size * int(np.prod(self.shape))
        words = np.random.Philox(key=count).random_raw(-(-count // 8))
        return words.view(np.uint8)[:count].reshape(self.size, *self.shape)

    def __len__(self):
        return self.size

    def __getitem__(self, i):
        i = range(self.size)[i]
        return {'video': self.videos[i], 'label': np.int32(i % self.classes if self.classes else 0)}

    def draw(self, i, rng):
        return self[i]
