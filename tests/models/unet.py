"""A 3-D U-Net (Ho et al. 2022, Video Diffusion Models, without its attention): the house's rules for a new backbone."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.config.ranges import Classes, NotEmpty, Side
from vdm_jax.errors import UserError
from vdm_jax.nn.config import NetworkConfig
from vdm_jax.nn.conv import Conv, GroupNorm
from vdm_jax.nn.embed import LabelEmbedding, TimeEmbedding
from vdm_jax.nn.flop_count import count_flops
from vdm_jax.nn.linear import Linear


@dataclass(frozen=True)
class UNetConfig(NetworkConfig):
    """What U-Net to build.

    Attributes:
      widths: Channels of each level; from one to the next rows and columns shrink to halves.
      groups: Of every norm.
      channels: Of the clips, filled in from codec and source.
      classes: Of labels; where it is None, as many as the source has.
      dtype: Of the computation; parameters are float32.
    """

    widths: Annotated[tuple[Side, ...], NotEmpty()] = (8, 16)
    groups: Side = 4
    channels: Side | None = None
    classes: Classes | None = None
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    def build(self, rngs):
        return UNet(self, rngs=rngs)

    def fit_to(self, shape, classes):
        _, height, width, channels = shape
        factor = 2 ** (len(self.widths) - 1)
        if height % factor or width % factor:
            raise UserError(f'config.model.widths: {factor} does not divide frames of {height}x{width}')
        return replace(self, channels=channels, classes=classes)

    def flops(self, shape, images=0, per_frame=False, text_tokens=0):
        graphdef, params = nnx.split(nnx.eval_shape(lambda: self.build(nnx.Rngs(0))))
        x = jax.ShapeDtypeStruct((1, *shape, self.channels), jnp.float32)
        t = jax.ShapeDtypeStruct((1,), jnp.float32)
        return count_flops(lambda params, x, t: nnx.merge(graphdef, params)(x, t), params, x, t)


class ResBlock(nnx.Module):
    """x + conv(silu(norm(conv(silu(norm(x))) + c))), x through a 1x1 convolution where the channels change."""

    def __init__(self, size_in, size_out, config, *, rngs):
        self.norm1 = GroupNorm(size_in, config.groups, rngs=rngs)
        self.conv1 = Conv(size_in, size_out, (3, 3, 3), rngs=rngs)
        self.condition = Linear(config.widths[-1], size_out, rngs=rngs)
        self.norm2 = GroupNorm(size_out, config.groups, rngs=rngs)
        self.conv2 = Conv(size_out, size_out, (3, 3, 3), rngs=rngs)
        self.shortcut = Conv(size_in, size_out, (1, 1, 1), rngs=rngs)

    def __call__(self, x, c):
        y = self.conv1(jax.nn.silu(self.norm1(x))) + self.condition(c)[:, None, None, None]
        return self.shortcut(x) + self.conv2(jax.nn.silu(self.norm2(y)))


class UNet(nnx.Module):
    """Down the levels and up again, each level beside what it was on the way down; one time for each video."""

    def __init__(self, config, *, rngs):
        self.config = config
        self.time_embed = TimeEmbedding(config.widths[-1], rngs=rngs)
        self.label_embed = LabelEmbedding(config.classes, config.widths[-1], rngs=rngs) if config.classes else None
        self.conv_in = Conv(config.channels, config.widths[0], (3, 3, 3), rngs=rngs)
        down = zip((config.widths[0], *config.widths), config.widths, strict=False)
        up = zip(config.widths, (config.widths[0], *config.widths), strict=False)
        self.down = nnx.List([ResBlock(narrow, wide, config, rngs=rngs) for narrow, wide in down])
        self.up = nnx.List([ResBlock(2 * wide, narrow, config, rngs=rngs) for wide, narrow in up])
        self.conv_out = Conv(config.widths[0], config.channels, (3, 3, 3), rngs=rngs)

    def __call__(self, x_BTHWC, t_B, conditions=None, images=0):
        c = self.time_embed(t_B, self.config.dtype)
        conditions = conditions or {}
        if self.label_embed is not None and 'label' in conditions:
            c = c + self.label_embed(conditions['label'], self.config.dtype)

        x = self.conv_in(x_BTHWC.astype(self.config.dtype))
        skipped = []
        for number, block in enumerate(self.down):
            x = x if number == 0 else nnx.avg_pool(x, (1, 2, 2), (1, 2, 2))
            x = block(x, c)
            skipped.append(x)

        for number, block in reversed(list(enumerate(self.up))):
            x = block(jnp.concatenate([x, skipped[number]], -1), c)
            x = x if number == 0 else jnp.repeat(jnp.repeat(x, 2, 2), 2, 3)
        return self.conv_out(x).astype(jnp.float32)
