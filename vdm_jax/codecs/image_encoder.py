"""The encoder of the image VAE of latent diffusion: each frame by itself, halved at every level but the last."""

from typing import TYPE_CHECKING

import jax
from flax import nnx

from vdm_jax.codecs.resnet import Downsample, FrameAttention, ResnetBlock
from vdm_jax.nn.conv import Conv, GroupNorm
from vdm_jax.nn.sequential import Sequential

if TYPE_CHECKING:
    from vdm_jax.codecs.image_vae import ImageVAEConfig


class Encoder(nnx.Module):
    """(B, T, H, W, I) -> (B, T, H / f, W / f, 2 latent_channels), f = 2^(levels - 1) (Rombach et al. 2022, G.1)."""

    def __init__(self, config: 'ImageVAEConfig', *, rngs: nnx.Rngs):
        groups = config.norm_num_groups
        channels = config.block_out_channels

        width = channels[0]
        self.conv_in = Conv(config.in_channels, width, (3, 3), rngs=rngs)

        levels = []
        for level, width_out in enumerate(channels):
            layers: list[nnx.Module] = []
            for _ in range(config.layers_per_block):
                layers.append(ResnetBlock(width, width_out, groups, rngs=rngs))
                width = width_out
            if level < len(channels) - 1:
                layers.append(Downsample(width, rngs=rngs))
            levels.append(Sequential(layers))
        self.levels = Sequential(levels)

        middle: list[nnx.Module] = [ResnetBlock(width, width, groups, rngs=rngs) for _ in range(2)]
        if config.mid_block_add_attention:
            middle.insert(1, FrameAttention(width, groups, rngs=rngs))
        self.middle = Sequential(middle)

        self.norm_out = GroupNorm(width, groups, rngs=rngs)
        self.conv_out = Conv(width, 2 * config.latent_channels, (3, 3), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.middle(self.levels(self.conv_in(x)))
        return self.conv_out(jax.nn.silu(self.norm_out(x)))
