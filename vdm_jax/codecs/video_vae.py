"""A causal 3-D variational autoencoder of images and videos in one."""

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.config.ranges import Between, Side, show
from vdm_jax.errors import UserError
from vdm_jax.nn.causal_conv import CausalConv, Down, Past, Up, depth_to_space, space_to_depth
from vdm_jax.nn.config import NetworkConfig, Shape
from vdm_jax.nn.conv import GroupNorm, scaled
from vdm_jax.nn.linear import Linear, zeros
from vdm_jax.nn.sequential import Sequential
from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.sharding import constrain

LOGVAR = -30.0, 20.0  # where a latent's log variance is cut off, so that it stays finite
START = -6.0  # and about what it is at first: noise as large as the latents would have to be unlearned


@dataclass(frozen=True)
class VideoVAEConfig(NetworkConfig):
    """What autoencoder to build.

    Attributes:
      channels: Width of each level from pixels to latents; from one to the next the clip shrinks to halves, in space at
        the first ones and in time at the last ones.
      blocks: Residual blocks of a level.
      latent: Channels of a latent.
      time: Frames to one latent; the first frame has one alone.
      space: Pixels a side to one latent.
      patch: Pixels a side that go into channels before the first convolution; 1 as in the paper, more for less time and
        memory.
      groups: Of every norm.
      in_channels: Of a pixel, the source's where it is None.
      dtype: Of the computation; parameters are float32.
    """

    autoencodes: ClassVar[bool] = True
    takes_images: ClassVar[bool] = True
    channels: tuple[Side, ...] = (128, 256, 256, 512)
    blocks: Annotated[int, Between(1, 1024)] = 2
    latent: Side = 8
    time: Literal[1, 2, 4] = 4
    space: Literal[2, 4, 8] = 8
    patch: Literal[1, 2, 4, 8] = 1
    groups: Side = 32
    in_channels: Side | None = None
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    def __post_init__(self):
        super().__post_init__()
        if any(width % self.groups for width in self.channels):
            self.refuse('groups', f'it must divide each of channels={show(self.channels)}')
        if self.patch > self.space:
            self.refuse('patch', f'want {self.space} or less, as space={self.space}')
        needed = 1 + max(_halvings(self.space // self.patch), _halvings(self.time))
        if len(self.channels) != needed:
            self.refuse('channels', f'time={self.time}, space={self.space} and patch={self.patch} take {needed} levels')
        for narrow, wide, stride in zip(self.channels, self.channels[1:], self.strides, strict=False):
            small, large = sorted((narrow * math.prod(stride), wide))
            if large % small:
                self.refuse(
                    'channels',
                    f'the level of {wide} has places of {math.prod(stride)} times {narrow} channels: one of {small} '
                    f'and {large} must divide the other',
                )

    @property
    def strides(self) -> tuple[tuple[int, int, int], ...]:
        """By how much frames, rows and columns shrink from each level to the next."""
        count, by = len(self.channels) - 1, lambda halved: 2 if halved else 1
        space, time = _halvings(self.space // self.patch), _halvings(self.time)
        return tuple((by(i >= count - time), by(i < space), by(i < space)) for i in range(count))

    def latent_shape(self, shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """That of the latents of a clip of shape (T, H, W, C).

        Raises:
          UserError: the clip has not 1 + time n frames, or a side that `space` does not divide.
        """
        frames, height, width, _ = shape
        if (frames - 1) % self.time:
            fewer = (frames - 1) // self.time * self.time + 1
            raise UserError(
                f'config.data.frames={frames}: the autoencoder takes one frame and then groups of {self.time}; set it '
                f'to {fewer} or {fewer + self.time}'
            )
        if height % self.space or width % self.space:
            raise UserError(
                f'config.data.pixels: frames of {height}x{width} do not divide into latents of '
                f'{self.space}x{self.space} pixels'
            )
        return 1 + (frames - 1) // self.time, height // self.space, width // self.space, self.latent

    def build(self, rngs: nnx.Rngs) -> 'VideoVAE':
        return VideoVAE(self, rngs=rngs)

    def fit_to(self, shape: Shape, classes: int) -> Self:
        self.latent_shape(shape)
        if self.in_channels not in (None, shape[-1]):
            raise UserError(f'config.model.in_channels={self.in_channels}: the clips have {shape[-1]}; leave it out')
        return replace(self, in_channels=shape[-1])

    def flops(
        self, shape: tuple[int, int, int], images: int = 0, per_frame: bool = False, text_tokens: int = 0
    ) -> float:
        """Of encoding and decoding, convolutions alone; a multiply-add counts as 2."""
        frames, height, width = shape
        clip = self._products(frames, height * width // self.patch**2)
        return 2.0 * (clip + images * self._products(1, height * width // self.patch**2))

    def _products(self, frames: int, places: int) -> int:
        """Multiply-adds of a clip of so many frames and places in each, at the first level."""
        taps, widths, pixel = 27, self.channels, self.in_channels * self.patch**2
        total = 2 * taps * pixel * widths[0] * frames * places
        for level, width in enumerate(widths):
            if level:
                time, rows, columns = self.strides[level - 1]
                frames, places = 1 + (frames - 1) // time, places // (rows * columns)
                total += taps * widths[level - 1] * width * (1 + time * rows * columns) * frames * places
            total += 4 * self.blocks * taps * width**2 * frames * places
        return total + (2 + taps) * self.latent * widths[-1] * frames * places


def _halvings(power_of_two: int) -> int:
    return power_of_two.bit_length() - 1


class Residual(nnx.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))) (He et al. 2016), x alone at the start; norms are of single frames."""

    def __init__(self, width: int, groups: int, *, rngs: nnx.Rngs):
        self.norm1, self.norm2 = (GroupNorm(width, groups, rngs=rngs) for _ in range(2))
        self.conv1, self.conv2 = (CausalConv(width, width, init=init, rngs=rngs) for init in (scaled, zeros))

    def __call__(self, x, past: Past):
        y = self.conv1(jax.nn.silu(self.norm1(x)), past)
        return x + self.conv2(jax.nn.silu(self.norm2(y)), past)


class Encoder(nnx.Module):
    """Pixels (B, T, H, W, C) -> mean and log variance beside each other, (B, T', H', W', 2 latent)."""

    def __init__(self, config: VideoVAEConfig, *, rngs: nnx.Rngs):
        widths, self.patch = config.channels, config.patch
        self.conv_in = CausalConv(config.in_channels * config.patch**2, widths[0], rngs=rngs)
        parts = []
        for level, width in enumerate(widths):
            if level:
                parts.append(Down(widths[level - 1], width, config.strides[level - 1], rngs=rngs))
            parts += [Residual(width, config.groups, rngs=rngs) for _ in range(config.blocks)]
        self.down = Sequential(parts)
        self.out = Linear(widths[-1], 2 * config.latent, rngs=rngs)
        self.out.bias = nnx.Param(jnp.repeat(jnp.array([0.0, START]), config.latent))

    def __call__(self, x_BTHWC, past: Past):
        x = self.down(self.conv_in(space_to_depth(x_BTHWC, 1, self.patch), past), past)
        return self.out(x)


class Decoder(nnx.Module):
    """Latents (B, T', H', W', latent) -> pixels (B, T, H, W, C)."""

    def __init__(self, config: VideoVAEConfig, *, rngs: nnx.Rngs):
        widths, self.patch = config.channels[::-1], config.patch
        self.conv_in = CausalConv(config.latent, widths[0], rngs=rngs)
        parts = []
        for level, width in enumerate(widths):
            if level:
                parts.append(Up(widths[level - 1], width, config.strides[-level], rngs=rngs))
            parts += [Residual(width, config.groups, rngs=rngs) for _ in range(config.blocks)]
        self.up = Sequential(parts)
        self.conv_out = CausalConv(widths[-1], config.in_channels * config.patch**2, rngs=rngs)

    def __call__(self, z_BTHWC, past: Past):
        x = self.up(self.conv_in(z_BTHWC, past), past)
        return depth_to_space(self.conv_out(x, past), 1, self.patch)


class VideoVAE(nnx.Module):
    """Autoencoder of clips of 1 + time n frames (MAGVIT-v2, Yu et al. 2023, section 3.2; W.A.L.T, Gupta et al. 2023).

    The first frame has a latent frame of its own, each `time` frames after it one more, and nothing looks ahead: an
    image is a clip of one frame, encoded and decoded as the first frame of any clip is.
    Not theirs: the ways around every shrinking and growing (DC-AE), and no norm before the last layers of encoder and
    decoder, which on small pictures hides how bright they are. The balls are learned several times faster so.
    """

    def __init__(self, config: VideoVAEConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)

    def moments(self, x_BTHWC, past: Past | None = None):
        """Mean and log variance of the latents, float32 (B, T', H', W', latent) each, of pixels in [-1, 1].

        past: of the frames before, where these continue a clip: then n latent frames of time n frames.

        Raises:
          UserError: not 1 + time n frames, or a side that `space` does not divide.
        """
        if past is None:
            self.config.latent_shape(x_BTHWC.shape[1:])
        x = constrain(x_BTHWC.astype(self.config.dtype), BATCH)
        mean, logvar = jnp.split(self.encoder(x, past or Past()).astype(jnp.float32), 2, -1)
        return mean, jnp.clip(logvar, *LOGVAR)

    def decode(self, z_BTHWC, past: Past | None = None):
        """Pixels, float32 and about [-1, 1], of latents: 1 + time n frames of 1 + n latent ones.

        past: of the latent frames before, where these continue a clip: then time n frames of n.
        """
        z = constrain(z_BTHWC.astype(self.config.dtype), BATCH)
        return self.decoder(z, past or Past()).astype(jnp.float32)
