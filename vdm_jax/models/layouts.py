"""How blocks are arranged over space and time: LAYOUTS names the layouts. A layout is one small class.

A layout says in `block_specs` what its blocks attend to, in the order in which they come. These few blocks are repeated
through the network, so the depth must be a multiple of their number.
"""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.models.block_spec import BlockSpec
from vdm_jax.models.blocks import Block, BlockInputs
from vdm_jax.nn import stack
from vdm_jax.nn.attention_patterns import AttentionPattern, Full, Space, Time, Window
from vdm_jax.nn.remat import Index
from vdm_jax.parallel.sharding import constrain

if TYPE_CHECKING:
    from vdm_jax.models.dit import VideoDiTConfig


class Layout(nnx.Module):
    """Base of all layouts: a stack of layers for each of the blocks that are repeated, applied in turn.

    Positions in time are added once, before the first block that needs them. Blocks over time alone have no
    cross-attention.
    """

    @classmethod
    def block_specs(cls, config: 'VideoDiTConfig') -> tuple[BlockSpec, ...]:
        """Return what the blocks that are repeated attend to."""
        raise NotImplementedError

    @property
    def stack_names(self) -> tuple[str, ...]:
        """Names of the stacks, one for each of the blocks that are repeated."""
        return ('block',)

    def __init__(self, config: 'VideoDiTConfig', *, rngs: nnx.Rngs):
        self.config = config
        specs = self.block_specs(config)
        for name, spec in zip(self.stack_names, specs, strict=True):
            make = functools.partial(Block, config, spec)
            setattr(self, name, stack.stack_layers(make, config.sizes.depth // len(specs), rngs))

    def __call__(self, x_BTND: jax.Array, inputs: BlockInputs) -> jax.Array:
        """Run x (B, T + k, N, D) through all blocks."""
        needing_time = [i for i, blocks in enumerate(self.stacks) if blocks.spec.needs_time_positions]
        first_with_time = min(needing_time, default=None)

        # One layer of the stack is a whole round of blocks, such as space and time, so that a scan over layers keeps
        # the network's order, and is compiled for one round whatever the depth.
        def call(blocks: tuple[Block, ...], x: jax.Array, index: Index) -> jax.Array:
            for i, block in enumerate(blocks):
                if i == first_with_time:
                    x = add_time(x, inputs, index == 0)
                x = run_block(block, x, inputs, self.config.images)

            # Where the next round of blocks, and the head, take x up.
            return constrain(x, *AttentionPattern.token_axes)

        return stack.apply(self.stacks, x_BTND, call, inputs.scan, inputs.remat, self.config.sharding_rules)

    @property
    def stacks(self) -> tuple[Block, ...]:
        return tuple(getattr(self, name) for name in self.stack_names)


def run_block(block: Block, x_BTND: jax.Array, inputs: BlockInputs, images: str) -> jax.Array:
    """Run x through a block; where images stand aside and it is over time alone, through the clip's frames only."""
    grid = inputs.grid
    if images == 'alone' or not grid.images or not block.spec.is_over_time_only:
        return block(x_BTND, inputs)

    def frames_of(c: jax.Array) -> jax.Array:
        return c if c.shape[1] == 1 else c[:, : grid.frames]

    inputs = inputs._replace(
        grid=grid._replace(images=0),
        c_BFD=frames_of(inputs.c_BFD),
        shared=None if inputs.shared is None else frames_of(inputs.shared),
    )
    # To the axes of blocks over time first, which leave frames whole: cutting the images off a dimension that is split
    # over devices would gather it.
    x = constrain(x_BTND, *Time.token_axes)
    y = block(x[:, : grid.frames], inputs)
    return constrain(jnp.concatenate([y, x[:, grid.frames :]], 1), *Time.token_axes)


def add_time(x_BTND: jax.Array, inputs: BlockInputs, enabled: bool | jax.Array = True) -> jax.Array:
    """Add positions in time to x, where there are any and `enabled` (which may be traced) is true."""
    if inputs.time_TD is None:
        return x_BTND
    # By a product and no branch, as the number of a layer is traced in a scan.
    return x_BTND + (inputs.time_TD.astype(x_BTND.dtype) * enabled)[None, :, None]


class Interleaved(Layout):
    """Latte's variant 1 (Ma et al. 2024, arXiv:2401.03048): a block over space, then one over time, and so on.

    Where positions are added and who looks at a text is as in the official code.
    """

    @property
    def stack_names(self) -> tuple[str, ...]:
        return 'space', 'time'

    @classmethod
    def block_specs(cls, config: 'VideoDiTConfig') -> tuple[BlockSpec, ...]:
        return BlockSpec.in_turn(Space()), BlockSpec.in_turn(Time())


class Frames(Layout):
    """Every frame by itself, without positions in time: an image transformer (DiT, Peebles & Xie 2023)."""

    @classmethod
    def block_specs(cls, config: 'VideoDiTConfig') -> tuple[BlockSpec, ...]:
        return (BlockSpec.in_turn(Space()),)


class Causal(Interleaved):
    """Interleaved, but no frame sees a later one."""

    @classmethod
    def block_specs(cls, config: 'VideoDiTConfig') -> tuple[BlockSpec, ...]:
        return BlockSpec.in_turn(Space()), BlockSpec.in_turn(Time(causal=True))


class LateFusion(Interleaved):
    """Latte's variant 2: all blocks over space, then all blocks over time."""

    def __call__(self, x_BTND: jax.Array, inputs: BlockInputs) -> jax.Array:
        space_blocks, time_blocks = self.stacks

        def run(block: Block, x: jax.Array, _: Index) -> jax.Array:
            return run_block(block, x, inputs, self.config.images)

        x = stack.apply(space_blocks, x_BTND, run, inputs.scan, inputs.remat, self.config.sharding_rules)
        # All blocks over space are one stack and those over time another, so x moves between their axes once.
        x = constrain(add_time(x, inputs), *Time.token_axes)
        x = stack.apply(time_blocks, x, run, inputs.scan, inputs.remat, self.config.sharding_rules)
        return constrain(x, *AttentionPattern.token_axes)


class Sequential(Layout):
    """Latte's variant 3: in every block attention over space, then attention over time, then the MLP."""

    @classmethod
    def block_specs(cls, config: 'VideoDiTConfig') -> tuple[BlockSpec, ...]:
        return (BlockSpec.in_turn(Space(), Time()),)


class SplitHeads(Layout):
    """Latte's variant 4: in every block half of the heads attend over space and half over time, and are summed."""

    @classmethod
    def block_specs(cls, config: 'VideoDiTConfig') -> tuple[BlockSpec, ...]:
        return (BlockSpec.sharing_heads(Space(), Time()),)


class FullAttention(Layout):
    """Full 3-D attention: every token of the clip attends to every other."""

    @classmethod
    def block_specs(cls, config: 'VideoDiTConfig') -> tuple[BlockSpec, ...]:
        return (BlockSpec.in_turn(Full()),)


class FullCausal(Layout):
    """Full attention, but no frame sees a later one (FAR, Gu et al. 2025)."""

    @classmethod
    def block_specs(cls, config: 'VideoDiTConfig') -> tuple[BlockSpec, ...]:
        return (BlockSpec.in_turn(Full(causal=True)),)


class Windows(Layout):
    """Blocks over windows of config.model.windows in turn, such as 1x16x16 and 5x8x8 (W.A.L.T, Gupta et al. 2023)."""

    @property
    def stack_names(self) -> tuple[str, ...]:
        return tuple(f'window{i}' for i in range(len(self.config.windows)))

    @classmethod
    def block_specs(cls, config: 'VideoDiTConfig') -> tuple[BlockSpec, ...]:
        return tuple(BlockSpec.in_turn(Window(*map(int, window.split('x')))) for window in config.windows)


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
