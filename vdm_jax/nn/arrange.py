"""Which tokens attend to which: arrangements of a clip's tokens into sequences. An arrangement is one small class.

A clip of T frames may have k images behind it: further frames, each a clip of its own. Tokens are
(B, T + k, N, K, E), an arrangement's sequences (..., K, L, E); whatever stands before K stays apart.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.nn.attend import AttentionConfig
from vdm_jax.nn.position import Rotary
from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.verbs import Axes

Sides = tuple[int, int, int]  # in time, rows and columns


class Grid(NamedTuple):
    """The tokens of a clip: frames of rows x columns patches, and how many images stand behind the frames."""

    frames: int
    rows: int
    columns: int
    images: int = 0

    @property
    def moments(self) -> np.ndarray:
        """The time of every frame, (T + k,): 0, 1, … for the clip's, 0 for every image."""
        return np.concatenate([np.arange(self.frames), np.zeros(self.images, int)])

    @property
    def clips(self) -> np.ndarray:
        """Which clip every frame belongs to, (T + k,): 0 for the clip's frames, each image a number of its own."""
        return np.concatenate([np.zeros(self.frames, int), np.arange(1, self.images + 1)])

    def sees(self, causal: bool) -> np.ndarray | None:
        """Return which frame (row) may attend to which (column), (T + k, T + k) bool; None where each may to all."""
        if not self.images and not causal:
            return None
        same: np.ndarray = self.clips[:, None] == self.clips
        return same & (self.moments[:, None] >= self.moments) if causal else same


class Arrangement:
    """Base of all arrangements: how tokens become sequences, and where they lie on a mesh.

    home: mesh axes of (B, T + k, N) outside attention. axes: those of the sequences of `split`, within it: tokens that
    attend to each other are never apart. Where the two agree, attention needs no communication. kind: the key of
    config.model.attention that names its backend.
    """

    kind: ClassVar[str] = 'full'
    home: ClassVar[Axes] = (BATCH, 'sequence', None)
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


def home_of(arrangements: tuple[Arrangement, ...]) -> Axes:
    """Return where tokens with heads in these arrangements lie: their one home, or that of frames if homes differ."""
    homes = {arrangement.home for arrangement in arrangements}
    return homes.pop() if len(homes) == 1 else Arrangement.home


@dataclasses.dataclass(frozen=True)
class Space(Arrangement):
    """Each frame by itself; the sequence axis splits the frames."""

    kind: ClassVar[str] = 'space'
    axes: ClassVar[Axes] = (BATCH, 'sequence', 'tensor')

    def split(self, x: jax.Array, grid: Grid) -> jax.Array:
        return jnp.swapaxes(x, 2, 3)

    def join(self, x: jax.Array, grid: Grid) -> jax.Array:
        return jnp.swapaxes(x, 2, 3)

    def angles(self, grid: Grid, rotary: Rotary) -> np.ndarray:
        y, x = (axis.ravel() for axis in np.mgrid[: grid.rows, : grid.columns])
        return rotary.angles({1: y, 2: x})

    def length(self, grid: Grid) -> int:
        return grid.rows * grid.columns


@dataclasses.dataclass(frozen=True)
class Time(Arrangement):
    """Each location by itself, over the frames; causal: a frame sees none after it. The sequence axis splits places."""

    kind: ClassVar[str] = 'time'
    home: ClassVar[Axes] = (BATCH, None, 'sequence')
    axes: ClassVar[Axes] = (BATCH, 'sequence', 'tensor')
    causal: bool = False

    def split(self, x: jax.Array, grid: Grid) -> jax.Array:
        return jnp.transpose(x, (0, 2, 3, 1, 4))

    def join(self, x: jax.Array, grid: Grid) -> jax.Array:
        return jnp.transpose(x, (0, 3, 1, 2, 4))

    def mask(self, grid: Grid) -> np.ndarray | None:
        return grid.sees(self.causal)

    def angles(self, grid: Grid, rotary: Rotary) -> np.ndarray:
        return rotary.angles({0: grid.moments})

    def length(self, grid: Grid) -> int:
        return grid.frames + grid.images


