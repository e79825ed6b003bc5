"""A causal 3-D variational autoencoder of images and videos in one."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.errors import UserError
from vdm_jax.nn.causal import CausalConv, Past, depth_to_space, space_to_depth
from vdm_jax.nn.conv import GroupNorm
from vdm_jax.nn.linear import Linear
from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.verbs import constrain

LOGVAR = (-30.0, 20.0)  # what a latent's log variance is cut to, so that it stays finite


@dataclass(frozen=True)
class VideoVAEConfig:
    """What autoencoder to build.

    channels: width of each level, from pixels to latents; between two levels the clip shrinks. blocks: residual blocks
    of a level. latent: channels of a latent. time, space: frames and pixels a side to one latent (of the first frame,
    that frame alone). patch: pixels a side that go into channels before the first convolution, which saves time where
    pixels are plain; 1 as in the paper. groups: of every norm. in_channels: of a pixel, filled in from the source where
    it is None.
    """

    channels: tuple[int, ...] = (128, 256, 256, 512)
    blocks: int = 2
    latent: int = 8
    time: Literal[1, 2, 4] = 4
    space: Literal[1, 2, 4, 8, 16] = 8
    patch: Literal[1, 2, 4, 8] = 1
    groups: int = 32
    in_channels: int | None = None
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    def __post_init__(self):
        if self.blocks < 1 or self.latent < 1:
            raise ValueError(f'config.model: blocks={self.blocks} and latent={self.latent} must be 1 or more')
        if self.groups < 1 or any(width < 1 or width % self.groups for width in self.channels):
            raise ValueError(f'config.model.groups={self.groups} must divide all of channels={self.channels}')
        if self.patch > self.space:
            raise ValueError(f'config.model.patch={self.patch}: want at most space={self.space}')
        needed = 1 + max(_halvings(self.space // self.patch), _halvings(self.time))
        if len(self.channels) != needed:
            raise ValueError(
                f'config.model.channels={self.channels}: time={self.time} and space={self.space} with '
                f'patch={self.patch} take {needed} levels'
            )

    @property
    def strides(self) -> tuple[tuple[int, int, int], ...]:
        """By how much frames, rows and columns shrink after each level but the last: space first, time last."""
        count = len(self.channels) - 1
        space, time = _halvings(self.space // self.patch), _halvings(self.time)
        by = lambda shrinks: 2 if shrinks else 1
        return tuple((by(i >= count - time), by(i < space), by(i < space)) for i in range(count))

    def latent_shape(self, shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Of the latents of a clip of shape (T, H, W, C).

        Raises:
          UserError: the clip has not 1 + time n frames, or a side that `space` does not divide.
        """
        frames, height, width, _ = shape
        if (frames - 1) % self.time:
            less = (frames - 1) // self.time * self.time + 1
            raise UserError(
                f'config.data.frames={frames}: a codec of {self.time} frames a latent takes one frame and then groups '
                f'of {self.time}, such as {less} or {less + self.time}'
            )
        if height % self.space or width % self.space:
            raise UserError(
                f'config.data.pixels: frames of {height}x{width} do not divide into latents of '
                f'{self.space}x{self.space} pixels'
            )
        return 1 + (frames - 1) // self.time, height // self.space, width // self.space, self.latent


def _halvings(power_of_two: int) -> int:
    return power_of_two.bit_length() - 1


class Residual(nnx.Module):
    """x + conv(silu(norm(conv(silu(norm(x))))))."""

    def __init__(self, width: int, groups: int, *, rngs: nnx.Rngs):
        self.norm1, self.norm2 = (GroupNorm(width, groups, rngs=rngs) for _ in range(2))
        self.conv1, self.conv2 = (CausalConv(width, width, rngs=rngs) for _ in range(2))

    def __call__(self, x, past: Past):
        y = self.conv1(jax.nn.silu(self.norm1(x)), past)
        return x + self.conv2(jax.nn.silu(self.norm2(y)), past)


