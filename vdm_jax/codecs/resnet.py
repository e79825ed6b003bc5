"""Residual blocks of convolutions, over each frame, over time, or over both and mixed; and what changes resolution."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.nn.attention_backends import plain
from vdm_jax.nn.conv import Conv, GroupNorm
from vdm_jax.nn.linear import Linear


class ResnetBlock(nnx.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), (B, T, H, W, I) -> (B, T, H, W, O) (He et al. 2016).

    Where the number of channels changes, x goes through a 1x1 convolution. kernel: two sides, each frame by itself, or
    three; then the norms are over the frames too.
    """

    def __init__(
        self,
        size_in: int,
        size_out: int,
        groups: int,
        kernel: Sequence[int] = (3, 3),
        epsilon: float = 1e-6,
        *,
        rngs: nnx.Rngs,
    ):
        rank = len(kernel)
        self.norm1 = GroupNorm(size_in, groups, epsilon, rank, rngs=rngs)
        self.conv1 = Conv(size_in, size_out, kernel, rngs=rngs)
        self.norm2 = GroupNorm(size_out, groups, epsilon, rank, rngs=rngs)
        self.conv2 = Conv(size_out, size_out, kernel, rngs=rngs)
        self.shortcut = Conv(size_in, size_out, (1,) * rank, rngs=rngs) if size_in != size_out else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv1(jax.nn.silu(self.norm1(x)))
        y = self.conv2(jax.nn.silu(self.norm2(y)))
        return (x if self.shortcut is None else self.shortcut(x)) + y


class SpaceTimeResnetBlock(nnx.Module):
    """A block over each frame, y, then one over three frames, z: (1 - a) y + a z with a learned a = sigmoid(mix).

    One number for the block (Blattmann et al. 2023, Align your Latents; the temporal decoder of Stable Video
    Diffusion).
    """

    def __init__(self, size_in: int, size_out: int, groups: int, *, rngs: nnx.Rngs):
        self.spatial = ResnetBlock(size_in, size_out, groups, rngs=rngs)
        # The two epsilons are those that the published weights were trained with.
        self.temporal = ResnetBlock(size_out, size_out, groups, (3, 1, 1), 1e-5, rngs=rngs)
        self.mix = nnx.Param(jnp.zeros((1,), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.spatial(x)
        # sigmoid(0): both blocks have the same share at first.
        share = jax.nn.sigmoid(self.mix[0]).astype(x.dtype)
        return (1 - share) * y + share * self.temporal(y)


class FrameAttention(nnx.Module):
    """Self-attention with one head over all positions of a frame, added to x: (B, T, H, W, C) -> the same."""

    def __init__(self, channels: int, groups: int, *, rngs: nnx.Rngs):
        self.norm = GroupNorm(channels, groups, rngs=rngs)
        self.query = Linear(channels, channels, rngs=rngs)
        self.key = Linear(channels, channels, rngs=rngs)
        self.value = Linear(channels, channels, rngs=rngs)
        self.project = Linear(channels, channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        # One head of all channels: (B, T, H W, C) is what `plain` takes for (..., L, E).
        tokens = self.norm(x).reshape(*x.shape[:2], -1, x.shape[-1])
        mixed = plain(self.query(tokens), self.key(tokens), self.value(tokens))
        return x + self.project(mixed).reshape(x.shape)


class Downsample(nnx.Module):
    """A convolution of stride 2, padded by one pixel after the end of rows and columns, not before the start."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        # As latent diffusion pads: under even padding its weights would see their input one pixel off.
        self.conv = Conv(channels, channels, (3, 3), 2, ((0, 1), (0, 1)), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv(x)


class Upsample(nnx.Module):
    """Nearest-neighbour upsampling of rows and columns by 2, then a convolution."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.conv = Conv(channels, channels, (3, 3), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv(jnp.repeat(jnp.repeat(x, 2, -3), 2, -2))
