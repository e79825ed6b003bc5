"""A function of frames, run on a few of them at a time, so that its memory does not grow with the clip."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np


def sliced(call: Callable, x, count: int):
    """call(x), `count` of x's first dimension at a time; all at once where count is 0 or no less than there are.

    `call` must treat each of them by itself. The last slice goes back so far that it is full, so there is one program
    for all, and a few are computed twice.
    """
    if not 0 < count < len(x):
        return call(x)
    part = jax.eval_shape(call, jax.ShapeDtypeStruct((count, *x.shape[1:]), x.dtype))

    def step(results, start):
        made = call(jax.lax.dynamic_slice_in_dim(x, start, count))
        return jax.lax.dynamic_update_slice_in_dim(results, made, start, 0), None

    starts = np.minimum(np.arange(0, len(x), count), len(x) - count)
    return jax.lax.scan(step, jnp.zeros((len(x), *part.shape[1:]), part.dtype), starts)[0]


def by_frame(call: Callable, x_BTHWC, count: int):
    """`call` maps (B, T, ...) to (B, T, ...), each frame by itself: run on `count` frames of any rows at a time."""
    batch, frames = x_BTHWC.shape[:2]
    if count == 0:
        return call(x_BTHWC)
    y = sliced(lambda x: call(x[:, None])[:, 0], x_BTHWC.reshape(batch * frames, *x_BTHWC.shape[2:]), count)
    return y.reshape(batch, frames, *y.shape[1:])


def by_clip(call: Callable, x_BTHWC, count: int):
    """`call` maps (B, T, ...) to (B, T, ...) and mixes frames: run on clips of `count` frames, one at a time; what is
    left at the end is a shorter clip.
    """
    batch, frames = x_BTHWC.shape[:2]
    if count == 0:
        return call(x_BTHWC)

    def clips(x, length):
        y = sliced(call, x.reshape(-1, length, *x.shape[2:]), 1)
        return y.reshape(batch, -1, *y.shape[2:])

    whole = frames - frames % count
    ends = [(x_BTHWC[:, :whole], count), (x_BTHWC[:, whole:], frames - whole)]
    parts = [clips(x, length) for x, length in ends if x.shape[1]]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, 1)
