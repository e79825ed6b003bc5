"""Multi-head attention over one axis of tokens; whatever dimensions stand before that axis stay apart."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vdm_jax.nn.linear import Linear
from vdm_jax.nn.norm import RMSNorm


def attend(q, k, v):
    """Softmax attention (Vaswani et al. 2017): q, k, v (..., K, L, E) -> (..., K, L, E); softmax in float32."""
    scores = jnp.matmul(q * q.shape[-1] ** -0.5, jnp.swapaxes(k, -1, -2), preferred_element_type=jnp.float32)
    return jnp.matmul(jax.nn.softmax(scores, axis=-1).astype(v.dtype), v)


def rotate(x, angles):
    """Turn pairs (first half, second half) of the last dimension of x (..., L, E) by angles (L, E / 2)."""
    cos, sin = (jnp.expand_dims(f(angles), tuple(range(x.ndim - 2))).astype(x.dtype) for f in (np.cos, np.sin))
    first, second = jnp.split(x, 2, -1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


class Attention(nnx.Module):
    """Self-attention with a fused qkv projection, optional qk-norm (RMS, per head) and rotary angles.

    Call: x (..., L, D), angles (L, E / 2) or None -> (..., L, D).
    """

    def __init__(self, width: int, heads: int, qk_norm: bool, *, rngs: nnx.Rngs):
        self.heads = heads
        self.qkv = Linear(width, 3 * width, rngs=rngs)
        self.out = Linear(width, width, rngs=rngs)
        self.q_norm = RMSNorm(width // heads, rngs=rngs) if qk_norm else None
        self.k_norm = RMSNorm(width // heads, rngs=rngs) if qk_norm else None

    def __call__(self, x, angles=None):
        *lead, length, width = x.shape
        qkv = self.qkv(x).reshape(*lead, length, 3, self.heads, width // self.heads)
        q, k, v = (jnp.swapaxes(qkv[..., i, :, :], -2, -3) for i in range(3))  # each (..., K, L, E)
        if self.q_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        return self.out(jnp.swapaxes(attend(q, k, v), -2, -3).reshape(*lead, length, width))
