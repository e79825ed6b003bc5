"""Run a causal network on a few frames of a clip at a time, so that its memory does not grow with the clip."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from vdm_jax.nn.causal_conv import Past

CausalNetwork = Callable[[jax.Array, Past], jax.Array]  # (frames (B, T, …), past) -> (B, T', …)


def apply_in_chunks(network: CausalNetwork, x_BTHWC: jax.Array, count: int, group_size: int = 1) -> jax.Array:
    """Compute network(x, Past()) of a clip x of 1 + group_size n frames, a few groups of frames at a time.

    This changes no result: the output of a causal network for a clip is its outputs for the clip's beginning and then
    for each of its parts, one after the other, where each call gets the past of the calls before.

    Args:
      network: (frames, past) -> (B, T', …), causal.
      x_BTHWC: The clip.
      count: Groups at a time; 0: all at once.
      group_size: Frames of a group.
    """
    groups = (x_BTHWC.shape[1] - 1) // group_size
    if not 0 < count < groups:
        return network(x_BTHWC, Past())

    # The first chunk has the frame that belongs to no group, and the groups that are left over.
    first_length = 1 + groups % count * group_size
    # It runs outside of the scan: only at the beginning of a clip do copies of the first frame stand for its past.
    past = Past()
    first_output = network(x_BTHWC[:, :first_length], past)

    rest = x_BTHWC[:, first_length:]
    batch, frames, *frame_shape = rest.shape
    chunk_length = count * group_size
    chunks = jnp.moveaxis(rest.reshape(batch, frames // chunk_length, chunk_length, *frame_shape), 1, 0)

    def step(past_frames: tuple[jax.Array, ...], chunk: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
        past = Past(past_frames)
        output = network(chunk, past)
        return tuple(past.frames), output

    # All further chunks are of one length, so that one program computes them.
    _, outputs = jax.lax.scan(step, tuple(past.frames), chunks)
    outputs = jnp.moveaxis(outputs, 0, 1)
    outputs = outputs.reshape(batch, -1, *outputs.shape[3:])
    return jnp.concatenate([first_output, outputs], 1)