@dataclasses.dataclass(frozen=True)
class Full(Arrangement):
    """All tokens of a clip together, over space and time; causal: a frame's tokens see none of a later frame.

    The sequence axis splits the frames; while they attend it splits the heads (Ulysses, Jacobs et al. 2023), or still
    the frames, whose keys and values then go round in a ring (Liu et al. 2023).
    """

    axes: ClassVar[Axes] = (BATCH, ('sequence', 'tensor'))
    causal: bool = False

    def axes_for(self, config: AttentionConfig) -> Axes:
        return (BATCH, 'tensor', 'sequence') if config.sequence == 'ring' else self.axes

    def split(self, x: jax.Array, grid: Grid) -> jax.Array:
        batch, frames, tokens, heads, dim = x.shape
        return jnp.swapaxes(x.reshape(batch, frames * tokens, heads, dim), 1, 2)

    def join(self, x: jax.Array, grid: Grid) -> jax.Array:
        batch, heads, _, dim = x.shape
        return jnp.swapaxes(x, 1, 2).reshape(batch, -1, grid.rows * grid.columns, heads, dim)

    def mask(self, grid: Grid) -> np.ndarray | None:
        sees, tokens = grid.sees(self.causal), grid.rows * grid.columns
        return None if sees is None else sees.repeat(tokens, 0).repeat(tokens, 1)

    def angles(self, grid: Grid, rotary: Rotary) -> np.ndarray:
        moments = grid.moments.repeat(grid.rows * grid.columns)
        y, x = (np.tile(axis.ravel(), len(grid.moments)) for axis in np.mgrid[: grid.rows, : grid.columns])
        return rotary.angles({0: moments, 1: y, 2: x})

    def length(self, grid: Grid) -> int:
        return (grid.frames + grid.images) * grid.rows * grid.columns


@dataclasses.dataclass(frozen=True)
class Window(Arrangement):
    """Windows of frames x rows x columns, side by side from the first token on (W.A.L.T, Gupta et al. 2023).

    A side that the clip does not fill is cut to the clip's; where windows do not divide it, the last ones are padded
    with tokens that nobody sees. The sequence axis splits as in `Full`.
    """

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
        pad = [(0, 0), *((0, w * n - c) for w, n, c in zip(*self._cut(grid), strict=True)), (0, 0), (0, 0)]
        x = jnp.pad(x, pad)
        (t, h, w), (nt, nh, nw), _ = self._cut(grid)
        x = x.reshape(batch, nt, t, nh, h, nw, w, heads, dim).transpose(0, 1, 3, 5, 7, 2, 4, 6, 8)
        return x.reshape(batch, nt, nh, nw, heads, t * h * w, dim)

    def join(self, x: jax.Array, grid: Grid) -> jax.Array:
        (t, h, w), (nt, nh, nw), (frames, rows, columns) = self._cut(grid)
        batch, heads, dim = x.shape[0], x.shape[4], x.shape[-1]
        x = x.reshape(batch, nt, nh, nw, heads, t, h, w, dim).transpose(0, 1, 5, 2, 6, 3, 7, 4, 8)
        x = x.reshape(batch, nt * t, nh * h, nw * w, heads, dim)[:, :frames, :rows, :columns]
        return x.reshape(batch, frames, rows * columns, heads, dim)

    def mask(self, grid: Grid) -> np.ndarray | None:
        (t, h, w), (nt, nh, nw), (frames, rows, columns) = self._cut(grid)
        if not grid.images and (nt * t, nh * h, nw * w) == (frames, rows, columns):
            return None
        clip = np.full((nt * t, nh * h, nw * w), -1)  # which clip a token belongs to; -1: none, padding
        clip[:frames, :rows, :columns] = grid.clips[:, None, None]
        clip = clip.reshape(nt, t, nh, h, nw, w).transpose(0, 2, 4, 1, 3, 5).reshape(nt, nh, nw, 1, -1)
        same: np.ndarray = (clip[..., :, None] == clip[..., None, :]) & (clip[..., None, :] >= 0)
        return same

    def angles(self, grid: Grid, rotary: Rotary) -> np.ndarray:
        t, y, x = (axis.ravel() for axis in np.indices(self.sides(grid)))
        return rotary.within().angles({0: t, 1: y, 2: x})

    def length(self, grid: Grid) -> int:
        return int(np.prod(self.sides(grid)))

    def _clip(self, grid: Grid) -> Sides:
        return grid.frames + grid.images, grid.rows, grid.columns

    def _cut(self, grid: Grid) -> tuple[Sides, Sides, Sides]:
        """Return (sides of a window, number of windows, sides of the clip)."""
        sides, clip = self.sides(grid), self._clip(grid)
        frames, rows, columns = (-(-c // s) for c, s in zip(clip, sides, strict=True))
        return sides, (frames, rows, columns), clip
