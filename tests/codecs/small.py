"""A small image VAE of plain noise, and clips for it."""

import jax
import numpy as np

from vdm_jax.codecs.image_codec import ImageVAECodec
from vdm_jax.codecs.image_vae import ImageVAEConfig

SMALL = ImageVAEConfig(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4)
TEMPORAL = ImageVAEConfig(block_out_channels=(32, 32), layers_per_block=1, temporal=True)


def noise(config: ImageVAEConfig, seed: int = 0) -> dict:
    """Weights that keep the variance of what goes through them; norms and biases are noise too, so that none of them
    could be left out unseen."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        drawn = rng.standard_normal(leaf.shape, np.float32)
        name = path[-1].key
        if name == 'kernel':
            return drawn * np.float32(np.prod(leaf.shape[:-1]) ** -0.5)
        return drawn if name == 'mix' else 1 + 0.2 * drawn if name == 'scale' else 0.1 * drawn

    return jax.tree_util.tree_map_with_path(draw, ImageVAECodec(model=config).abstract_weights())


def video(frames=4, height=12, width=20, channels=3, batch=2, seed=1):
    """uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (batch, frames, height, width, channels), np.uint8)


def latents(frames=4, height=6, width=10, channels=4, batch=2, seed=2):
    return np.random.default_rng(seed).standard_normal((batch, frames, height, width, channels), np.float32)
