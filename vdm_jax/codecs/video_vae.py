"""A causal 3-D variational autoencoder of images and videos."""

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

LOGVAR_RANGE = -30.0, 20.0  # that a latent's log variance is clipped to, so that its exponential stays finite
INITIAL_LOGVAR = -6.0  # about: noise as large as the latents would have to be unlearned


@dataclass(frozen=True)
class VideoVAEConfig(NetworkConfig):
    """Which video autoencoder to build.

    Attributes:
      channels: Width of each level from pixels to latents; from one to the next the clip shrinks to halves, in space at
        the first ones and in time at the last ones.
      blocks: Residual blocks of a level.
      latent: Channels of a latent.
      time: Frames to one latent frame; the first frame has a latent frame of its own.
      space: Pixels to one latent, along each side.
      patch: Pixels along each side that go into channels before the first convolution; 1 as in the paper, more for less
        time and memory.
      groups: Groups of every norm.
      in_channels: Channels of a pixel; None: the source's.
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

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(width % self.groups for width in self.channels):
            self.refuse('groups', f'it must divide each of channels={show(self.channels)}')
        if self.patch > self.space:
            self.refuse('patch', f'want {self.space} or less, as space={self.space}')

        levels = 1 + max(_log2(self.space // self.patch), _log2(self.time))
        if len(self.channels) != levels:
            self.refuse('channels', f'time={self.time}, space={self.space} and patch={self.patch} take {levels} levels')

        # The shortcut from level to level averages channels in groups, or repeats them.
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
        count = len(self.channels) - 1
        space_halvings = _log2(self.space // self.patch)
        time_halvings = _log2(self.time)
        strides = []
        for level in range(count):
            time = 2 if level >= count - time_halvings else 1
            space = 2 if level < space_halvings else 1
            strides.append((time, space, space))
        return tuple(strides)

    def latent_shape(self, shape: Shape) -> Shape:
        """Return the shape of the latents of a clip of shape (T, H, W, C).

        Raises:
          UserError: The clip does not have 1 + time n frames, or has a side that `space` does not divide.
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
        """Count the operations of the convolutions that encode and decode; a multiply-add counts as 2."""
        frames, height, width = shape
        positions = height * width // self.patch**2
        clip = self._count_products(frames, positions)
        return 2.0 * (clip + images * self._count_products(1, positions))

    def _count_products(self, frames: int, positions: int) -> int:
        """Count the multiply-adds for a clip of so many frames, with so many positions in each at the first level."""
        if self.in_channels is None:
            raise ValueError('the channels of a pixel are not filled in yet')
        taps = 27  # of a 3x3x3 convolution
        pixel = self.in_channels * self.patch**2

        # The first convolution of the encoder and the last of the decoder.
        total = 2 * taps * pixel * self.channels[0] * frames * positions
        for level, width in enumerate(self.channels):
            if level:
                time, rows, columns = self.strides[level - 1]
                frames = 1 + (frames - 1) // time
                positions = positions // (rows * columns)
                down_and_up = 1 + time * rows * columns
                total += taps * self.channels[level - 1] * width * down_and_up * frames * positions
            # Two convolutions a block, in the encoder and in the decoder.
            total += 4 * self.blocks * taps * width**2 * frames * positions

        # To moments by a dense layer, and from latents by a convolution.
        return total + (2 + taps) * self.latent * self.channels[-1] * frames * positions


def _log2(power_of_two: int) -> int:
    return power_of_two.bit_length() - 1


