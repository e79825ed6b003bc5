"""Where a token stands: fixed sin-cos embeddings, learned ones, and axial rotary embeddings.

All but the learned ones are computed from the clip's shape, so that a network runs on more frames or more pixels than
it was trained with.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from flax import nnx

from vdm_jax.nn.linear import normal_002


def sincos(positions: npt.ArrayLike, width: int, max_period: float = 10_000.0) -> np.ndarray:
    """Embed 1-D positions by sines, then cosines: (P,) -> (P, width) (Vaswani et al. 2017, as in MAE and DiT)."""
    # float64 until the end, as in the official code, whose tables these equal; it is made once, at trace time.
    frequencies = 1 / max_period ** (np.arange(width // 2, dtype=np.float64) / (width / 2))
    angles = np.asarray(positions, np.float64)[:, None] * frequencies[None]
    return np.concatenate([np.sin(angles), np.cos(angles)], -1).astype(np.float32)


def sincos_space(rows: int, columns: int, width: int, span: float | None = None) -> np.ndarray:
    """Embed a grid of patches by sines and cosines: (rows * columns, width).

    The first half of the width codes the column and the second the row, as the official DiT and Latte do. span: the
    length of either side, however many patches it has (PixArt-alpha, Chen et al. 2023); None counts patches.

    Raises:
      ValueError: width is not a multiple of 4.
    """
    if width % 4:
        raise ValueError(f'sin-cos positions need a width that is a multiple of 4, found {width}')

    def coordinates(side: int) -> np.ndarray:
        return np.arange(side) * (1 if span is None else span / side)

    row, column = np.meshgrid(coordinates(rows), coordinates(columns), indexing='ij')
    return np.concatenate([sincos(column.ravel(), width // 2), sincos(row.ravel(), width // 2)], -1)


def rope(coordinates: Sequence[npt.ArrayLike], dims: Sequence[int], base: float = 10_000.0) -> np.ndarray:
    """Return axial rotary angles (Su et al. 2021): each axis turns its own share of a head's dimensions.

    Args:
      coordinates: one array (P,) of positions per axis.
      dims: head dimensions of each axis, even numbers that add up to the head dimension E.
      base: how many times slower the slowest pair of dimensions turns than the fastest, about.

    Returns:
      (P, E / 2) angles in radians, float32.
    """
    angles = []
    for position, dim in zip(coordinates, dims, strict=True):
        # A small head may leave an axis no dimensions at all, hence the max.
        frequencies = base ** (-np.arange(0, dim, 2, dtype=np.float64) / max(dim, 1))
        angles.append(np.asarray(position, np.float64)[:, None] * frequencies[None])
    return np.concatenate(angles, -1).astype(np.float32)


def split_head(head_dim: int, axes: int) -> tuple[int, ...]:
    """Share a head's dimensions among axes in even numbers; what is left over goes to the first axis (time)."""
    # Even, because dimensions turn in pairs.
    share = head_dim // axes // 2 * 2
    return (head_dim - share * (axes - 1),) + (share,) * (axes - 1)


@dataclasses.dataclass(frozen=True)
class Rotary:
    """Rotary positions over the axes time, rows and columns.

    Attributes:
      head_dim: Dimensions of a head, E.
      interpolate: Factor that the positions of each axis are multiplied by: 1, or (trained length) / (length) for clips
        longer than those of training, whose positions are squeezed into the known range (Chen et al. 2023,
        arXiv:2306.15595).
    """

    head_dim: int
    interpolate: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def angles(self, positions: dict[int, np.ndarray]) -> np.ndarray:
        """Return (L, E / 2) for tokens at positions (L,) along some axes, by the axis's number; they share the head."""
        scaled = [position * self.interpolate[axis] for axis, position in positions.items()]
        return rope(scaled, split_head(self.head_dim, len(scaled)))

    def within(self) -> 'Rotary':
        """Return the rotary positions within a window, which no clip makes larger: nothing is interpolated."""
        return Rotary(self.head_dim)


class LearnedPositions(nnx.Module):
    """One vector for each place in a frame and one for each frame, up to those of training.

    They are N(0, 0.02^2) at the start.
    """

    def __init__(self, grid: tuple[int, int, int], width: int, *, rngs: nnx.Rngs):
        frames, rows, columns = grid
        self.space = nnx.Param(normal_002(rngs.params(), (rows, columns, width), jnp.float32))
        self.time = nnx.Param(normal_002(rngs.params(), (frames, width), jnp.float32))

    def __call__(self, frame_indices: np.ndarray, rows: int, columns: int) -> tuple[jax.Array, jax.Array]:
        """Return (space (N, D), time (T, D)) for frames at positions (T,) in time, of rows x columns patches.

        Raises:
          ValueError: a side is longer than in training.
        """
        frames, *_ = self.time.shape
        known = (frames, *self.space.shape[:2])
        wanted = (int(max(frame_indices)) + 1, rows, columns)
        if any(side > limit for side, limit in zip(wanted, known, strict=True)):
            raise ValueError(
                f'config.model.position=learned: the network knows {known} frames, rows and columns of '
                f'patches, not {wanted}'
            )
        space = self.space[...][:rows, :columns].reshape(rows * columns, -1)
        return space, self.time[...][np.asarray(frame_indices)]
