"""Into and out of tokens: 3-D patches, and embeddings of time, class label, scalars and captions."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from vdm_jax.nn.linear import Linear, normal_002


def patchify(x_BTHWC: jax.Array, time_patch: int, patch: int) -> jax.Array:
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


def unpatchify(x_BTND: jax.Array, shape: tuple[int, int, int], time_patch: int, patch: int) -> jax.Array:
    """Invert `patchify`, for videos of `shape` (T, H, W); channels follow from the last dimension."""
    frames, height, width = shape
    batch = x_BTND.shape[0]
    channels = x_BTND.shape[-1] // (time_patch * patch * patch)
    sizes = (batch, frames // time_patch, height // patch, width // patch, time_patch, patch, patch, channels)
    return x_BTND.reshape(sizes).transpose(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, frames, height, width, channels)


def waves(t: jax.Array, count: int, dtype: DTypeLike) -> jax.Array:
    """Return cosines, then sines, of t (...,) at count / 2 frequencies from 1 down to 1e-4: (..., count) (DiT)."""
    half = count // 2
    frequencies = np.exp(-np.log(10_000.0) * np.arange(half) / half).astype(np.float32)
    # In float32 whatever the network computes in: near 1000 bfloat16 tells only every fourth timestep apart.
    angles = t.astype(jnp.float32)[..., None] * np.expand_dims(frequencies, tuple(range(t.ndim)))
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1).astype(dtype)


class TimeEmbedding(nnx.Module):
    """Sinusoid of a timestep, then Linear, SiLU, Linear: t (...,) in the papers' 0..1000 -> (..., D) (DiT)."""

    frequencies = 256

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.up = Linear(self.frequencies, width, normal_002, rngs=rngs)
        self.down = Linear(width, width, normal_002, rngs=rngs)

    def __call__(self, t: jax.Array, dtype: DTypeLike) -> jax.Array:
        return self.down(jax.nn.silu(self.up(waves(t, self.frequencies, dtype))))


class ScalarEmbedding(TimeEmbedding):
    """A number such as frames per second, embedded as a timestep of 100 times its value is: (...,) -> (..., D).

    nan stands for "not known" and has a learned vector of its own.
    """

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        super().__init__(width, rngs=rngs)
        self.unknown = nnx.Param(normal_002(rngs.params(), (width,), jnp.float32))

    def __call__(self, value: jax.Array, dtype: DTypeLike) -> jax.Array:
        known = ~jnp.isnan(value)
        # nan is replaced before the embedding as well as after: backward, the branch that `where` does not take gets a
        # gradient of 0, and 0 times nan is nan.
        embedded = super().__call__(100 * jnp.where(known, value, 0), dtype)
        unknown = jnp.expand_dims(self.unknown[...].astype(dtype), range(value.ndim))
        return jnp.where(known[..., None], embedded, unknown)


class LabelEmbedding(nnx.Module):
    """A vector for each class and one more, the last, for "no label": label (...,) in [0, classes] -> (..., D)."""

    def __init__(self, classes: int, width: int, *, rngs: nnx.Rngs):
        self.table = nnx.Param(normal_002(rngs.params(), (classes + 1, width), jnp.float32))

    def __call__(self, label: jax.Array, dtype: DTypeLike) -> jax.Array:
        return self.table[...].astype(dtype)[label]


class CaptionProjection(nnx.Module):
    """Text embeddings into the network's width: Linear, GELU, Linear (PixArt-alpha, Chen et al. 2023).

    Call: text (B, S, W), mask (B, S) bool -> ((B, S, D), mask). A caption whose mask is nowhere True is "no text":
    every one of its tokens then holds the same learned vector, and all are seen.
    """

    def __init__(self, text_width: int, width: int, *, rngs: nnx.Rngs):
        self.up = Linear(text_width, width, normal_002, rngs=rngs)
        self.down = Linear(width, width, normal_002, rngs=rngs)
        self.none = nnx.Param(jax.random.normal(rngs.params(), (text_width,), jnp.float32) * text_width**-0.5)

    def __call__(self, text_BSW: jax.Array, mask_BS: jax.Array, dtype: DTypeLike) -> tuple[jax.Array, jax.Array]:
        some = mask_BS.any(-1, keepdims=True)
        # Video by video, as those with and without a text share a batch (dropout, guidance).
        text = jnp.where(some[..., None], text_BSW.astype(dtype), self.none[...].astype(dtype)[None, None])
        return self.down(jax.nn.gelu(self.up(text), approximate=True)), mask_BS | ~some
