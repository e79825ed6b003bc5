"""Which tokens attend to which: a pattern makes sequences of a clip's tokens. A pattern is one small class.

A clip of T frames may have k images behind it: further frames, each a clip of its own. Tokens are
(B, T + k, N, K, E), a pattern's sequences (..., K, L, E); whatever stands before K stays apart.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.nn.attention_backends import AttentionConfig
from vdm_jax.nn.position import Rotary
from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.sharding import Axes

Sides = tuple[int, int, int]  # in time, rows and columns


class Grid(NamedTuple):
    """The tokens of a clip, and of the images behind it.

    Attributes:
      frames: Frames of patches, T.
      rows: Rows of patches in a frame.
      columns: Columns of patches in a frame.
      images: How many images, of one frame each, stand behind the frames.
    """

    frames: int
    rows: int
    columns: int
    images: int = 0

    @property
    def tokens_per_frame(self) -> int:
        """N."""
        return self.rows * self.columns

    @property
    def tokens(self) -> int:
        """All tokens, those of the images among them."""
        return (self.frames + self.images) * self.tokens_per_frame

    @property
    def frame_indices(self) -> np.ndarray:
        """The position of every frame in time, (T + k,): 0, 1, … for the clip's, 0 for every image."""
        return np.concatenate([np.arange(self.frames), np.zeros(self.images, int)])

    @property
    def clip_ids(self) -> np.ndarray:
        """Which clip every frame belongs to, (T + k,): 0 for the clip's frames, each image a number of its own."""
        return np.concatenate([np.zeros(self.frames, int), np.arange(1, self.images + 1)])

    def frame_mask(self, causal: bool) -> np.ndarray | None:
        """Return mask[i, j]: frame i attends to frame j, (T + k, T + k) bool; None where each does to all."""
        if not self.images and not causal:
            return None
        same_clip: np.ndarray = self.clip_ids[:, None] == self.clip_ids
        if not causal:
            return same_clip
        return same_clip & (self.frame_indices[:, None] >= self.frame_indices)


class AttentionPattern:
    """Base of all patterns: how tokens become sequences, and where they lie on a mesh.

    Attributes:
      needs_time_positions: Whether its tokens are to know their frame's position in time, so that positions in time are
        added before the first block that has such a pattern. Every pattern says so itself.
      kind: The key of config.model.attention that names its backend: space, time or full. An attention over time alone
        is of kind time, and no other.
      token_axes: Mesh axes of tokens (B, T + k, N) outside attention.
      axes: Mesh axes of the sequences of `split`, within it: tokens that attend to each other are never apart. Where
        they agree with token_axes, attention needs no communication.
    """

    needs_time_positions: ClassVar[bool]
    kind: ClassVar[str] = 'full'
    token_axes: ClassVar[Axes] = (BATCH, 'sequence', None)
    axes: ClassVar[Axes]

    def axes_for(self, config: AttentionConfig) -> Axes:
        """Return the axes for config.sequence."""
        return self.axes

    def split(self, x: jax.Array, grid: Grid) -> jax.Array:
        """Split tokens into sequences: (B, T + k, N, K, E) -> (..., K, L, E)."""
        raise NotImplementedError

    def join(self, x: jax.Array, grid: Grid) -> jax.Array:
        """Invert `split`."""
        raise NotImplementedError

    def mask(self, grid: Grid) -> np.ndarray | None:
        """Return which token of a sequence (row) may attend to which (column): bool (..., L, L), None where all may."""
        return None

    def angles(self, grid: Grid, rotary: Rotary) -> np.ndarray:
        """Return the rotary angles of a sequence's tokens, (L, E / 2)."""
        raise NotImplementedError

    def length(self, grid: Grid) -> int:
        """Return L, the tokens of a sequence."""
        raise NotImplementedError


def token_axes_of(patterns: tuple[AttentionPattern, ...]) -> Axes:
    """Return the mesh axes of tokens whose heads have these patterns: theirs, or those of frames where they differ."""
    axes = {pattern.token_axes for pattern in patterns}
    # Heads over space and heads over time want x split differently; there is one x, so it stays split by frames.
    return axes.pop() if len(axes) == 1 else AttentionPattern.token_axes


