"""Pixels as they are."""

from dataclasses import dataclass

from vdm_jax.codecs.pixels import flagged, from_bytes, to_bytes, unflagged


@dataclass(frozen=True)
class Identity:
    """uint8 pixels in [0, 255] <-> float32 "latents" in [-1, 1] of the same shape. A Codec without weights."""

    def latent_shape(self, shape):
        return shape

    def abstract(self):
        return {}

    def encode(self, weights, video_BTHWC, keys_B=None):
        return from_bytes(video_BTHWC)

    def decode(self, weights, latents_BTHWC):
        return to_bytes(latents_BTHWC)

    def decode_checked(self, weights, latents_BTHWC):
        return unflagged(flagged(latents_BTHWC))
