"""The image VAE as a frozen codec: videos <-> latents, in slices and tiles, on each device's own rows."""

import functools
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.codecs.image_vae import ImageVAE, ImageVAEConfig
from vdm_jax.codecs.pixels import flagged, from_bytes, to_bytes, unflagged
from vdm_jax.codecs.posterior import draw
from vdm_jax.codecs.slices import by_clip, by_frame
from vdm_jax.codecs.tiles import tiled
from vdm_jax.config.ranges import Ranged, Whole
from vdm_jax.errors import UserError
from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.sharding import axis_size, shard_local

SLICE = 8  # frames at a time where nothing is said


@dataclass(frozen=True)
class ImageVAECodec(Ranged, where='config.codec'):
    """uint8 video (B, T, H, W, C) <-> float32 latents (B, T, H / f, W / f, latents), scaled by
    model.scaling_factor to about unit variance.

    Raises (encode, moments, decode, pixels):
      UserError: arrays of another shape, or a video that is neither uint8 nor floats.

    path: where its weights lie. sample: encode draws from the posterior where it is given keys, else takes its mean.
    dtype: of activations and products.
    slice_frames: frames that a device encodes or decodes at a time, 0: all. It changes no result, save that the
    temporal decoder sees no further than its slice, as with diffusers' decode_chunk_size. None: 8, but all at once in
    the temporal decoder.
    tile: side in latents of the tiles that larger frames are cut into, 0: none; neighbours share `overlap` latents or
    more, over which they are blended. It changes results: group norms and the attention in the middle see their tile
    alone.
    """

    path: str | None = None
    model: ImageVAEConfig = ImageVAEConfig()
    sample: bool = False
    slice_frames: Whole | None = None
    tile: Whole = 0
    overlap: Whole = 8
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    def __post_init__(self):
        super().__post_init__()
        if self.tile and self.overlap >= self.tile:
            raise UserError(
                f'config.codec.tile={self.tile}, overlap={self.overlap}: want overlap < tile, or tile=0 for none'
            )

    def latent_shape(self, shape):
        """(T, H, W, C) of a video -> that of its latents.

        Raises:
          UserError: the frames are not what the network takes.
        """
        return self.model.latent_shape(shape)

    def abstract(self) -> dict:
        """Shapes and dtypes of the weights."""
        return jax.tree.map(lambda leaf: leaf, parts_of(self.model)[1])

    def encode(self, weights, video_BTHWC, keys_B=None):
        """uint8 video, or floats in [-1, 1] -> latents; keys_B: a key for each row, to draw by where `sample` says so,
        else not looked at.
        """
        if self.sample and keys_B is not None:
            return self.normalised(self.moments(weights, video_BTHWC), keys_B)
        return self._encode(weights, video_BTHWC, lambda mean, _: self.model.scaling_factor * mean)

    def decode(self, weights, latents_BTHWC):
        """Latents -> uint8 video."""
        return self._decode(weights, latents_BTHWC, to_bytes)

    def decode_checked(self, weights, latents_BTHWC):
        """The same, and whether the pixels of each row were finite, bool (B,)."""
        return unflagged(self._decode(weights, latents_BTHWC, flagged))

    def moments(self, weights, video_BTHWC):
        """Means and log variances of the latents side by side, (B, T, h, w, 2C), before they are scaled; video: uint8,
        or floats in [-1, 1].
        """
        return self._encode(weights, video_BTHWC, lambda *moments: jnp.concatenate(moments, -1))

    def normalised(self, moments, keys_B=None):
        """Latents of such moments: drawn by the keys where `sample` says so, else means; scaled."""
        mean, logvar = jnp.split(moments, 2, -1)
        return self.model.scaling_factor * (draw(mean, logvar, keys_B) if self.sample and keys_B is not None else mean)

    def pixels(self, weights, latents_BTHWC):
        """Latents -> float32 video, about [-1, 1]; neither rounded nor cut off."""
        return self._decode(weights, latents_BTHWC, lambda video: video)

    def _encode(self, weights, video_BTHWC, finish):
        dtype = video_BTHWC.dtype
        _check('a video', video_BTHWC, self.model.in_channels)
        if dtype != jnp.uint8 and not jnp.issubdtype(dtype, jnp.floating):
            raise UserError(f'the image VAE takes a video in uint8, or in floats in [-1, 1], not {dtype}')
        self.latent_shape(video_BTHWC.shape[1:])

        def call(network, x):
            x = from_bytes(x) if x.dtype == jnp.uint8 else x
            return finish(*network.moments(x.astype(self.dtype)))

        sizes = self.model.factor, 1

        def each(network, x):
            return tiled(functools.partial(call, network), x, self.tile, self.overlap, sizes)

        return self._run(each, weights, video_BTHWC)

    def _decode(self, weights, latents_BTHWC, finish):
        _check('latents', latents_BTHWC, self.model.latent_channels)
        sizes = 1, self.model.factor

        def call(network, z):
            return network.decode((z / self.model.scaling_factor).astype(self.dtype))

        def each(network, z):
            return finish(tiled(functools.partial(call, network), z, self.tile, self.overlap, sizes))

        return self._run(each, weights, latents_BTHWC, self.model.temporal)

    def _run(self, call, weights, x_BTHWC, mixes: bool = False):
        """call(network, x) in slices, on each device's own rows, and on frames of its own where `call` does not mix
        them and the mesh splits a clip's frames, so that nothing is gathered.
        """
        walk, usual, wanted = (by_clip, 0, (BATCH,)) if mixes else (by_frame, SLICE, (BATCH, 'sequence'))
        count = usual if self.slice_frames is None else self.slice_frames

        def here(weights, x):
            return walk(functools.partial(call, nnx.merge(parts_of(self.model)[0], weights)), x, count)

        axes = tuple(axis if x_BTHWC.shape[i] % axis_size(axis) == 0 else None for i, axis in enumerate(wanted))
        return shard_local(here, ((), axes), axes)(weights, x_BTHWC)


def _check(what: str, x_BTHWC, channels: int):
    """UserError unless it has five dimensions, the last of so many channels."""
    if x_BTHWC.ndim != 5 or x_BTHWC.shape[-1] != channels:
        raise UserError(f'the image VAE takes {what} (B, T, H, W, {channels}), found {x_BTHWC.shape}')


@functools.cache
def parts_of(config: ImageVAEConfig) -> tuple[nnx.GraphDef, dict]:
    """The network without its weights, and their shapes."""
    graphdef, state = nnx.split(nnx.eval_shape(lambda: ImageVAE(config, rngs=nnx.Rngs(0))))
    return graphdef, nnx.to_pure_dict(state)
