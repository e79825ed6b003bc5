"""Multi-head attention over a clip's tokens, with one or several patterns, and over a text."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vdm_jax.nn.attention_backends import AttentionConfig, attend, plain
from vdm_jax.nn.attention_patterns import AttentionPattern, Grid, token_axes_of
from vdm_jax.nn.linear import Linear, xavier, zeros
from vdm_jax.nn.norm import RMSNorm
from vdm_jax.nn.position import Rotary
from vdm_jax.parallel.sharding import constrain


def rotate(x: jax.Array, angles: np.ndarray) -> jax.Array:
    """Turn pairs (first half, second half) of the last dimension of x (..., L, E) by angles (L, E / 2)."""

    def broadcast(table: np.ndarray) -> jax.Array:
        return jnp.expand_dims(table, tuple(range(x.ndim - 2))).astype(x.dtype)

    # By numpy: angles depend on the clip's shape alone, so the tables are constants of the program. Only they are
    # rounded to x's dtype: above 128 radians bfloat16 has no fractions left.
    cos = broadcast(np.cos(angles))
    sin = broadcast(np.sin(angles))

    first, second = jnp.split(x, 2, -1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


class Attention(nnx.Module):
    """Self-attention with a fused qkv projection, optional qk-norm (RMS, per head) and rotary positions.

    Several patterns share the heads in equal parts, the first ones to the first; their outputs, each through its
    own rows of the output projection, are summed. The columns of qkv go by head, then q, k, v, so that a mesh splits
    them between heads.

    Call: x (B, T, N, D) -> (B, T, N, D).
    """

    def __init__(self, width: int, heads: int, qk_norm: bool, *, rngs: nnx.Rngs):
        self.heads = heads
        self.qkv = Linear(width, 3 * width, rngs=rngs)
        self.out = Linear(width, width, rngs=rngs)
        self.q_norm = RMSNorm(width // heads, rngs=rngs) if qk_norm else None
        self.k_norm = RMSNorm(width // heads, rngs=rngs) if qk_norm else None

    def __call__(
        self,
        x: jax.Array,
        patterns: tuple[AttentionPattern, ...],
        grid: Grid,
        rotary: Rotary | None = None,
        config: AttentionConfig = AttentionConfig(),  # noqa: B008, frozen
    ) -> jax.Array:
        *lead, width = x.shape
        axes = *token_axes_of(patterns), 'tensor'
        # The tensor axis splits whole heads: q, k and v of a head are neighbouring columns of the projection.
        qkv = constrain(self.qkv(x).reshape(*lead, self.heads, 3, width // self.heads), *axes)
        q, k, v = (qkv[..., i, :] for i in range(3))  # each (B, T, N, K, E)

        if self.q_norm is not None and self.k_norm is not None:
            q = self.q_norm(q)
            k = self.k_norm(k)

        # Concatenated again in their order, so that the one output projection sums the groups, each by its own rows.
        share = self.heads // len(patterns)
        outputs = []
        for i, pattern in enumerate(patterns):
            heads = slice(i * share, (i + 1) * share)
            group = q[..., heads, :], k[..., heads, :], v[..., heads, :]
            outputs.append(attend_by_pattern(*group, pattern, grid, rotary, config))
        y = outputs[0] if len(outputs) == 1 else jnp.concatenate(outputs, -2)
        return self.out(constrain(y, *axes).reshape(*lead, width))


def attend_by_pattern(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    pattern: AttentionPattern,
    grid: Grid,
    rotary: Rotary | None,
    config: AttentionConfig,
) -> jax.Array:
    """Let tokens (B, T, N, K, E) attend to each other as the pattern says: -> the same shape."""
    axes = pattern.axes_for(config)
    q, k, v = (constrain(pattern.split(y, grid), *axes) for y in (q, k, v))
    # After the split, as a pattern's positions may be frames, patches, or patches within a window.
    if rotary is not None:
        angles = pattern.angles(grid, rotary)
        q = rotate(q, angles)
        k = rotate(k, angles)

    y = attend(q, k, v, pattern.mask(grid), axes, config.backend_for(pattern.kind), config)
    return pattern.join(constrain(y, *axes), grid)


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

    def __call__(self, x_BTND: jax.Array, y_BSD: jax.Array, mask_BS: jax.Array) -> jax.Array:
        *lead, width = x_BTND.shape
        batch, length, _ = y_BSD.shape
        q = self.q(x_BTND).reshape(*lead, self.heads, -1)
        # The 1 broadcasts over T: every frame looks at the same text.
        kv = self.kv(y_BSD).reshape(batch, 1, length, self.heads, 2, width // self.heads)
        k = kv[..., 0, :]
        v = kv[..., 1, :]
        if self.q_norm is not None and self.k_norm is not None:
            q = self.q_norm(q)
            k = self.k_norm(k)

        q, k, v = (jnp.swapaxes(y, -2, -3) for y in (q, k, v))
        # Always the plain backend: texts differ in length from video to video, and kernels take only masks that are the
        # same for all sequences.
        mixed = plain(q, k, v, mask_BS[:, None, None, None, :])
        return self.out(jnp.swapaxes(mixed, -2, -3).reshape(*lead, width))
