"""Pixels as bytes and as numbers: uint8 in [0, 255] <-> float in [-1, 1]."""

import jax.numpy as jnp


def from_bytes(video):
    """uint8 in [0, 255] -> float32 in [-1, 1]."""
    return video.astype(jnp.float32) / 127.5 - 1


def to_bytes(video):
    """Float in [-1, 1], what lies beyond cut off -> the nearest uint8 in [0, 255]."""
    return jnp.round(jnp.clip((video.astype(jnp.float32) + 1) * 127.5, 0, 255)).astype(jnp.uint8)
