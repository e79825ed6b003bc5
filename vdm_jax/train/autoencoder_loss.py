"""Autoencoder training loss: encode a clip, decode it, compare."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from vdm_jax.codecs.pixels import from_bytes
from vdm_jax.codecs.posterior import draw
from vdm_jax.codecs.reconstruction import Reconstruction
from vdm_jax.train.step import Frozen, Losses, TrainingLoss
from vdm_jax.train.types import Batch, Params, ShapeTree


@dataclasses.dataclass(frozen=True)
class AutoencoderLoss(TrainingLoss):
    """The loss of a variational autoencoder.

    Attributes:
      merge: params -> an autoencoder with `moments` and `decode`.
      reconstruction: The terms of the loss and their weights.
      sample: Whether latents are drawn from the posterior, or are its mean.
    """

    merge: Callable[[Params], Any]
    reconstruction: Reconstruction
    sample: bool = True

    @property
    def abstract_frozen(self) -> dict[str, ShapeTree]:
        """Shapes of the weights of LPIPS, where it is a term of the loss."""
        return self.reconstruction.abstract_frozen

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the terms of the loss."""
        return self.reconstruction.parts

    def __call__(self, params: Params, batch: Batch, keys: jax.Array, frozen: Frozen) -> Losses:
        """Return the loss of each example: images behind a clip are clips of one frame, and count as much as it."""
        clip_losses = self._compute_losses(params, from_bytes(batch['video']), keys, frozen)
        if 'images' not in batch:
            return clip_losses

        size, count = batch['images'].shape[:2]
        images = from_bytes(batch['images']).reshape(size * count, 1, *batch['images'].shape[2:])
        # An image has noise of its own, other than its clip.
        image_keys = jax.vmap(lambda key: jax.random.split(key, count))(keys).reshape(-1)
        image_losses = self._compute_losses(params, images, image_keys, frozen)

        def average(clip: jax.Array, image: jax.Array) -> jax.Array:
            return (clip + image.reshape(size, count).mean(1)) / 2

        return Losses(
            average(clip_losses.loss, image_losses.loss),
            parts=jax.tree.map(average, clip_losses.parts, image_losses.parts),
        )

    def _compute_losses(self, params: Params, x: jax.Array, keys: jax.Array, frozen: Frozen) -> Losses:
        """Return the losses of clips x (B, T, H, W, C), pixels in [-1, 1]."""
        autoencoder = self.merge(params)
        mean, logvar = autoencoder.moments(x)
        # Validation decodes the mean, which is the same every time.
        z = draw(mean, logvar, keys) if self.sample else mean
        losses = self.reconstruction(x, autoencoder.decode(z), mean, logvar, frozen.get('lpips'))
        return Losses(losses.loss, losses.by_frame, parts=losses.parts)

    def for_validation(self) -> 'AutoencoderLoss':
        """Return the same loss, of decoded means."""
        return dataclasses.replace(self, sample=False)
