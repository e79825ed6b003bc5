"""The causal video VAE as a frozen codec: videos <-> latents of about unit variance, in chunks of frames."""

import dataclasses
import functools
from dataclasses import dataclass
from typing import Annotated

import jax.numpy as jnp
import numpy as np
from flax import nnx

from vdm_jax.codecs.chunks import chunked
from vdm_jax.codecs.pixels import flagged, from_bytes, to_bytes, unflagged
from vdm_jax.codecs.posterior import draw
from vdm_jax.codecs.video_vae import VideoVAE, VideoVAEConfig
from vdm_jax.config.ranges import Above0, Between, Ranged, Whole
from vdm_jax.errors import UserError


@dataclass(frozen=True)
class VideoVAECodec(Ranged, where='config.codec'):
    """uint8 video (B, T, H, W, C), T = 1 + time n <-> float32 latents (B, 1 + n, H / space, W / space, latent).

    path: where its weights lie, the run directory of a video VAE or a file of weights. model: its config.model; pixels
    have 3 channels where in_channels is not set. sample: encode draws from the posterior where it is given keys, else
    takes its mean. mean, std: of each channel of the latents, which are normalised by them (`statistics` measures them;
    W.A.L.T's FVD on UCF-101 is 60.7 with and 67.9 without); None: 0 and 1. chunk: latent frames that are encoded or
    decoded at a time, 0: all. It bounds memory and changes no result.
    """

    path: str | None = None
    model: VideoVAEConfig = VideoVAEConfig()
    sample: bool = False
    mean: tuple[Annotated[float, Between(-1e6, 1e6)], ...] | None = None
    std: tuple[Annotated[float, Above0()], ...] | None = None
    chunk: Whole = 0

    def __post_init__(self):
        super().__post_init__()
        if self.model.in_channels is None:
            object.__setattr__(self, 'model', dataclasses.replace(self.model, in_channels=3))
        for name in ('mean', 'std'):
            values = getattr(self, name)
            if values is not None and len(values) != self.model.latent:
                raise UserError(
                    f'config.codec.{name} has {len(values)} numbers: want one for each of the {self.model.latent} '
                    'channels of a latent (config.codec.model.latent)'
                )

    def latent_shape(self, shape):
        """(T, H, W, C) of a video -> that of its latents.

        Raises:
          UserError: frames, sides or channels are not what the network takes.
        """
        if shape[-1] != self.model.in_channels:
            raise UserError(
                f'config.codec.model.in_channels={self.model.in_channels}: the clips have {shape[-1]} channels'
            )
        return self.model.latent_shape(shape)

    def abstract(self) -> dict:
        """Shapes and dtypes of the weights."""
        return nnx.to_pure_dict(nnx.state(nnx.eval_shape(lambda: VideoVAE(self.model, rngs=nnx.Rngs(0))), nnx.Param))

    def encode(self, weights, video_BTHWC, keys_B=None):
        """uint8 video -> normalised latents; keys_B: a key for each row, to draw by."""
        return self.normalised(self.moments(weights, video_BTHWC), keys_B)

    def moments(self, weights, video_BTHWC):
        """uint8 video -> means and log variances of its latents side by side, (B, T', H', W', 2 latent)."""
        self.latent_shape(video_BTHWC.shape[1:])
        network = self._network(weights)

        def moments(x, past):
            return jnp.concatenate(network.moments(from_bytes(x), past), -1)

        return chunked(moments, video_BTHWC, self.chunk, self.model.time)

    def normalised(self, moments, keys_B=None):
        """Latents of such moments, drawn by the keys or means, as the network takes them."""
        mean, logvar = jnp.split(moments, 2, -1)
        z = draw(mean, logvar, keys_B) if self.sample and keys_B is not None else mean
        shift, scale = self._moments_of_latents
        return (z - shift) / scale

    def decode(self, weights, latents_BTHWC):
        """Normalised latents -> uint8 video."""
        return self._decode(weights, latents_BTHWC, to_bytes)

    def decode_checked(self, weights, latents_BTHWC):
        """The same, and whether the pixels of each row were finite, bool (B,)."""
        return unflagged(self._decode(weights, latents_BTHWC, flagged))

    def _decode(self, weights, latents_BTHWC, finish):
        network, (shift, scale) = self._network(weights), self._moments_of_latents
        return chunked(lambda z, past: finish(network.decode(z * scale + shift, past)), latents_BTHWC, self.chunk)

    def _network(self, weights) -> VideoVAE:
        return nnx.merge(_graphdef(self.model), weights)

    @property
    def _moments_of_latents(self):
        """Their mean and standard deviation, (1, 1, 1, 1, latent) each."""
        values = self.mean or (0.0,) * self.model.latent, self.std or (1.0,) * self.model.latent
        return np.asarray(values, np.float32)[:, None, None, None, None]


@functools.cache
def _graphdef(config: VideoVAEConfig) -> nnx.GraphDef:
    """The network without its weights."""
    return nnx.graphdef(nnx.eval_shape(lambda: VideoVAE(config, rngs=nnx.Rngs(0))))


def statistics(latents) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of each channel of latents that are not normalised: what VideoVAECodec takes under these names.

    latents: arrays (..., C), one after the other.
    """
    count, sums, squares = 0, 0.0, 0.0
    for each in latents:
        rows = np.asarray(each, np.float64).reshape(-1, np.shape(each)[-1])
        count, sums, squares = count + len(rows), sums + rows.sum(0), squares + np.square(rows).sum(0)
    mean = sums / count
    return tuple(map(float, mean)), tuple(map(float, np.sqrt(np.maximum(squares / count - mean**2, 0))))
