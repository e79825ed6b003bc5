"""Train on pixels: the codec that changes nothing but their scale."""

from dataclasses import dataclass

import jax

from vdm_jax.codecs.codec import Codec, Weights
from vdm_jax.codecs.pixels import from_bytes, split_finite_flag, to_bytes, to_bytes_with_finite_flag
from vdm_jax.nn.config import Shape


@dataclass(frozen=True)
class Identity(Codec):
    """uint8 pixels in [0, 255] <-> float32 "latents" in [-1, 1] of the same shape. A Codec without weights."""

    def latent_shape(self, shape: Shape) -> Shape:
        return shape

    def encode(self, weights: Weights, video_BTHWC: jax.Array, keys_B: jax.Array | None = None) -> jax.Array:
        return from_bytes(video_BTHWC)

    def decode(self, weights: Weights, latents_BTHWC: jax.Array) -> jax.Array:
        return to_bytes(latents_BTHWC)

    def decode_checked(self, weights: Weights, latents_BTHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
        return split_finite_flag(to_bytes_with_finite_flag(latents_BTHWC))
