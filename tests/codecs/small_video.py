"""A small video VAE of plain noise, and clips for it."""

import jax
import numpy as np
from flax import nnx

from vdm_jax.codecs.video_codec import VideoVAECodec
from vdm_jax.codecs.video_vae import VideoVAE, VideoVAEConfig

SMALL = VideoVAEConfig(channels=(4, 4, 8), blocks=1, latent=2, space=4, patch=2, groups=2, in_channels=3)


def weights(config=SMALL, seed=0):
    """Norms and biases are noise too, so that none of them could be left out unseen."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        drawn = rng.standard_normal(leaf.shape, np.float32)
        name = path[-1].key
        if name == 'kernel':
            return drawn * np.float32(np.prod(leaf.shape[:-1]) ** -0.5)
        return 1 + 0.2 * drawn if name == 'scale' else 0.1 * drawn

    return jax.tree_util.tree_map_with_path(draw, VideoVAECodec(model=config).abstract_weights())


def network(config=SMALL):
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: VideoVAE(config, rngs=nnx.Rngs(0))))
    return nnx.merge(graphdef, weights(config))


def pixels(frames=9, height=8, width=12, channels=3, batch=2, seed=1):
    """Noise in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (batch, frames, height, width, channels)).astype(np.float32)


def video(**sizes):
    """The same as uint8."""
    return np.round((pixels(**sizes) + 1) * 127.5).astype(np.uint8)


def latents(frames=3, height=2, width=3, channels=2, batch=2, seed=2):
    return np.random.default_rng(seed).standard_normal((batch, frames, height, width, channels), np.float32)
