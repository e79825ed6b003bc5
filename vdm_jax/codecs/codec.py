"""What every codec answers."""

from typing import Protocol

import jax

# Fields of codecs that their moments do not hang on: where weights lie, what becomes of moments, and how much is worked
# on at a time.
AFTER = 'path', 'sample', 'mean', 'std', 'chunk', 'slice_frames'


class Codec(Protocol):
    """Pixels <-> latents, by weights that are frozen: a frozen dataclass, the config group config.codec.

    Its weights travel beside it, as whatever else a step takes: `abstract` has their shapes, {} for a codec without
    any; where they lie is said by a field `path` (frozen.py reads it).
    """

    def latent_shape(self, shape: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """That of the latents of a video of shape (T, H, W, C).

        Raises:
          UserError: the codec does not take such videos.
        """

    def abstract(self) -> dict:
        """A tree of jax.ShapeDtypeStruct."""

    def encode(self, weights: dict, video_BTHWC, keys_B=None):
        """uint8 pixels -> float32 latents; keys where they are drawn from a distribution, its mean where not given."""

    def moments(self, weights: dict, video_BTHWC):
        """uint8 pixels -> means and log variances of the latents, side by side in the last dimension, before they are
        normalised: what a cache keeps. Only of codecs with weights, as is `normalised`.
        """

    def normalised(self, moments: jax.Array, keys_B: jax.Array | None = None) -> jax.Array:
        """The latents of such moments: `encode` is this of `moments`."""

    def decode(self, weights: dict, latents_BTHWC):
        """float32 latents -> uint8 pixels."""

    def decode_checked(self, weights: dict, latents_BTHWC):
        """The same, and whether the pixels of each row were finite before they were rounded, bool (B,)."""
