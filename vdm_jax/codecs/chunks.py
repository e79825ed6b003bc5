"""A causal network run on a few frames of a clip at a time, so that its memory does not grow with the clip."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vdm_jax.nn.causal_conv import Past


def chunked(call: Callable, x_BTHWC, count: int, unit: int = 1):
    """call(x, Past()) of a clip x of 1 + unit n frames, on `count` of the n groups of frames at a time; 0: all at once.

    call: (frames, past) -> (B, T', ...), a causal network: what it makes of a clip is, one after the other, what it
    makes of the clip's beginning and then of its parts, each called with what was kept of those before. So this changes
    no result. The first chunk has the frame that is alone, and the groups that are left over.
    """
    groups = (x_BTHWC.shape[1] - 1) // unit
    if not 0 < count < groups:
        return call(x_BTHWC, Past())
    first = 1 + groups % count * unit
    past = Past()
    beginning = call(x_BTHWC[:, :first], past)
    rest = x_BTHWC[:, first:]
    batch, frames, *frame = rest.shape
    parts = jnp.moveaxis(rest.reshape(batch, frames // (count * unit), count * unit, *frame), 1, 0)

    def step(frames, part):
        past = Past(frames)
        output = call(part, past)
        return tuple(past.frames), output

    _, outputs = jax.lax.scan(step, tuple(past.frames), parts)
    outputs = jnp.moveaxis(outputs, 0, 1)
    return jnp.concatenate([beginning, outputs.reshape(batch, -1, *outputs.shape[3:])], 1)