class Up(nnx.Module):
    """Each frame, row and column into as many as `stride` says; the first frame of a clip stays one.

    Of the frames that the first would become the last is taken.
    """

    def __init__(self, size_in: int, size_out: int, stride: tuple[int, int, int], *, rngs: nnx.Rngs):
        self.time, self.space, _ = stride
        self.conv = CausalConv(size_in, size_out * self.time * self.space**2, rngs=rngs)

    def __call__(self, x, past: Past):
        x = depth_to_space(self.conv(x, past), self.time, self.space)
        return x[:, self.time - 1 :] if past.begins else x


class Encoder(nnx.Module):
    """Pixels (B, T, H, W, C) -> mean and log variance side by side, (B, T', H', W', 2 latent)."""

    def __init__(self, config: VideoVAEConfig, *, rngs: nnx.Rngs):
        widths, self.patch = config.channels, config.patch
        self.conv_in = CausalConv(config.in_channels * config.patch**2, widths[0], rngs=rngs)
        layers = []
        for level, width in enumerate(widths):
            if level:
                layers.append(CausalConv(widths[level - 1], width, stride=config.strides[level - 1], rngs=rngs))
            layers += [Residual(width, config.groups, rngs=rngs) for _ in range(config.blocks)]
        self.layers = nnx.List(layers)
        self.norm_out = GroupNorm(widths[-1], config.groups, rngs=rngs)
        self.out = Linear(widths[-1], 2 * config.latent, rngs=rngs)

    def __call__(self, x_BTHWC, past: Past):
        x = self.conv_in(space_to_depth(x_BTHWC, self.patch), past)
        for layer in self.layers:
            x = layer(x, past)
        return self.out(jax.nn.silu(self.norm_out(x)))


class Decoder(nnx.Module):
    """Latents (B, T', H', W', latent) -> pixels (B, T, H, W, C)."""

    def __init__(self, config: VideoVAEConfig, *, rngs: nnx.Rngs):
        widths, self.patch = config.channels[::-1], config.patch
        self.conv_in = CausalConv(config.latent, widths[0], rngs=rngs)
        layers = []
        for level, width in enumerate(widths):
            if level:
                layers.append(Up(widths[level - 1], width, config.strides[-level], rngs=rngs))
            layers += [Residual(width, config.groups, rngs=rngs) for _ in range(config.blocks)]
        self.layers = nnx.List(layers)
        self.norm_out = GroupNorm(widths[-1], config.groups, rngs=rngs)
        self.conv_out = CausalConv(widths[-1], config.in_channels * config.patch**2, rngs=rngs)

    def __call__(self, z_BTHWC, past: Past):
        x = self.conv_in(z_BTHWC, past)
        for layer in self.layers:
            x = layer(x, past)
        return depth_to_space(self.conv_out(jax.nn.silu(self.norm_out(x)), past), 1, self.patch)


class VideoVAE(nnx.Module):
    """Causal autoencoder of 1 + time n frames (MAGVIT-v2, Yu et al. 2023, section 3.2; W.A.L.T, Gupta et al. 2023).

    The first frame has a latent frame of its own, every `time` frames after it one more, and nothing looks ahead: an
    image is a clip of one frame, encoded and decoded as the first frame of any clip. Convolutions with stride go down,
    depth to space goes up; norms are of each frame by itself.
    """

    def __init__(self, config: VideoVAEConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)

    def moments(self, x_BTHWC):
        """Mean and log variance of the latents, each (B, T', H', W', latent) float32, of pixels in [-1, 1].

        Raises:
          UserError: not 1 + time n frames, or sides that `space` does not divide.
        """
        self.config.latent_shape(x_BTHWC.shape[1:])
        x = constrain(x_BTHWC.astype(self.config.dtype), BATCH)
        mean, logvar = jnp.split(self.encoder(x, Past()).astype(jnp.float32), 2, -1)
        return mean, jnp.clip(logvar, *LOGVAR)

    def decode(self, z_BTHWC, past: Past | None = None):
        """Pixels, float32 and about [-1, 1], of latents: 1 + time n frames of 1 + n latent ones.

        past: of the latent frames before, where these continue a clip: then time n frames of n.
        """
        z = constrain(z_BTHWC.astype(self.config.dtype), BATCH)
        return self.decoder(z, past or Past()).astype(jnp.float32)
