"""How blocks are arranged over space and time: LAYOUTS names the layouts. A layout is one small class.

A layout says in `unit` what its blocks attend to, in the order in which they come; the unit is repeated through the
network, so the depth must be a multiple of its length.
"""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.models.blocks import Block, Context
from vdm_jax.nn import stack
from vdm_jax.nn.arrange import Arrangement, Full, Space, Time, Window
from vdm_jax.nn.remat import Index
from vdm_jax.parallel.verbs import constrain

if TYPE_CHECKING:
    from vdm_jax.models.dit import VideoDiTConfig

# A block's attentions, one after the other; each has the arrangements that share its heads in equal parts.
Attentions = tuple[tuple[Arrangement, ...], ...]


class Layout(nnx.Module):
    """A stack for each block of the unit, and the unit applied again and again.

    Positions in time are added once, before the first block that attends over time. Blocks over time alone do not look
    at a text.
    """

    @classmethod
    def unit(cls, config: 'VideoDiTConfig') -> list[Attentions]:
        """Return the attentions of each block of the unit."""
        raise NotImplementedError

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the stacks, one for each block of the unit."""
        return ('block',)

    def __init__(self, config: 'VideoDiTConfig', *, rngs: nnx.Rngs):
        self.config = config
        unit = self.unit(config)
        for name, attentions in zip(self.names, unit, strict=True):
            make = functools.partial(Block, config, attentions=len(attentions), text=looks_at_text(attentions))
            blocks = stack.stacked(make, config.sizes.depth // len(unit), rngs)
            setattr(self, name, blocks)

    def __call__(self, x_BTND: jax.Array, context: Context) -> jax.Array:
        """Run x (B, T + k, N, D) through all blocks."""
        unit = self.unit(self.config)
        timed = next((i for i, attentions in enumerate(unit) if sum(attentions, ()) != (Space(),)), None)

        def call(blocks: tuple[Block, ...], x: jax.Array, index: Index) -> jax.Array:
            for i, (block, attentions) in enumerate(zip(blocks, unit, strict=True)):
                x = add_time(x, context, index == 0) if i == timed else x
                x = through(block, x, context, attentions, self.config.images)
            return constrain(x, *Arrangement.home)  # where the next unit, and the head, take it up

        return stack.apply(self.stacks, x_BTND, call, context.scan, context.remat)

    @property
    def stacks(self) -> tuple[Block, ...]:
        return tuple(getattr(self, name) for name in self.names)


def through(block: Block, x_BTND: jax.Array, context: Context, attentions: Attentions, images: str) -> jax.Array:
    """Run x through a block; where images stand aside and it is over time alone, through the clip's frames only."""
    grid = context.grid
    if images == 'alone' or not grid.images or not only_over_time(attentions):
        return block(x_BTND, context, *attentions)
    x, first = constrain(x_BTND, *Time.home), slice(0, grid.frames)

    def of_frames(c: jax.Array) -> jax.Array:
        return c if c.shape[1] == 1 else c[:, first]

    told = context._replace(
        grid=grid._replace(images=0),
        c_BFD=of_frames(context.c_BFD),
        shared=None if context.shared is None else of_frames(context.shared),
    )
    return constrain(jnp.concatenate([block(x[:, first], told, *attentions), x[:, grid.frames :]], 1), *Time.home)


def looks_at_text(attentions: Attentions) -> bool:
    """Return whether a block does, where there is text: not those over time alone."""
    return not only_over_time(attentions)


def only_over_time(attentions: Attentions) -> bool:
    """Return whether all attentions of a block are over time."""
    return all(isinstance(each, Time) for each in sum(attentions, ()))


def add_time(x_BTND: jax.Array, context: Context, here: bool | jax.Array = True) -> jax.Array:
    """Add positions in time to x, where there are any and `here` (which may be traced) is true."""
    if context.time_TD is None:
        return x_BTND
    return x_BTND + (context.time_TD.astype(x_BTND.dtype) * here)[None, :, None]


class Interleaved(Layout):
    """Latte's variant 1 (Ma et al. 2024, arXiv:2401.03048): a block over space, then one over time, and so on.

    Where positions are added and who looks at a text is as in the official code.
    """

    @property
    def names(self) -> tuple[str, ...]:
        return 'space', 'time'

    @classmethod
    def unit(cls, config: 'VideoDiTConfig') -> list[Attentions]:
        return [((Space(),),), ((Time(),),)]


class Frames(Layout):
    """Every frame by itself, without positions in time: an image transformer (DiT, Peebles & Xie 2023)."""

    @classmethod
    def unit(cls, config: 'VideoDiTConfig') -> list[Attentions]:
        return [((Space(),),)]


class Causal(Interleaved):
    """Interleaved, but no frame sees a later one."""

    @classmethod
    def unit(cls, config: 'VideoDiTConfig') -> list[Attentions]:
        return [((Space(),),), ((Time(causal=True),),)]


class LateFusion(Interleaved):
    """Latte's variant 2: all blocks over space, then all blocks over time."""

    def __call__(self, x_BTND: jax.Array, context: Context) -> jax.Array:
        (space,), (time,) = self.unit(self.config)
        space_blocks, time_blocks = self.stacks

        def over_space(block: Block, x: jax.Array, _: Index) -> jax.Array:
            return block(x, context, space)

        def over_time(block: Block, x: jax.Array, _: Index) -> jax.Array:
            return through(block, x, context, (time,), self.config.images)

        x = stack.apply(space_blocks, x_BTND, over_space, context.scan, context.remat)
        x = constrain(add_time(x, context), *Time.home)
        x = stack.apply(time_blocks, x, over_time, context.scan, context.remat)
        return constrain(x, *Arrangement.home)


class Sequential(Layout):
    """Latte's variant 3: in every block attention over space, then attention over time, then the MLP."""

    @classmethod
    def unit(cls, config: 'VideoDiTConfig') -> list[Attentions]:
        return [((Space(),), (Time(),))]


class SplitHeads(Layout):
    """Latte's variant 4: in every block half of the heads attend over space and half over time, and are summed."""

    @classmethod
    def unit(cls, config: 'VideoDiTConfig') -> list[Attentions]:
        return [((Space(), Time()),)]


class FullAttention(Layout):
    """Full 3-D attention: every token of the clip attends to every other."""

    @classmethod
    def unit(cls, config: 'VideoDiTConfig') -> list[Attentions]:
        return [((Full(),),)]


class FullCausal(Layout):
    """Full attention, but no frame sees a later one (FAR, Gu et al. 2025)."""

    @classmethod
    def unit(cls, config: 'VideoDiTConfig') -> list[Attentions]:
        return [((Full(causal=True),),)]


class Windows(Layout):
    """Blocks over windows of config.model.windows in turn, such as 1x16x16 and 5x8x8 (W.A.L.T, Gupta et al. 2023)."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f'window{i}' for i in range(len(self.config.windows)))

    @classmethod
    def unit(cls, config: 'VideoDiTConfig') -> list[Attentions]:
        return [((Window(*map(int, window.split('x'))),),) for window in config.windows]


LAYOUTS: dict[str, type[Layout]] = {
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