class ResidualBlock(nnx.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))) (He et al. 2016), at the start x; norms are of single frames."""

    def __init__(self, width: int, groups: int, *, rngs: nnx.Rngs):
        self.norm1 = GroupNorm(width, groups, rngs=rngs)
        self.norm2 = GroupNorm(width, groups, rngs=rngs)
        self.conv1 = CausalConv(width, width, init=scaled, rngs=rngs)
        # Zeros: the block is the identity at first.
        self.conv2 = CausalConv(width, width, init=zeros, rngs=rngs)

    def __call__(self, x: jax.Array, past: Past) -> jax.Array:
        y = self.conv1(jax.nn.silu(self.norm1(x)), past)
        return x + self.conv2(jax.nn.silu(self.norm2(y)), past)


class Encoder(nnx.Module):
    """Pixels (B, T, H, W, C) -> mean and log variance side by side, (B, T', H', W', 2 latent)."""

    def __init__(self, config: VideoVAEConfig, *, rngs: nnx.Rngs):
        self.patch = config.patch
        widths = config.channels
        self.conv_in = CausalConv(_patch_channels(config), widths[0], rngs=rngs)

        layers: list[nnx.Module] = []
        for level, width in enumerate(widths):
            if level:
                layers.append(Down(widths[level - 1], width, config.strides[level - 1], rngs=rngs))
            layers += [ResidualBlock(width, config.groups, rngs=rngs) for _ in range(config.blocks)]
        self.down = Sequential(layers)

        # The second half of its outputs are the log variances.
        self.out = Linear(widths[-1], 2 * config.latent, rngs=rngs)
        self.out.bias = nnx.Param(jnp.repeat(jnp.array([0.0, INITIAL_LOGVAR]), config.latent))

    def __call__(self, x_BTHWC: jax.Array, past: Past) -> jax.Array:
        x = self.conv_in(space_to_depth(x_BTHWC, 1, self.patch), past)
        return self.out(self.down(x, past))


class Decoder(nnx.Module):
    """Latents (B, T', H', W', latent) -> pixels (B, T, H, W, C)."""

    def __init__(self, config: VideoVAEConfig, *, rngs: nnx.Rngs):
        self.patch = config.patch
        widths = config.channels[::-1]
        self.conv_in = CausalConv(config.latent, widths[0], rngs=rngs)

        layers: list[nnx.Module] = []
        for level, width in enumerate(widths):
            if level:
                # The encoder's strides from behind: level by level the decoder undoes what the encoder did last.
                layers.append(Up(widths[level - 1], width, config.strides[-level], rngs=rngs))
            layers += [ResidualBlock(width, config.groups, rngs=rngs) for _ in range(config.blocks)]
        self.up = Sequential(layers)

        self.conv_out = CausalConv(widths[-1], _patch_channels(config), rngs=rngs)

    def __call__(self, z_BTHWC: jax.Array, past: Past) -> jax.Array:
        x = self.up(self.conv_in(z_BTHWC, past), past)
        return depth_to_space(self.conv_out(x, past), 1, self.patch)


def _patch_channels(config: VideoVAEConfig) -> int:
    """Return the channels of the pixels of a patch."""
    if config.in_channels is None:
        raise ValueError('the channels of a pixel are not filled in yet')
    return config.in_channels * config.patch**2


class VideoVAE(nnx.Module):
    """Autoencoder of clips of 1 + time n frames (MAGVIT-v2, Yu et al. 2023, section 3.2; W.A.L.T, Gupta et al. 2023).

    The first frame has a latent frame of its own, each `time` frames after it one more, and nothing looks ahead: an
    image is a clip of one frame, encoded and decoded as the first frame of any clip is.

    Unlike these, it has shortcuts around every change of resolution (DC-AE), and no norm before the last layers of
    encoder and decoder, which on small pictures hides how bright they are. It learns the bouncing balls several times
    faster so.
    """

    def __init__(self, config: VideoVAEConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)

    def moments(self, x_BTHWC: jax.Array, past: Past | None = None) -> tuple[jax.Array, jax.Array]:
        """Encode pixels in [-1, 1] to the mean and the log variance of the posterior of their latents.

        Each is (B, T', H', W', latent) float32.

        Args:
          x_BTHWC: A clip of 1 + time n frames.
          past: Of the frames before, where these continue a clip: then time n frames become n latent frames.

        Raises:
          UserError: It does not have 1 + time n frames, or has a side that `space` does not divide.
        """
        # A clip that goes on has no first frame, so that its length is another.
        if past is None:
            _, frames, height, width, channels = x_BTHWC.shape
            self.config.latent_shape((frames, height, width, channels))

        x = constrain(x_BTHWC.astype(self.config.dtype), BATCH)
        # float32 from here on: the exponential of a rounded log variance is far off.
        moments = self.encoder(x, past or Past()).astype(jnp.float32)
        mean, logvar = jnp.split(moments, 2, -1)
        return mean, jnp.clip(logvar, *LOGVAR_RANGE)

    def decode(self, z_BTHWC: jax.Array, past: Past | None = None) -> jax.Array:
        """Decode 1 + n latent frames to 1 + time n frames of pixels, float32 and about [-1, 1].

        past: Of the latent frames before, where these continue a clip: then n latent frames become time n frames.
        """
        z = constrain(z_BTHWC.astype(self.config.dtype), BATCH)
        return self.decoder(z, past or Past()).astype(jnp.float32)
