"""Base of every codec: pixels to latents and back, by frozen weights."""

from typing import Any, ClassVar

import jax

from vdm_jax.config.ranges import Ranged
from vdm_jax.nn.config import Shape

Weights = dict[str, Any]  # a tree of arrays, or of their shapes


class Codec(Ranged, where='config.codec'):
    """Pixels <-> latents: a frozen dataclass, the config group config.codec.

    Its weights travel beside it, like everything else that a step takes. A codec that has some overrides `path` by a
    field of that name, which experiment/frozen_weights.py reads.
    """

    # Fields that do not change the posterior moments of a clip, so that a cache of moments outlives a change of them:
    # where weights lie, what becomes of moments, and how much is computed at a time.
    fields_after_moments: ClassVar[tuple[str, ...]] = ()

    @property
    def path(self) -> str | None:
        """Where the weights lie, None for a codec without any."""
        return None

    def latent_shape(self, shape: Shape) -> Shape:
        """Return the shape of the latents of a video of shape (T, H, W, C).

        Raises:
          UserError: The codec does not take such videos.
        """
        raise NotImplementedError

    def abstract_weights(self) -> Weights:
        """Return the shapes and dtypes of the weights, a tree of jax.ShapeDtypeStruct; {} for a codec without any."""
        return {}

    def encode(self, weights: Weights, video_BTHWC: jax.Array, keys_B: jax.Array | None = None) -> jax.Array:
        """Encode uint8 pixels to float32 latents.

        keys_B: One for each row, to draw latents from their posterior where the codec does so; None: their mean.
        """
        raise NotImplementedError

    def moments(self, weights: Weights, video_BTHWC: jax.Array) -> jax.Array:
        """Encode uint8 pixels to the moments of the posterior, which a cache of latents stores.

        Means and log variances lie side by side in the last dimension, not normalised. Only codecs with weights have
        them.
        """
        raise NotImplementedError

    def latents_from_moments(self, moments: jax.Array, keys_B: jax.Array | None = None) -> jax.Array:
        """Return the latents that `encode` makes of a clip with these moments."""
        raise NotImplementedError

    def decode(self, weights: Weights, latents_BTHWC: jax.Array) -> jax.Array:
        """Decode float32 latents to uint8 pixels."""
        raise NotImplementedError

    def decode_checked(self, weights: Weights, latents_BTHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Decode, and return as well whether the pixels of each row were finite before they were rounded, bool (B,)."""
        raise NotImplementedError
