"""The decoder of the image VAE of latent diffusion, and that of Stable Video Diffusion, which mixes frames."""

import jax
from flax import nnx

from vdm_jax.codecs.resnet import Double, FrameAttention, MixedResnet, Resnet
from vdm_jax.nn.conv import Conv, GroupNorm
from vdm_jax.nn.sequential import Sequential


class Decoder(nnx.Module):
    """(B, T, h, w, latent_channels) -> (B, T, h f, w f, O), f = 2^(levels - 1); config: an ImageVAEConfig.

    With config.temporal every block is followed by one over three frames, and so is the last convolution; else each
    frame is decoded by itself.
    """

    def __init__(self, config, *, rngs: nnx.Rngs):
        channels, groups = config.block_out_channels[::-1], config.norm_num_groups
        block = MixedResnet if config.temporal else Resnet
        before = channels[0]
        self.conv_in = Conv(config.latent_channels, before, (3, 3), rngs=rngs)
        # The temporal one has as many blocks in the middle as layers, but runs no more than two, attention between
        # them (diffusers' MidBlockTemporalDecoder): those of Stable Video Diffusion, which has two.
        count = min(config.layers_per_block, 2) if config.temporal else 2
        middle = [block(before, before, groups, rngs=rngs) for _ in range(count)]
        if count == 2 and config.mid_block_add_attention:
            middle.insert(1, FrameAttention(before, groups, rngs=rngs))
        self.middle = Sequential(middle)
        levels = []
        for number, after in enumerate(channels):
            sizes = [(before, after)] + [(after, after)] * config.layers_per_block
            parts = [block(*each, groups, rngs=rngs) for each in sizes]
            if number < len(channels) - 1:
                parts.append(Double(after, rngs=rngs))
            levels.append(Sequential(parts))
            before = after
        self.levels = Sequential(levels)
        self.norm_out = GroupNorm(before, groups, rngs=rngs)
        self.conv_out = Conv(before, config.out_channels, (3, 3), rngs=rngs)
        size = config.out_channels
        self.time_out = Conv(size, size, (3, 1, 1), rngs=rngs) if config.temporal else None

    def __call__(self, z):
        x = self.levels(self.middle(self.conv_in(z)))
        x = self.conv_out(jax.nn.silu(self.norm_out(x)))
        return x if self.time_out is None else self.time_out(x)