@dataclasses.dataclass(frozen=True)
class Space(AttentionPattern):
    """Each frame by itself; the sequence axis splits the frames."""

    needs_time_positions: ClassVar[bool] = False
    kind: ClassVar[str] = 'space'
    axes: ClassVar[Axes] = (BATCH, 'sequence', 'tensor')

    def split(self, x: jax.Array, grid: Grid) -> jax.Array:
        # Batch and frames are not merged to one dimension: a mesh may split both, and the partitioner would gather.
        return jnp.swapaxes(x, 2, 3)

    def join(self, x: jax.Array, grid: Grid) -> jax.Array:
        return jnp.swapaxes(x, 2, 3)

    def angles(self, grid: Grid, rotary: Rotary) -> np.ndarray:
        y, x = (axis.ravel() for axis in np.mgrid[: grid.rows, : grid.columns])
        return rotary.angles({1: y, 2: x})

    def length(self, grid: Grid) -> int:
        return grid.tokens_per_frame


@dataclasses.dataclass(frozen=True)
class Time(AttentionPattern):
    """Each location by itself, over the frames; the sequence axis splits the locations.

    Attributes:
      causal: Whether a frame sees none after it.
    """

    needs_time_positions: ClassVar[bool] = True
    kind: ClassVar[str] = 'time'
    token_axes: ClassVar[Axes] = (BATCH, None, 'sequence')
    axes: ClassVar[Axes] = (BATCH, 'sequence', 'tensor')
    causal: bool = False

    def split(self, x: jax.Array, grid: Grid) -> jax.Array:
        return jnp.transpose(x, (0, 2, 3, 1, 4))

    def join(self, x: jax.Array, grid: Grid) -> jax.Array:
        return jnp.transpose(x, (0, 3, 1, 2, 4))

    def mask(self, grid: Grid) -> np.ndarray | None:
        return grid.frame_mask(self.causal)

    def angles(self, grid: Grid, rotary: Rotary) -> np.ndarray:
        return rotary.angles({0: grid.frame_indices})

    def length(self, grid: Grid) -> int:
        return grid.frames + grid.images


@dataclasses.dataclass(frozen=True)
class Full(AttentionPattern):
    """All tokens of a clip together, over space and time.

    The sequence axis splits the frames; while they attend it splits the heads (Ulysses, Jacobs et al. 2023), or still
    the frames, whose keys and values then go round in a ring (Liu et al. 2023).

    Attributes:
      causal: Whether the tokens of a frame see none of a later frame.
    """

    needs_time_positions: ClassVar[bool] = True
    axes: ClassVar[Axes] = (BATCH, ('sequence', 'tensor'))
    causal: bool = False

    def axes_for(self, config: AttentionConfig) -> Axes:
        return (BATCH, 'tensor', 'sequence') if config.sequence == 'ring' else self.axes

    def split(self, x: jax.Array, grid: Grid) -> jax.Array:
        # Frames come first, so that a device's frames stay one run of tokens and nothing is gathered.
        batch, frames, tokens, heads, dim = x.shape
        return jnp.swapaxes(x.reshape(batch, frames * tokens, heads, dim), 1, 2)

    def join(self, x: jax.Array, grid: Grid) -> jax.Array:
        batch, heads, _, dim = x.shape
        return jnp.swapaxes(x, 1, 2).reshape(batch, -1, grid.tokens_per_frame, heads, dim)

    def mask(self, grid: Grid) -> np.ndarray | None:
        frames = grid.frame_mask(self.causal)
        if frames is None:
            return None
        # Tokens are ordered by frame, so that each entry of the frames' mask becomes a square block.
        return frames.repeat(grid.tokens_per_frame, 0).repeat(grid.tokens_per_frame, 1)

    def angles(self, grid: Grid, rotary: Rotary) -> np.ndarray:
        t = grid.frame_indices.repeat(grid.tokens_per_frame)
        y, x = (np.tile(axis.ravel(), grid.frames + grid.images) for axis in np.mgrid[: grid.rows, : grid.columns])
        return rotary.angles({0: t, 1: y, 2: x})

    def length(self, grid: Grid) -> int:
        return grid.tokens


