"""The output head: from tokens back to patches."""

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.nn.linear import Linear, zeros
from vdm_jax.nn.modulation import MODULATIONS
from vdm_jax.nn.norm import adaptive_norm
from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.sharding import constrain

HEAD_CHUNKS = 2  # shift and scale


class Head(nnx.Module):
    """Final adaLN and projection back to patches, zero at the start (DiT; with adaLN-single as PixArt-alpha has it)."""

    def __init__(self, width: int, out: int, modulation: str, lora_rank: int, *, rngs: nnx.Rngs):
        kind = MODULATIONS[MODULATIONS[modulation].head]
        self.modulation = kind(width, HEAD_CHUNKS, lora_rank, rngs=rngs)
        self.out = Linear(width, out, zeros, rngs=rngs)

    def __call__(self, x_BTND: jax.Array, c_BFD: jax.Array) -> jax.Array:
        # PixArt adds its head's table to c itself, once for the shift and once for the scale; adaLN-zero does not look
        # at the second argument.
        modulation = constrain(self.modulation(c_BFD, jnp.concatenate([c_BFD, c_BFD], -1)), BATCH)
        shift, scale = jnp.split(modulation[:, :, None], 2, -1)
        return self.out(adaptive_norm(x_BTND, shift, scale))
