"""Pixels as bytes and as numbers: uint8 in [0, 255] <-> float in [-1, 1]."""

import jax
import jax.numpy as jnp


def from_bytes(video: jax.Array) -> jax.Array:
    """uint8 in [0, 255] -> float32 in [-1, 1]."""
    return video.astype(jnp.float32) / 127.5 - 1


def to_bytes(video):
    """Float in [-1, 1], what lies beyond cut off -> the nearest uint8 in [0, 255]; nan -> 0, so see `flagged`."""
    return jnp.round(jnp.clip((video.astype(jnp.float32) + 1) * 127.5, 0, 255)).astype(jnp.uint8)


def flagged(video):
    """to_bytes(video) with one channel more: 1 where all channels of a pixel are finite, else 0. See `unflagged`."""
    finite = jnp.isfinite(video).all(-1, keepdims=True)
    return jnp.concatenate([to_bytes(video), finite.astype(jnp.uint8)], -1)


def unflagged(video_BTHWC):
    """What `flagged` made, taken apart: uint8 video, and whether each of its rows is finite, bool (B,)."""
    return video_BTHWC[..., :-1], video_BTHWC[..., -1].all(range(1, video_BTHWC.ndim - 1))
