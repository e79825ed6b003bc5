"""One transformer block with adaLN-zero, and the layouts that arrange blocks over space and time."""

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.nn.attention import Attention
from vdm_jax.nn.linear import Linear, zeros
from vdm_jax.nn.mlp import MLP
from vdm_jax.nn.norm import layer_norm, modulate


class Block(nnx.Module):
    """adaLN-zero block (DiT, Peebles & Xie 2023): attention and MLP, each shifted, scaled and gated by c.

    `attend_over` arranges the tokens: 'space' attends inside each frame, 'time' along each location, 'full' over all.
    """

    def __init__(self, config, attend_over: str, *, rngs: nnx.Rngs):
        size = config.sizes
        self.attend_over = attend_over
        self.attention = Attention(size.width, size.heads, config.qk_norm, rngs=rngs)
        self.mlp = MLP(size.width, int(size.width * config.mlp_ratio), rngs=rngs)
        self.modulation = Linear(size.width, 6 * size.width, zeros, rngs=rngs)

    def __call__(self, x_BTND, c_BFD, angles=None):
        """x (B, T, N, D) and conditioning c (B, 1 or T, D) -> (B, T, N, D)."""
        modulation = self.modulation(jax.nn.silu(c_BFD))[:, :, None]
        shift1, scale1, gate1, shift2, scale2, gate2 = jnp.split(modulation, 6, -1)
        x = x_BTND
        x = x + gate1 * self.mix(modulate(layer_norm(x), shift1, scale1), angles)
        return x + gate2 * self.mlp(modulate(layer_norm(x), shift2, scale2))

    def mix(self, x_BTND, angles):
        """Attention over the block's own axis; batch, frames and tokens stay separate dimensions but for 'full'."""
        if self.attend_over == 'space':
            return self.attention(x_BTND, angles)
        if self.attend_over == 'time':
            return jnp.swapaxes(self.attention(jnp.swapaxes(x_BTND, 1, 2), angles), 1, 2)
        batch, frames, tokens, width = x_BTND.shape
        return self.attention(x_BTND.reshape(batch, frames * tokens, width), angles).reshape(x_BTND.shape)


def add_time(x_BTND, positions, index):
    """x with the fixed time positions added, where there are any, in the first layer alone."""
    if positions.time_TD is None:
        return x_BTND
    return x_BTND + jnp.where(index == 0, positions.time_TD.astype(x_BTND.dtype), 0)[None, :, None]


class Interleaved(nnx.Module):
    """Latte's variant 1 (arXiv 2401.03048): a block over space, then one over time; one layer of the stack is a pair.

    Fixed time positions are added once, right before the first block over time, as the official code does.
    """

    blocks = 2

    def __init__(self, config, *, rngs: nnx.Rngs):
        self.space = Block(config, 'space', rngs=rngs)
        self.time = Block(config, 'time', rngs=rngs)

    def __call__(self, x, c, positions, index):
        x = self.space(x, c, positions.angles['space'])
        x = add_time(x, positions, index)
        return self.time(x, c, positions.angles['time'])


class Full(nnx.Module):
    """Full 3-D attention: every token of the clip attends to every other."""

    blocks = 1

    def __init__(self, config, *, rngs: nnx.Rngs):
        self.block = Block(config, 'full', rngs=rngs)

    def __call__(self, x, c, positions, index):
        x = add_time(x, positions, index)
        return self.block(x, c, positions.angles['full'])


LAYOUTS = {'interleaved': Interleaved, 'full': Full}
