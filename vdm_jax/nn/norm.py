"""Normalisation in float32, and the shift and scale of adaLN."""

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.nn.linear import on_cpu
from vdm_jax.nn.remat import recompute_in_backward


def layer_norm(x: jax.Array, epsilon: float = 1e-6) -> jax.Array:
    """Apply LayerNorm over the last dimension without affine parameters (adaLN brings them); float32 inside."""
    # bfloat16 has too few bits for a mean over D numbers. The variance is not taken by E[x^2] - E[x]^2, whose terms
    # cancel where the mean is large.
    x32 = x.astype(jnp.float32)
    mean = x32.mean(-1, keepdims=True)
    centred = x32 - mean
    variance = jnp.square(centred).mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype)


def modulate(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """Return x (1 + scale) + shift (DiT, Peebles & Xie 2023, section 3.2); shift and scale broadcast against x."""
    return x * (1 + scale) + shift


def adaptive_norm(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
    """Return modulate(layer_norm(x), shift, scale); accelerators recompute it in the backward pass."""

    def normalise(x: jax.Array, shift: jax.Array, scale: jax.Array) -> jax.Array:
        return modulate(layer_norm(x), shift, scale)

    # Keeping what normalisation and GELU compute on the way took four blocks of XL/2 2.40 GB of temporaries instead of
    # 1.47, and a quarter more memory traffic (docs/models.md).
    function = normalise if on_cpu() else recompute_in_backward(normalise)
    return function(x, shift, scale)


class RMSNorm(nnx.Module):
    """Root-mean-square norm over the last dimension with a learned scale (Zhang & Sennrich 2019)."""

    def __init__(self, size: int, *, rngs: nnx.Rngs):
        self.scale = nnx.Param(jnp.ones((size,), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        x32 = x.astype(jnp.float32)
        normed = x32 * jax.lax.rsqrt(jnp.square(x32).mean(-1, keepdims=True) + 1e-6)
        return (normed * jnp.expand_dims(self.scale[...], tuple(range(x.ndim - 1)))).astype(x.dtype)
