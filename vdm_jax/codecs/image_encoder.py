"""The encoder of the image VAE of latent diffusion: each frame by itself, halved at every level but the last."""

import jax
from flax import nnx

from vdm_jax.codecs.resnet import FrameAttention, Halve, Resnet
from vdm_jax.nn.conv import Conv, GroupNorm
from vdm_jax.nn.sequential import Sequential


class Encoder(nnx.Module):
    """(B, T, H, W, I) -> (B, T, H / f, W / f, 2 latent_channels), f = 2^(levels - 1) (Rombach et al. 2022, G.1).

    config: an ImageVAEConfig.
    """

    def __init__(self, config, *, rngs: nnx.Rngs):
        channels, groups = config.block_out_channels, config.norm_num_groups
        self.conv_in = Conv(config.in_channels, channels[0], (3, 3), rngs=rngs)
        levels, before = [], channels[0]
        for number, after in enumerate(channels):
            sizes = [(before, after)] + [(after, after)] * (config.layers_per_block - 1)
            parts = [Resnet(*each, groups, rngs=rngs) for each in sizes]
            if number < len(channels) - 1:
                parts.append(Halve(after, rngs=rngs))
            levels.append(Sequential(parts))
            before = after
        self.levels = Sequential(levels)
        middle = [Resnet(before, before, groups, rngs=rngs) for _ in range(2)]
        if config.mid_block_add_attention:
            middle.insert(1, FrameAttention(before, groups, rngs=rngs))
        self.middle = Sequential(middle)
        self.norm_out = GroupNorm(before, groups, rngs=rngs)
        self.conv_out = Conv(before, 2 * config.latent_channels, (3, 3), rngs=rngs)

    def __call__(self, x):
        x = self.middle(self.levels(self.conv_in(x)))
        return self.conv_out(jax.nn.silu(self.norm_out(x)))
