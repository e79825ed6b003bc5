"""Does what is seen stay what it is? Features of frames held against those of the frame before and of the first one.

VBench takes DINO's features for the subject and CLIP's for the background. Any features do here; two encoders without
weights stand beside, which see layout and colours and no objects: their figures are not VBench's.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from vdm_jax.config.ranges import Between
from vdm_jax.errors import UserError
from vdm_jax.evals.temporal.clips import round_to_bytes


class FrameEncoder(ABC):
    """Frames -> a vector each."""

    @abstractmethod
    def encode(self, clip: np.ndarray, number: int) -> np.ndarray:
        """Return the features of each frame of clip `number` of a set: (T, H, W, C) -> float (T, D)."""

    @abstractmethod
    def describe(self) -> str:
        """Return what it is, for the settings of a score."""


@dataclass(frozen=True)
class Thumbnail(FrameEncoder):
    """A small copy of the frame, less its mean: features whose cosine is the correlation of two pictures.

    Attributes:
      side: Cells of a row and of a column, as many as the frame has pixels at most.
    """

    side: Annotated[int, Between(2, 256)] = 32

    def encode(self, clip: np.ndarray, number: int) -> np.ndarray:
        """Average the pixels of each cell."""
        cells = np.asarray(clip, np.float64)
        for axis in (1, 2):
            size = cells.shape[axis]
            # Cells of whole pixels, the first ones of each: no two of them share one.
            edges = np.linspace(0, size, min(self.side, size) + 1).astype(int)
            counts = np.diff(edges).reshape((-1,) + (1,) * (3 - axis))
            cells = np.add.reduceat(cells, edges[:-1], axis) / counts
        features: np.ndarray = cells.reshape(len(cells), -1).copy()
        features -= features.mean(1, keepdims=True)
        return features

    def describe(self) -> str:
        """Return its name and size."""
        return f'thumbnail of {self.side}x{self.side} cells less its mean'


@dataclass(frozen=True)
class ColourHistogram(FrameEncoder):
    """Shares of pixels by colour, wherever they are.

    Attributes:
      bins: Of each channel.
    """

    bins: Annotated[int, Between(2, 64)] = 8

    def encode(self, clip: np.ndarray, number: int) -> np.ndarray:
        """Count the pixels of each colour."""
        levels = round_to_bytes(clip).astype(np.int64) * self.bins // 256
        channels = clip.shape[-1]
        codes = levels @ (self.bins ** np.arange(channels))
        size = self.bins**channels
        counts = [np.bincount(frame.ravel(), minlength=size) for frame in codes]
        shares: np.ndarray = np.stack(counts) / codes[0].size
        return shares

    def describe(self) -> str:
        """Return its name and size."""
        return f'histogram of colours, {self.bins} bins a channel'


@dataclass(frozen=True, eq=False)
class StoredFeatures(FrameEncoder):
    """Features that some network computed before.

    Attributes:
      features: float (N, T, D), of all clips in their order.
      name: Of the network.
    """

    features: np.ndarray
    name: str

    def encode(self, clip: np.ndarray, number: int) -> np.ndarray:
        """Return the features of this clip.

        Raises:
          UserError: There are none of it, or not of as many frames.
        """
        if self.features.ndim != 3 or number >= len(self.features):
            raise UserError(f'features of {self.name} are {self.features.shape}: none of clip {number}')
        features: np.ndarray = self.features[number]
        if len(features) != len(clip):
            raise UserError(f'features of {self.name} are of {len(features)} frames, clip {number} has {len(clip)}')
        return features

    def describe(self) -> str:
        """Return the network's name."""
        return self.name


def compute_consistency(features: np.ndarray) -> np.ndarray:
    """Compute VBench's consistency of each frame but the first.

    It is 1/2 [max(0, cos to the frame before) + max(0, cos to the first frame)].

    Args:
      features: (..., T, D).

    Returns:
      (..., T - 1), 0 to 1.
    """
    to_last = compare(features[..., 1:, :], features[..., :-1, :])
    to_first = compare(features[..., 1:, :], features[..., :1, :])
    consistency: np.ndarray = (np.maximum(to_last, 0) + np.maximum(to_first, 0)) / 2
    return consistency


def compare(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the cosine of vectors, (..., D) -> (...): 1 where both are zero, as they are equal, 0 where one is."""
    a = np.asarray(a, np.float64)
    b = np.asarray(b, np.float64)
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    is_equal = (a == b).all(-1)
    cosine = (a * b).sum(-1) / np.where(lengths > 0, lengths, 1)
    cosine = np.clip(cosine, -1, 1)
    # Frames that are equal have a figure of exactly 1, not of 1 less a rounding.
    similarity: np.ndarray = np.where(is_equal, 1.0, cosine)
    return similarity
