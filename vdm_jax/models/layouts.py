"""How blocks are arranged over space and time: LAYOUTS names the layouts. A layout is one small class.

A layout says in `unit` what its blocks attend to, in the order in which they come; the unit is repeated through the
network, so the depth must be a multiple of its length.
"""

import functools

import jax.numpy as jnp
from flax import nnx

from vdm_jax.models.blocks import Block, Context
from vdm_jax.nn import stack
from vdm_jax.nn.arrange import Arrangement, Full, Space, Time, Window
from vdm_jax.parallel.verbs import constrain

# A block's attentions, one after the other; each has the arrangements that share its heads in equal parts.
Attentions = tuple[tuple[Arrangement, ...], ...]


class Layout(nnx.Module):
    """A stack for each block of the unit, and the unit applied again and again.

    Positions in time are added once, before the first block that attends over time. Blocks over time alone do not look
    at a text.
    """

    names = ('block',)  # of the stacks, one for each block of the unit

    @classmethod
    def unit(cls, config) -> list[Attentions]:
        """What each block of the unit attends to; config is a VideoDiTConfig."""
        raise NotImplementedError

    def __init__(self, config, *, rngs: nnx.Rngs):
        self.config = config
        unit = self.unit(config)
        for name, attentions in zip(self.names, unit, strict=True):
            make = functools.partial(Block, config, attentions=len(attentions), text=looks_at_text(attentions))
            blocks = stack.stacked(make, config.sizes.depth // len(unit), rngs)
            setattr(self, name, blocks)

    def __call__(self, x_BTND, context: Context):
        """x (B, T + k, N, D) -> the same."""
        unit = self.unit(self.config)
        timed = next((i for i, attentions in enumerate(unit) if sum(attentions, ()) != (Space(),)), None)

        def call(blocks, x, index):
            for i, (block, attentions) in enumerate(zip(blocks, unit, strict=True)):
                x = add_time(x, context, index == 0) if i == timed else x
                x = through(block, x, context, attentions, self.config.images)
            return constrain(x, *Arrangement.home)  # where the next unit, and the head, take it up

        return stack.apply(self.stacks, x_BTND, call, context.scan, context.remat)

    @property
    def stacks(self) -> tuple[nnx.Module, ...]:
        return tuple(getattr(self, name) for name in self.names)


def through(block: Block, x_BTND, context: Context, attentions: Attentions, images: str):
    """x through a block; where images stand aside and the block is over time alone, through the clip's frames only."""
    grid = context.grid
    if images == 'alone' or not grid.images or not only_over_time(attentions):
        return block(x_BTND, context, *attentions)
    x, first = constrain(x_BTND, *Time.home), slice(0, grid.frames)

    def of_frames(c):
        return c if c is None or c.shape[1] == 1 else c[:, first]

    told = context._replace(
        grid=grid._replace(images=0), c_BFD=of_frames(context.c_BFD), shared=of_frames(context.shared)
    )
    return constrain(jnp.concatenate([block(x[:, first], told, *attentions), x[:, grid.frames :]], 1), *Time.home)


def looks_at_text(attentions: Attentions) -> bool:
    """Whether a block does, where there is text: not those over time alone."""
    return not only_over_time(attentions)


def only_over_time(attentions: Attentions) -> bool:
    """Whether all that a block attends to is over time."""
    return all(isinstance(each, Time) for each in sum(attentions, ()))


def add_time(x_BTND, context: Context, here=True):
    """x with positions in time added, where there are any and `here` (which may be traced) is true."""
    if context.time_TD is None:
        return x_BTND
    return x_BTND + (context.time_TD.astype(x_BTND.dtype) * here)[None, :, None]


class Interleaved(Layout):
    """Latte's variant 1 (Ma et al. 2024, arXiv:2401.03048): a block over space, then one over time, and so on.

    Where positions are added and who looks at a text is as in the official code.
    """

    names = ('space', 'time')

    @classmethod
    def unit(cls, config):
        return [((Space(),),), ((Time(),),)]


class Frames(Layout):
    """Every frame by itself, without positions in time: an image transformer (DiT, Peebles & Xie 2023)."""

    @classmethod
    def unit(cls, config):
        return [((Space(),),)]


class Causal(Interleaved):
    """Interleaved, but no frame sees a later one."""

    @classmethod
    def unit(cls, config):
        return [((Space(),),), ((Time(causal=True),),)]


class LateFusion(Interleaved):
    """Latte's variant 2: all blocks over space, then all blocks over time."""

    def __call__(self, x_BTND, context):
        (space,), (time,) = self.unit(self.config)
        how = context.scan, context.remat
        x = stack.apply(self.space, x_BTND, lambda block, x, _: block(x, context, space), *how)
        x = constrain(add_time(x, context), *Time.home)

        def over_time(block, x, _):
            return through(block, x, context, (time,), self.config.images)

        x = stack.apply(self.time, x, over_time, *how)
        return constrain(x, *Arrangement.home)


class Sequential(Layout):
    """Latte's variant 3: in every block attention over space, then attention over time, then the MLP."""

    @classmethod
    def unit(cls, config):
        return [((Space(),), (Time(),))]


class SplitHeads(Layout):
    """Latte's variant 4: in every block half of the heads attend over space and half over time, and are summed."""

    @classmethod
    def unit(cls, config):
        return [((Space(), Time()),)]


class FullAttention(Layout):
    """Full 3-D attention: every token of the clip attends to every other."""

    @classmethod
    def unit(cls, config):
        return [((Full(),),)]


class FullCausal(Layout):
    """Full attention, but no frame sees a later one (FAR, Gu et al. 2025)."""

    @classmethod
    def unit(cls, config):
        return [((Full(causal=True),),)]


class Windows(Layout):
    """Blocks over windows of config.model.windows in turn, such as 1x16x16 and 5x8x8 (W.A.L.T, Gupta et al. 2023)."""

    @property
    def names(self):
        return tuple(f'window{i}' for i in range(len(self.config.windows)))

    @classmethod
    def unit(cls, config):
        return [((Window(*map(int, window.split('x'))),),) for window in config.windows]


LAYOUTS = {
    'interleaved': Interleaved,
    'late_fusion': LateFusion,
    'sequential': Sequential,
    'split_heads': SplitHeads,
    'full': FullAttention,
    'causal': Causal,
    'full_causal': FullCausal,
    'frames': Frames,
    'windows': Windows,
}
