"""The last layer of a network: from tokens back to patches."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.nn.linear import Linear, zeros
from vdm_jax.nn.modulation import MODULATIONS
from vdm_jax.nn.norm import adaptive_norm
from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.sharding import constrain

if TYPE_CHECKING:
    from vdm_jax.models.dit import VideoDiTConfig


class Head(nnx.Module):
    """Final adaLN and projection back to patches, zero at the start (DiT; with adaLN-single as PixArt-alpha has it)."""

    def __init__(self, config: 'VideoDiTConfig', out: int, *, rngs: nnx.Rngs):
        width = config.sizes.width
        # Of the kinds of adaLN only adaLN-single changes the head; with the low-rank one it stays DiT's.
        kind = 'adaln_single' if config.modulation == 'adaln_single' else 'adaln_zero'
        self.modulation = MODULATIONS[kind](width, 2, config.lora_rank, rngs=rngs)
        self.out = Linear(width, out, zeros, rngs=rngs)

    def __call__(self, x_BTND: jax.Array, c_BFD: jax.Array) -> jax.Array:
        # PixArt adds its head's table to c itself, once for the shift and once for the scale; adaLN-zero does not look
        # at the second argument.
        modulation = constrain(self.modulation(c_BFD, jnp.concatenate([c_BFD, c_BFD], -1)), BATCH)
        shift, scale = jnp.split(modulation[:, :, None], 2, -1)
        return self.out(adaptive_norm(x_BTND, shift, scale))
