"""The image VAE as a frozen codec: videos <-> latents, in slices and tiles, on each device's own rows."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.codecs.codec import Codec, Weights
from vdm_jax.codecs.image_vae import ImageVAE, ImageVAEConfig
from vdm_jax.codecs.pixels import from_bytes, split_finite_flag, to_bytes, to_bytes_with_finite_flag
from vdm_jax.codecs.posterior import draw
from vdm_jax.codecs.slices import apply_by_clip, apply_by_frame
from vdm_jax.codecs.tiles import apply_in_tiles
from vdm_jax.config.ranges import Whole
from vdm_jax.errors import UserError
from vdm_jax.nn.config import Shape
from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.sharding import Axes, axis_size, shard_local

DEFAULT_SLICE_FRAMES = 8  # where config.codec.slice_frames is not set

NetworkCall = Callable[[ImageVAE, jax.Array], jax.Array]
MomentsFunction = Callable[[jax.Array, jax.Array], jax.Array]  # (mean, logvar) -> what `encode` returns
PixelsFunction = Callable[[jax.Array], jax.Array]  # float pixels -> what `decode` returns


@dataclass(frozen=True)
class ImageVAECodec(Codec):
    """uint8 video (B, T, H, W, C) <-> float32 latents (B, T, H / f, W / f, latents) of about unit variance.

    `encode`, `moments`, `decode` and `pixels` raise UserError for arrays of another shape, and for a video that is
    neither uint8 nor floats.

    Attributes:
      path: Where the weights lie: the run directory of an image VAE, or a file of weights.
      model: The network; latents are scaled by its scaling_factor.
      sample: Whether `encode` draws from the posterior where it has keys, or takes its mean.
      slice_frames: Frames that a device encodes or decodes at a time, 0: all. It changes no result, except that the
        temporal decoder sees no further than its slice, as with diffusers' decode_chunk_size. None: 8, but all at once
        in the temporal decoder.
      tile: Side in latents of the tiles that larger frames are cut into, 0: none. It changes results: group norms and
        the attention in the middle see a tile, not the frame.
      overlap: Latents that neighbouring tiles share at least, over which they are blended.
      dtype: Of activations and products.
    """

    fields_after_moments: ClassVar[tuple[str, ...]] = ('path', 'sample', 'slice_frames')

    path: str | None = None
    model: ImageVAEConfig = ImageVAEConfig()
    sample: bool = False
    slice_frames: Whole | None = None
    tile: Whole = 0
    overlap: Whole = 8
    dtype: Literal['float32', 'bfloat16'] = 'float32'

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tile and self.overlap >= self.tile:
            raise UserError(
                f'config.codec.tile={self.tile}, overlap={self.overlap}: want overlap < tile, or tile=0 for none'
            )

    def latent_shape(self, shape: Shape) -> Shape:
        return self.model.latent_shape(shape)

    def abstract_weights(self) -> Weights:
        _, shapes = _split_network(self.model)
        # The other tree is cached, and must not change with what a caller does to this one.
        copied: Weights = jax.tree.map(lambda leaf: leaf, shapes)
        return copied

    def encode(self, weights: Weights, video_BTHWC: jax.Array, keys_B: jax.Array | None = None) -> jax.Array:
        """Encode a uint8 video, or floats in [-1, 1], to latents.

        keys_B: One for each row, to draw by where `sample` is set; else they are not used.
        """
        if self.sample and keys_B is not None:
            return self.latents_from_moments(self.moments(weights, video_BTHWC), keys_B)

        # Without draws the log variances are not needed: they are dropped before slices and tiles are put together.
        def scale_mean(mean: jax.Array, logvar: jax.Array) -> jax.Array:
            return self.model.scaling_factor * mean

        return self._encode(weights, video_BTHWC, scale_mean)

    def decode(self, weights: Weights, latents_BTHWC: jax.Array) -> jax.Array:
        return self._decode(weights, latents_BTHWC, to_bytes)

    def decode_checked(self, weights: Weights, latents_BTHWC: jax.Array) -> tuple[jax.Array, jax.Array]:
        return split_finite_flag(self._decode(weights, latents_BTHWC, to_bytes_with_finite_flag))

    def moments(self, weights: Weights, video_BTHWC: jax.Array) -> jax.Array:
        """Encode a uint8 video, or floats in [-1, 1], to the moments of the posterior, before they are scaled.

        Means and log variances lie side by side, (B, T, h, w, 2C).
        """

        def concatenate(mean: jax.Array, logvar: jax.Array) -> jax.Array:
            return jnp.concatenate((mean, logvar), -1)

        return self._encode(weights, video_BTHWC, concatenate)

    def latents_from_moments(self, moments: jax.Array, keys_B: jax.Array | None = None) -> jax.Array:
        mean, logvar = jnp.split(moments, 2, -1)
        z = draw(mean, logvar, keys_B) if self.sample and keys_B is not None else mean
        return self.model.scaling_factor * z

    def pixels(self, weights: Weights, latents_BTHWC: jax.Array) -> jax.Array:
        """Decode latents to a float32 video, about [-1, 1], neither rounded nor clipped."""
        return self._decode(weights, latents_BTHWC, lambda video: video)

    def _encode(self, weights: Weights, video_BTHWC: jax.Array, finish: MomentsFunction) -> jax.Array:
        dtype = video_BTHWC.dtype
        _check_shape('a video', video_BTHWC, self.model.in_channels)
        if dtype != jnp.uint8 and not jnp.issubdtype(dtype, jnp.floating):
            raise UserError(f'the image VAE takes a video in uint8, or in floats in [-1, 1], not {dtype}')
        _, frames, height, width, channels = video_BTHWC.shape
        # For its errors: the shape itself follows from the network.
        self.latent_shape((frames, height, width, channels))

        def encode_tile(network: ImageVAE, x: jax.Array) -> jax.Array:
            x = from_bytes(x) if x.dtype == jnp.uint8 else x
            mean, logvar = network.moments(x.astype(self.dtype))
            return finish(mean, logvar)

        def encode(network: ImageVAE, x: jax.Array) -> jax.Array:
            sizes = (self.model.factor, 1)
            return apply_in_tiles(functools.partial(encode_tile, network), x, self.tile, self.overlap, sizes)

        return self._run(encode, weights, video_BTHWC)

    def _decode(self, weights: Weights, latents_BTHWC: jax.Array, finish: PixelsFunction) -> jax.Array:
        _check_shape('latents', latents_BTHWC, self.model.latent_channels)

        def decode_tile(network: ImageVAE, z: jax.Array) -> jax.Array:
            # Unscaled in float32, and only then rounded to the dtype of activations.
            return network.decode((z / self.model.scaling_factor).astype(self.dtype))

        def decode(network: ImageVAE, z: jax.Array) -> jax.Array:
            sizes = (1, self.model.factor)
            video = apply_in_tiles(functools.partial(decode_tile, network), z, self.tile, self.overlap, sizes)
            # Tiles are blended as floats: rounding comes last.
            return finish(video)

        return self._run(decode, weights, latents_BTHWC, self.model.temporal)

    def _run(self, call: NetworkCall, weights: Weights, x_BTHWC: jax.Array, mixes_frames: bool = False) -> jax.Array:
        """Compute call(network, x) in slices, on each device's own rows.

        Where `call` does not mix frames and the mesh splits a clip's frames, each device has frames of its own as well,
        so that nothing is gathered.
        """
        if mixes_frames:
            apply_in_parts = apply_by_clip
            # A temporal decoder sees no further than its slice, so that cutting a clip changes it: only where it is
            # asked for.
            default_count = 0
            mesh_axes: Axes = (BATCH,)
        else:
            apply_in_parts = apply_by_frame
            default_count = DEFAULT_SLICE_FRAMES
            mesh_axes = (BATCH, 'sequence')
        count = default_count if self.slice_frames is None else self.slice_frames

        def run_local(weights: Weights, x: jax.Array) -> jax.Array:
            # The weights are an argument and the network is put together in here, as shard_local passes arrays only.
            graphdef, _ = _split_network(self.model)
            network = nnx.merge(graphdef, weights)
            return apply_in_parts(functools.partial(call, network), x, count)

        # A dimension that the mesh does not divide is replicated.
        axes = tuple(axis if x_BTHWC.shape[i] % axis_size(axis) == 0 else None for i, axis in enumerate(mesh_axes))
        return shard_local(run_local, ((), axes), axes)(weights, x_BTHWC)


def _check_shape(name: str, x_BTHWC: jax.Array, channels: int) -> None:
    """Check that an array has five dimensions, the last of so many channels.

    Raises:
      UserError: It does not.
    """
    if x_BTHWC.ndim != 5 or x_BTHWC.shape[-1] != channels:
        raise UserError(f'the image VAE takes {name} (B, T, H, W, {channels}), found {x_BTHWC.shape}')


@functools.cache
def _split_network(config: ImageVAEConfig) -> tuple[nnx.GraphDef[ImageVAE], Weights]:
    """Return the network without its weights, and their shapes."""
    graphdef, state = nnx.split(nnx.eval_shape(lambda: ImageVAE(config, rngs=nnx.Rngs(0))))
    return graphdef, nnx.to_pure_dict(state)
