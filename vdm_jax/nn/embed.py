"""Into and out of tokens: 3-D patches, and embeddings of time and class label."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vdm_jax.nn.linear import Linear, normal_002


def patchify(x_BTHWC, time_patch: int, patch: int):
    """Cut videos into patches of time_patch x patch x patch: (B, T, H, W, C) -> (B, T/pt, (H/p)(W/p), pt p p C).

    A reshape and a transpose, never a convolution. Inside a patch the order is (time, row, column, channel).

    Raises:
      ValueError: a side does not divide.
    """
    batch, frames, height, width, channels = x_BTHWC.shape
    if frames % time_patch or height % patch or width % patch:
        raise ValueError(
            f'a video of {frames} frames of {height}x{width} does not divide into patches of '
            f'config.model.time_patch={time_patch} frames and config.model.patch={patch} pixels'
        )
    sizes = (batch, frames // time_patch, time_patch, height // patch, patch, width // patch, patch, channels)
    x = x_BTHWC.reshape(sizes).transpose(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(batch, frames // time_patch, -1, time_patch * patch * patch * channels)


def unpatchify(x_BTND, shape, time_patch: int, patch: int):
    """The inverse of `patchify`, for videos of `shape` (T, H, W); channels follow from the last dimension."""
    frames, height, width = shape
    batch, channels = x_BTND.shape[0], x_BTND.shape[-1] // (time_patch * patch * patch)
    sizes = (batch, frames // time_patch, height // patch, width // patch, time_patch, patch, patch, channels)
    return x_BTND.reshape(sizes).transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, frames, height, width, channels)


class TimeEmbedding(nnx.Module):
    """Sinusoid of a timestep, then Linear, SiLU, Linear: t (...,) in the papers' 0..1000 -> (..., D) (DiT)."""

    frequencies = 256

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.up = Linear(self.frequencies, width, normal_002, rngs=rngs)
        self.down = Linear(width, width, normal_002, rngs=rngs)

    def __call__(self, t, dtype):
        half = self.frequencies // 2
        frequencies = np.exp(-np.log(10_000.0) * np.arange(half) / half).astype(np.float32)
        angles = t.astype(jnp.float32)[..., None] * np.expand_dims(frequencies, tuple(range(t.ndim)))
        waves = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1).astype(dtype)
        return self.down(jax.nn.silu(self.up(waves)))


class LabelEmbedding(nnx.Module):
    """A vector for each class and one more, the last, for "no label": label (B,) in [0, classes] -> (B, D)."""

    def __init__(self, classes: int, width: int, *, rngs: nnx.Rngs):
        self.table = nnx.Param(normal_002(rngs.params(), (classes + 1, width), jnp.float32))

    def __call__(self, label_B, dtype):
        return self.table[...].astype(dtype)[label_B]
