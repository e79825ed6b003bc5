"""Pixels as they are."""

from dataclasses import dataclass
from typing import Protocol

import jax.numpy as jnp


class Codec(Protocol):
    """Pixels <-> latents. `latent_shape` is that of the latents of a video of shape (T, H, W, C)."""

    def latent_shape(self, shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]: ...

    def encode(self, video_BTHWC): ...

    def decode(self, latents_BTHWC): ...


@dataclass(frozen=True)
class Identity:
    """uint8 pixels in [0, 255] <-> float32 "latents" in [-1, 1] of the same shape."""

    def latent_shape(self, shape):
        return shape

    def encode(self, video_BTHWC):
        return video_BTHWC.astype(jnp.float32) / 127.5 - 1

    def decode(self, latents_BTHWC):
        return jnp.round(jnp.clip((latents_BTHWC + 1) * 127.5, 0, 255)).astype(jnp.uint8)
