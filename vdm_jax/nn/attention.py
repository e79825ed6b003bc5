"""Multi-head attention over a clip's tokens, in one or several arrangements, and over a text."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vdm_jax.nn.arrange import Arrangement, Grid
from vdm_jax.nn.linear import Linear, xavier, zeros
from vdm_jax.nn.norm import RMSNorm
from vdm_jax.nn.position import Rotary

UNSEEN = -1e30  # a score that leaves nothing after the softmax, and no nan where a row sees nobody


def attend(q, k, v, mask=None):
    """Softmax attention (Vaswani et al. 2017): q (..., K, L, E), k, v (..., K, S, E) -> (..., K, L, E).

    mask: bool, broadcast from the right against (..., K, L, S), True where L may look at S. Softmax is in float32.
    """
    scores = jnp.matmul(q * q.shape[-1] ** -0.5, jnp.swapaxes(k, -1, -2), preferred_element_type=jnp.float32)
    if mask is not None:
        scores = jnp.where(jnp.expand_dims(mask, range(scores.ndim - mask.ndim)), scores, UNSEEN)
    return jnp.matmul(jax.nn.softmax(scores, axis=-1).astype(v.dtype), v)


def rotate(x, angles):
    """Turn pairs (first half, second half) of the last dimension of x (..., L, E) by angles (L, E / 2)."""
    cos, sin = (jnp.expand_dims(f(angles), tuple(range(x.ndim - 2))).astype(x.dtype) for f in (np.cos, np.sin))
    first, second = jnp.split(x, 2, -1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


class Attention(nnx.Module):
    """Self-attention with a fused qkv projection, optional qk-norm (RMS, per head) and rotary positions.

    Several arrangements share the heads in equal parts, the first ones to the first; their outputs, each through its
    own rows of the output projection, are summed.

    Call: x (B, T, N, D) -> (B, T, N, D).
    """

    def __init__(self, width: int, heads: int, qk_norm: bool, *, rngs: nnx.Rngs):
        self.heads = heads
        self.qkv = Linear(width, 3 * width, rngs=rngs)
        self.out = Linear(width, width, rngs=rngs)
        self.q_norm = RMSNorm(width // heads, rngs=rngs) if qk_norm else None
        self.k_norm = RMSNorm(width // heads, rngs=rngs) if qk_norm else None

    def __call__(self, x, arrangements: tuple[Arrangement, ...], grid: Grid, rotary: Rotary | None = None):
        *lead, width = x.shape
        qkv = self.qkv(x).reshape(*lead, 3, self.heads, width // self.heads)
        q, k, v = (qkv[..., i, :, :] for i in range(3))  # each (B, T, N, K, E)
        if self.q_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        share, mixed = self.heads // len(arrangements), []
        for i, arrangement in enumerate(arrangements):
            mine = [y[..., i * share : (i + 1) * share, :] for y in (q, k, v)]
            q_i, k_i, v_i = (arrangement.split(y, grid) for y in mine)
            if rotary is not None:
                angles = arrangement.angles(grid, rotary)
                q_i, k_i = rotate(q_i, angles), rotate(k_i, angles)
            mixed.append(arrangement.join(attend(q_i, k_i, v_i, arrangement.mask(grid)), grid))
        mixed = mixed[0] if len(mixed) == 1 else jnp.concatenate(mixed, -2)
        return self.out(mixed.reshape(*lead, width))


class CrossAttention(nnx.Module):
    """Every token of x looks at a sequence of S vectors; its output is zero at the start (PixArt, Chen et al. 2023).

    Call: x (B, T, N, D), y (B, S, D), mask (B, S) bool, True where y holds something -> (B, T, N, D).
    """

    def __init__(self, width: int, heads: int, qk_norm: bool, *, rngs: nnx.Rngs):
        self.heads = heads
        self.q = Linear(width, width, xavier, rngs=rngs)
        self.kv = Linear(width, 2 * width, rngs=rngs)
        self.out = Linear(width, width, zeros, rngs=rngs)
        self.q_norm = RMSNorm(width // heads, rngs=rngs) if qk_norm else None
        self.k_norm = RMSNorm(width // heads, rngs=rngs) if qk_norm else None

    def __call__(self, x_BTND, y_BSD, mask_BS):
        *lead, width = x_BTND.shape
        batch, length, _ = y_BSD.shape
        q = self.q(x_BTND).reshape(*lead, self.heads, -1)
        kv = self.kv(y_BSD).reshape(batch, 1, length, 2, self.heads, -1)  # 1: the same for every frame
        k, v = kv[..., 0, :, :], kv[..., 1, :, :]
        if self.q_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (jnp.swapaxes(y, -2, -3) for y in (q, k, v))
        mixed = attend(q, k, v, mask_BS[:, None, None, None, :])
        return self.out(jnp.swapaxes(mixed, -2, -3).reshape(*lead, width))
