"""Learning to give back: what a batch costs an autoencoder."""

import dataclasses
from collections.abc import Callable

import jax

from vdm_jax.codecs.pixels import from_bytes
from vdm_jax.codecs.posterior import draw
from vdm_jax.codecs.reconstruction import Reconstruction
from vdm_jax.train.step import Losses


@dataclasses.dataclass(frozen=True)
class AutoencoderLoss:
    """A TrainingLoss. merged: params -> an autoencoder with `moments` and `decode`; sample: whether what it decodes is
    drawn from what it encoded, or is its mean.
    """

    merged: Callable
    reconstruction: Reconstruction
    sample: bool = True

    @property
    def abstract_frozen(self) -> dict:
        return self.reconstruction.abstract_frozen

    @property
    def parts(self) -> tuple[str, ...]:
        return self.reconstruction.parts

    def __call__(self, params, batch, keys, frozen):
        """Images beside the clips are clips of one frame; a clip and its images count alike."""
        clips = self._losses(params, from_bytes(batch['video']), keys, frozen)
        if 'images' not in batch:
            return clips
        size, count = batch['images'].shape[:2]
        images = from_bytes(batch['images']).reshape(size * count, 1, *batch['images'].shape[2:])
        image_keys = jax.vmap(lambda key: jax.random.split(key, count))(keys).reshape(-1)
        alone = self._losses(params, images, image_keys, frozen)

        def both(clip, image):
            return (clip + image.reshape(size, count).mean(1)) / 2

        return Losses(both(clips.loss, alone.loss), parts=jax.tree.map(both, clips.parts, alone.parts))

    def _losses(self, params, x, keys, frozen) -> Losses:
        autoencoder = self.merged(params)
        mean, logvar = autoencoder.moments(x)
        z = draw(mean, logvar, keys) if self.sample else mean
        return Losses(*self.reconstruction(x, autoencoder.decode(z), mean, logvar, frozen.get('lpips')))

    def for_validation(self):
        """The same decoding means."""
        return dataclasses.replace(self, sample=False)
