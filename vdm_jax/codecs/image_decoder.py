"""The decoder of the image VAE of latent diffusion, and that of Stable Video Diffusion, which mixes frames."""

from typing import TYPE_CHECKING

import jax
from flax import nnx

from vdm_jax.codecs.resnet import FrameAttention, ResnetBlock, SpaceTimeResnetBlock, Upsample
from vdm_jax.nn.conv import Conv, GroupNorm
from vdm_jax.nn.sequential import Sequential

if TYPE_CHECKING:
    from vdm_jax.codecs.image_vae import ImageVAEConfig


class Decoder(nnx.Module):
    """(B, T, h, w, latent_channels) -> (B, T, h f, w f, O), f = 2^(levels - 1).

    With config.temporal every block is followed by one over three frames, and so is the last convolution; else each
    frame is decoded by itself.
    """

    def __init__(self, config: 'ImageVAEConfig', *, rngs: nnx.Rngs):
        groups = config.norm_num_groups
        channels = config.block_out_channels[::-1]
        make_block: type[ResnetBlock | SpaceTimeResnetBlock] = SpaceTimeResnetBlock if config.temporal else ResnetBlock

        width = channels[0]
        self.conv_in = Conv(config.latent_channels, width, (3, 3), rngs=rngs)

        # The temporal one has as many blocks in the middle as layers, but runs no more than two, with attention between
        # them (diffusers' MidBlockTemporalDecoder): these are those of Stable Video Diffusion, which has two.
        block_count = min(config.layers_per_block, 2) if config.temporal else 2
        middle: list[nnx.Module] = [make_block(width, width, groups, rngs=rngs) for _ in range(block_count)]
        if block_count == 2 and config.mid_block_add_attention:
            middle.insert(1, FrameAttention(width, groups, rngs=rngs))
        self.middle = Sequential(middle)

        levels = []
        for level, width_out in enumerate(channels):
            layers: list[nnx.Module] = []
            for _ in range(config.layers_per_block + 1):
                layers.append(make_block(width, width_out, groups, rngs=rngs))
                width = width_out
            if level < len(channels) - 1:
                layers.append(Upsample(width, rngs=rngs))
            levels.append(Sequential(layers))
        self.levels = Sequential(levels)

        size = config.out_channels
        self.norm_out = GroupNorm(width, groups, rngs=rngs)
        self.conv_out = Conv(width, size, (3, 3), rngs=rngs)
        self.time_out = Conv(size, size, (3, 1, 1), rngs=rngs) if config.temporal else None

    def __call__(self, z: jax.Array) -> jax.Array:
        x = self.levels(self.middle(self.conv_in(z)))
        x = self.conv_out(jax.nn.silu(self.norm_out(x)))
        return x if self.time_out is None else self.time_out(x)