@dataclasses.dataclass(frozen=True)
class Window(AttentionPattern):
    """Windows of frames x rows x columns, side by side from the first token on (W.A.L.T, Gupta et al. 2023).

    A side that the clip does not fill is cut to the clip's; where windows do not divide it, the last ones are padded
    with tokens that nobody sees. The sequence axis splits as in `Full`.

    Attributes:
      frames: Of a window.
      rows: Of patches of a window.
      columns: Of patches of a window.
    """

    needs_time_positions: ClassVar[bool] = True  # also where it is one frame long: as in the paper, at the input
    axes: ClassVar[Axes] = (BATCH, None, None, None, ('sequence', 'tensor'))
    frames: int
    rows: int
    columns: int

    def sides(self, grid: Grid) -> Sides:
        """Return the window, no larger than the clip."""
        frames, rows, columns = self._clip(grid)
        return min(self.frames, frames), min(self.rows, rows), min(self.columns, columns)

    def split(self, x: jax.Array, grid: Grid) -> jax.Array:
        batch, *_, heads, dim = x.shape
        x = x.reshape(batch, *self._clip(grid), heads, dim)

        (t, h, w), (nt, nh, nw), clip = self._tiling(grid)
        # A reshape wants whole windows: the clip is padded at its end, and `mask` hides the padding.
        missing = (nt * t - clip[0], nh * h - clip[1], nw * w - clip[2])
        x = jnp.pad(x, [(0, 0), *((0, side) for side in missing), (0, 0), (0, 0)])

        # All counts of windows before all sides of a window, so that both triples can be merged.
        x = x.reshape(batch, nt, t, nh, h, nw, w, heads, dim).transpose(0, 1, 3, 5, 7, 2, 4, 6, 8)
        return x.reshape(batch, nt, nh, nw, heads, t * h * w, dim)

    def join(self, x: jax.Array, grid: Grid) -> jax.Array:
        (t, h, w), (nt, nh, nw), (frames, rows, columns) = self._tiling(grid)
        batch, *_, heads, _, dim = x.shape
        x = x.reshape(batch, nt, nh, nw, heads, t, h, w, dim).transpose(0, 1, 5, 2, 6, 3, 7, 4, 8)
        x = x.reshape(batch, nt * t, nh * h, nw * w, heads, dim)[:, :frames, :rows, :columns]
        return x.reshape(batch, frames, rows * columns, heads, dim)

    def mask(self, grid: Grid) -> np.ndarray | None:
        (t, h, w), (nt, nh, nw), (frames, rows, columns) = self._tiling(grid)
        if not grid.images and (nt * t, nh * h, nw * w) == (frames, rows, columns):
            return None

        # Which clip a token belongs to; -1: none, padding.
        ids = np.full((nt * t, nh * h, nw * w), -1)
        ids[:frames, :rows, :columns] = grid.clip_ids[:, None, None]
        ids = ids.reshape(nt, t, nh, h, nw, w).transpose(0, 2, 4, 1, 3, 5).reshape(nt, nh, nw, 1, -1)

        # Nobody looks at padding. Its own rows then see nothing at all, which the backends survive and `join` cuts off.
        same_clip: np.ndarray = ids[..., :, None] == ids[..., None, :]
        return same_clip & (ids[..., None, :] >= 0)

    def angles(self, grid: Grid, rotary: Rotary) -> np.ndarray:
        # Every window has the same angles: attention sees differences of positions alone.
        t, y, x = (axis.ravel() for axis in np.indices(self.sides(grid)))
        return rotary.within().angles({0: t, 1: y, 2: x})

    def length(self, grid: Grid) -> int:
        return int(np.prod(self.sides(grid)))

    def _clip(self, grid: Grid) -> Sides:
        return grid.frames + grid.images, grid.rows, grid.columns

    def _tiling(self, grid: Grid) -> tuple[Sides, Sides, Sides]:
        """Return (sides of a window, number of windows, sides of the clip)."""
        sides = self.sides(grid)
        clip = self._clip(grid)
        frames, rows, columns = (-(-c // s) for c, s in zip(clip, sides, strict=True))
        return sides, (frames, rows, columns), clip
