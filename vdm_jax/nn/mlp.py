"""The feed-forward half of a block."""

import functools

import jax
from flax import nnx

from vdm_jax.nn.linear import Linear, on_cpu
from vdm_jax.nn.remat import recompute_in_backward


def gelu(x: jax.Array) -> jax.Array:
    """Apply the tanh-approximated GELU.

    Accelerators keep x alone for the backward pass, of all that is in between. On CPU it is fenced off: fused into its
    consumers XLA recomputes the tanh in the backward pass several times.
    """
    if not on_cpu():
        return recompute_in_backward(functools.partial(jax.nn.gelu, approximate=True))(x)
    fenced: jax.Array = jax.lax.optimization_barrier(jax.nn.gelu(jax.lax.optimization_barrier(x), approximate=True))
    return fenced


class MLP(nnx.Module):
    """Linear, GELU, Linear: (..., D) -> (..., D) through F hidden units."""

    def __init__(self, width: int, hidden: int, *, rngs: nnx.Rngs):
        self.up = Linear(width, hidden, rngs=rngs)
        self.down = Linear(hidden, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.down(gelu(self.up(x)))
