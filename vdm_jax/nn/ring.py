"""Attention over a sequence that lies in parts on several devices: keys and values go round, queries stay."""

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.parallel.sharding import Axes, axis_size, shard_local

RING = 'sequence'  # the mesh axis that goes round
UNSEEN = -1e30  # a score that leaves nothing after the softmax, and no nan where a row sees nobody

Seen = tuple[jax.Array, jax.Array, jax.Array]  # output, sum and maximum of the softmax so far
Carry = tuple[jax.Array, jax.Array, Seen]  # the keys and values that are here, and what was seen


def ring(q: jax.Array, k: jax.Array, v: jax.Array, mask: np.ndarray | jax.Array | None, axes: Axes) -> jax.Array:
    """Compute ring attention (Liu et al. 2023, arXiv:2310.01889): the plain one, with no device seeing all keys.

    Args:
      q: (..., K, L, E), L split over the ring.
      k: like q.
      v: like q.
      mask: bool (L, L), True where row may look at column, every row at itself; or None.
      axes: mesh axes of q, up to L.

    The softmax is made block by block in float32 (Milakov & Gimelshein 2018); the backward pass recomputes the scores.
    """
    devices = axis_size(RING)
    # After i turns device d holds the part of d + i.
    forth = [(i, (i - 1) % devices) for i in range(devices)]

    def on_one(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        index = jax.lax.axis_index(RING)
        length = q.shape[-2]
        q = q * q.shape[-1] ** -0.5

        @jax.checkpoint
        def see(carry: Seen, k: jax.Array, v: jax.Array, part: int | jax.Array) -> Seen:
            out, norm, top = carry
            scores = jnp.matmul(q, jnp.swapaxes(k, -1, -2), preferred_element_type=jnp.float32)
            if mask is not None:
                # Rows of the queries that stay here, columns of the keys that came round.
                corner = index * length, (index + part) % devices * length
                seen = jax.lax.dynamic_slice(jnp.asarray(mask), corner, (length, length))
                scores = jnp.where(jnp.expand_dims(seen, range(scores.ndim - 2)), scores, UNSEEN)
            higher = jnp.maximum(top, scores.max(-1))
            # What was summed up against the lower maximum is scaled to the higher one.
            weights = jnp.exp(scores - higher[..., None])
            rescale = jnp.exp(top - higher)
            new_out = jnp.matmul(weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
            return out * rescale[..., None] + new_out, norm * rescale + weights.sum(-1), higher

        def turn(carry: Carry, part: jax.Array) -> tuple[Carry, None]:
            k, v, seen = carry
            k, v = (jax.lax.ppermute(y, RING, forth) for y in (k, v))
            return (k, v, see(seen, k, v, part)), None

        rows = q.shape[:-1]
        nothing = jnp.zeros(q.shape, jnp.float32), jnp.zeros(rows, jnp.float32), jnp.full(rows, -jnp.inf)
        # Its own part first: every row sees itself, so that the maximum is finite before any part that is all masked.
        start: Carry = k, v, see(nothing, k, v, 0)
        last, _ = jax.lax.scan(turn, start, jnp.arange(1, devices))
        out, norm, _ = last[2]
        return (out / norm[..., None]).astype(v.dtype)

    return shard_local(on_one, (axes, axes, axes), axes)(q, k, v)
