"""Run a function of frames on a few of them at a time, so that its memory does not grow with the clip."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

FrameFunction = Callable[[jax.Array], jax.Array]  # (B, T, …) -> (B, T, …)


def apply_in_slices(call: Callable[[jax.Array], jax.Array], x: jax.Array, count: int) -> jax.Array:
    """Compute call(x), `count` items of x's first dimension at a time; all at once where count is 0 or covers them.

    `call` must treat each item by itself. The last slice starts early enough to be full, so that one program serves for
    all of them; a few items are computed twice.
    """
    if not 0 < count < len(x):
        return call(x)
    slice_result = jax.eval_shape(call, jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype))

    def step(results: jax.Array, start: jax.Array) -> tuple[jax.Array, None]:
        # Written into the carry: outputs that the scan stacked could not overlap, as the last two slices may.
        result = call(jax.lax.dynamic_slice_in_dim(x, start, count))
        return jax.lax.dynamic_update_slice_in_dim(results, result, start, 0), None

    starts = jnp.asarray(np.minimum(np.arange(0, len(x), count), len(x) - count))
    results = jnp.zeros((len(x), *slice_result.shape[1:]), slice_result.dtype)
    results, _ = jax.lax.scan(step, results, starts)
    return results


def apply_by_frame(call: FrameFunction, x_BTHWC: jax.Array, count: int) -> jax.Array:
    """Run a function that treats each frame by itself on `count` frames, of any rows, at a time; 0: all at once.

    call: (B, T, …) -> (B, T, …).
    """
    if count == 0:
        return call(x_BTHWC)
    batch, frames, *frame_shape = x_BTHWC.shape

    def call_on_frames(x: jax.Array) -> jax.Array:
        return call(x[:, None])[:, 0]

    # Frames of all clips in one row, so that slices are full whatever the clips' length.
    y = apply_in_slices(call_on_frames, x_BTHWC.reshape(batch * frames, *frame_shape), count)
    return y.reshape(batch, frames, *y.shape[1:])


def apply_by_clip(call: FrameFunction, x_BTHWC: jax.Array, count: int) -> jax.Array:
    """Run a function that mixes frames on clips of `count` frames, one clip at a time; 0: all at once.

    What is left at the end is a shorter clip. call: (B, T, …) -> (B, T, …).
    """
    if count == 0:
        return call(x_BTHWC)
    batch, frames, *frame_shape = x_BTHWC.shape

    def call_on_clips(x: jax.Array, length: int) -> jax.Array:
        y = apply_in_slices(call, x.reshape(-1, length, *frame_shape), 1)
        return y.reshape(batch, -1, *y.shape[2:])

    left_over = frames % count
    parts = []
    if left_over < frames:
        parts.append(call_on_clips(x_BTHWC[:, : frames - left_over], count))
    if left_over:
        parts.append(call_on_clips(x_BTHWC[:, frames - left_over :], left_over))
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, 1)
