"""Convolutions over time that never look ahead, so that a clip can be worked through in chunks of frames."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import Initializer

from vdm_jax.nn.conv import Conv, scaled
from vdm_jax.nn.embed import patchify, unpatchify


class Past:
    """The last frames that the layers of a causal network have seen, for one call of the network.

    Past() is the beginning of a clip. After the call `frames` holds what Past(frames) hands to the same layers, in the
    same order, when the network is called with the frames that follow: the outputs are those of one call with all of
    them.
    """

    def __init__(self, frames: Sequence[jax.Array] | None = None):
        self.at_start = frames is None
        self.frames: list[jax.Array] = []
        self._previous = iter(frames or ())

    def extend(self, x_BTHWC: jax.Array, front: int, keep: int) -> jax.Array:
        """Put the frames before these in front of them, and keep the last `keep` of all.

        At the beginning of a clip `front` copies of its first frame stand there, later the frames kept. Copies, not
        zeros: a clip that stands still then has the same features in every frame, an image's.
        """
        previous = jnp.repeat(x_BTHWC[:, :1], front, 1) if self.at_start else next(self._previous)
        x_BTHWC = jnp.concatenate([previous, x_BTHWC], 1)
        self.frames.append(x_BTHWC[:, x_BTHWC.shape[1] - keep :])
        return x_BTHWC


class CausalConv(nnx.Module):
    """y = conv(x) + b over frames, rows and columns, of which a frame sees those before it and itself.

    sides: of the kernel, odd in rows and columns. stride (s, r, r): of 1 + s n frames it makes 1 + n, the first of the
    first alone, and of H rows H / r (rounded up).
    """

    def __init__(
        self,
        size_in: int,
        size_out: int,
        sides: tuple[int, int, int] = (3, 3, 3),
        stride: tuple[int, int, int] = (1, 1, 1),
        init: Initializer = scaled,
        *,
        rngs: nnx.Rngs,
    ):
        frames, *sides_of_frame = sides

        # The kernel's window moves on by `stride` frames: so many fewer than its length are seen again by the first
        # output of the next chunk.
        self.front = frames - 1
        self.keep = frames - stride[0]

        # No zeros in time: `Past` puts frames in front.
        padding = ((0, 0), *((side // 2, side // 2) for side in sides_of_frame))
        self.conv = Conv(size_in, size_out, sides, stride, padding, init, rngs=rngs)

    def __call__(self, x_BTHWC: jax.Array, past: Past) -> jax.Array:
        return self.conv(past.extend(x_BTHWC, self.front, self.keep))


class Down(nnx.Module):
    """Frames, rows and columns to one of as many as `stride` says.

    By a convolution with stride, and beside it space to depth whose channels are averaged in groups, a shortcut without
    parameters (DC-AE, Chen et al. 2024). 1 + s n frames become 1 + n: the first is of the first alone, as if it had
    stood still.
    """

    def __init__(self, size_in: int, size_out: int, stride: tuple[int, int, int], *, rngs: nnx.Rngs):
        self.size = size_out
        self.time, self.space, _ = stride
        self.conv = CausalConv(size_in, size_out, stride=stride, rngs=rngs)

    def __call__(self, x_BTHWC: jax.Array, past: Past) -> jax.Array:
        y = self.conv(x_BTHWC, past)
        # 1 + s n frames divide into groups of s once the first is there s times; so does the convolution pad them.
        if past.at_start:
            x_BTHWC = jnp.concatenate([jnp.repeat(x_BTHWC[:, :1], self.time - 1, 1), x_BTHWC], 1)
        return y + resize_channels(space_to_depth(x_BTHWC, self.time, self.space), self.size)


class Up(nnx.Module):
    """Each frame, row and column into as many as `stride` says.

    By a convolution and depth to space, and beside it the channels as they are, repeated (DC-AE). Of the frames that
    the first of a clip becomes only the last stays, so that 1 + n frames become 1 + s n (MAGVIT-v2, Yu et al. 2023,
    section 3.2).
    """

    def __init__(self, size_in: int, size_out: int, stride: tuple[int, int, int], *, rngs: nnx.Rngs):
        self.time, self.space, _ = stride
        self.size = size_out * self.time * self.space**2
        self.conv = CausalConv(size_in, self.size, rngs=rngs)

    def __call__(self, x_BTHWC: jax.Array, past: Past) -> jax.Array:
        y = depth_to_space(self.conv(x_BTHWC, past) + resize_channels(x_BTHWC, self.size), self.time, self.space)
        return y[:, self.time - 1 :] if past.at_start else y


def resize_channels(x: jax.Array, size: int) -> jax.Array:
    """Average neighbouring channels or repeat each, (..., C) -> (..., size); one size divides the other."""
    channels = x.shape[-1]
    if size > channels:
        return jnp.repeat(x, size // channels, -1)
    return x.reshape(*x.shape[:-1], size, channels // size).mean(-1)


def space_to_depth(x_BTHWC: jax.Array, time: int, space: int) -> jax.Array:
    """Move `time` frames of space x space pixels into channels.

    (B, T, H, W, C) -> (B, T / time, H / space, W / space, time space^2 C).
    """
    batch, frames, height, width, _ = x_BTHWC.shape
    return patchify(x_BTHWC, time, space).reshape(batch, frames // time, height // space, width // space, -1)


def depth_to_space(x_BTHWC: jax.Array, time: int, space: int) -> jax.Array:
    """Invert `space_to_depth`: (B, T, H, W, time space^2 C) -> (B, T time, H space, W space, C)."""
    batch, frames, height, width, channels = x_BTHWC.shape
    tokens = x_BTHWC.reshape(batch, frames, height * width, channels)
    return unpatchify(tokens, (frames * time, height * space, width * space), time, space)
