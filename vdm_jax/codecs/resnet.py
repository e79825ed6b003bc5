"""Residual blocks of convolutions, over each frame, over time, or over both and mixed; what lies between them."""

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.nn.attention_backends import plain
from vdm_jax.nn.conv import Conv, GroupNorm
from vdm_jax.nn.linear import Linear


class Resnet(nnx.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))): (B, T, H, W, I) -> (B, T, H, W, O); x through a 1x1 convolution where
    the channels change (He et al. 2016).

    kernel: two sides, each frame by itself, or three, and then the norms are over the frames too.
    """

    def __init__(
        self, size_in: int, size_out: int, groups: int, kernel=(3, 3), epsilon: float = 1e-6, *, rngs: nnx.Rngs
    ):
        places = len(kernel)
        self.norm1 = GroupNorm(size_in, groups, epsilon, places, rngs=rngs)
        self.conv1 = Conv(size_in, size_out, kernel, rngs=rngs)
        self.norm2 = GroupNorm(size_out, groups, epsilon, places, rngs=rngs)
        self.conv2 = Conv(size_out, size_out, kernel, rngs=rngs)
        self.shortcut = Conv(size_in, size_out, (1,) * places, rngs=rngs) if size_in != size_out else None

    def __call__(self, x):
        y = self.conv1(jax.nn.silu(self.norm1(x)))
        y = self.conv2(jax.nn.silu(self.norm2(y)))
        return (x if self.shortcut is None else self.shortcut(x)) + y


class MixedResnet(nnx.Module):
    """A block over each frame, y, then one over three frames, z: (1 - a) y + a z with a learned a = sigmoid(mix), one
    number (Blattmann et al. 2023, Align your Latents; the temporal decoder of Stable Video Diffusion).
    """

    def __init__(self, size_in: int, size_out: int, groups: int, *, rngs: nnx.Rngs):
        self.spatial = Resnet(size_in, size_out, groups, rngs=rngs)
        self.temporal = Resnet(size_out, size_out, groups, (3, 1, 1), 1e-5, rngs=rngs)
        self.mix = nnx.Param(jnp.zeros((1,), jnp.float32))

    def __call__(self, x):
        y = self.spatial(x)
        share = jax.nn.sigmoid(self.mix[0]).astype(x.dtype)
        return (1 - share) * y + share * self.temporal(y)


class FrameAttention(nnx.Module):
    """Self-attention with one head over all places of a frame, added to x: (B, T, H, W, C) -> the same."""

    def __init__(self, channels: int, groups: int, *, rngs: nnx.Rngs):
        self.norm = GroupNorm(channels, groups, rngs=rngs)
        self.query, self.key, self.value, self.project = (Linear(channels, channels, rngs=rngs) for _ in range(4))

    def __call__(self, x):
        tokens = self.norm(x).reshape(*x.shape[:2], -1, x.shape[-1])
        mixed = plain(self.query(tokens), self.key(tokens), self.value(tokens))
        return x + self.project(mixed).reshape(x.shape)


class Halve(nnx.Module):
    """A convolution of stride 2 that looks one place beyond the end of rows and columns, and none before the start."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.conv = Conv(channels, channels, (3, 3), 2, ((0, 1), (0, 1)), rngs=rngs)

    def __call__(self, x):
        return self.conv(x)


class Double(nnx.Module):
    """Every place twice, along rows and columns, then a convolution."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.conv = Conv(channels, channels, (3, 3), rngs=rngs)

    def __call__(self, x):
        return self.conv(jnp.repeat(jnp.repeat(x, 2, -3), 2, -2))
