"""Convert pixels between bytes and numbers: uint8 in [0, 255] <-> float in [-1, 1]."""

import jax
import jax.numpy as jnp


def from_bytes(video: jax.Array) -> jax.Array:
    """Convert uint8 in [0, 255] to float32 in [-1, 1]."""
    return video.astype(jnp.float32) / 127.5 - 1


def to_bytes(video: jax.Array) -> jax.Array:
    """Convert floats, clipped to [-1, 1], to the nearest uint8 in [0, 255].

    nan becomes 0; `to_bytes_with_finite_flag` tells where.
    """
    return jnp.round(jnp.clip((video.astype(jnp.float32) + 1) * 127.5, 0, 255)).astype(jnp.uint8)


def to_bytes_with_finite_flag(video: jax.Array) -> jax.Array:
    """Return to_bytes(video) with one channel more: 1 where all channels of a pixel are finite, else 0.

    The flag is a channel so that it passes through whatever is done with frames; `split_finite_flag` takes it off.
    """
    # Asked before rounding, since no uint8 is nan.
    finite = jnp.isfinite(video).all(-1, keepdims=True)
    return jnp.concatenate([to_bytes(video), finite.astype(jnp.uint8)], -1)


def split_finite_flag(video_BTHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Split what `to_bytes_with_finite_flag` made into a uint8 video and whether each row is finite, bool (B,)."""
    flags = video_BTHWC[..., -1]
    return video_BTHWC[..., :-1], flags.all(range(1, flags.ndim))
