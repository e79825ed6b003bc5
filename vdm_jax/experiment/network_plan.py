"""The network of a run: its config filled in, the function that it is, and what a pass through it costs."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx

from vdm_jax.codecs.codec import Codec
from vdm_jax.data.source import Shape
from vdm_jax.diffusion.objective import Objective
from vdm_jax.errors import UserError
from vdm_jax.nn.config import NetworkConfig, NetworkInputs
from vdm_jax.parallel.gather import gather_weights
from vdm_jax.train.state import graphdef_of


@dataclass(frozen=True)
class NetworkPlan:
    """The network of a run; it needs no data and no devices, and nothing of it is computed before it is called.

    Attributes:
      config: Its config, with channels, classes and grid filled in.
      codec: What turns clips into the latents that it works on.
      objective: What it learns to predict.
      clip_shapes: (T, H, W, C) of the clips of each bucket; the first is that of samples.
      images: How many single images stand behind a clip.
    """

    config: NetworkConfig
    codec: Codec
    objective: Objective
    clip_shapes: tuple[Shape, ...]
    images: int = 0

    @property
    def classes(self) -> int:
        """Labels run from 0 to this, which is "no label"; 0 for a network without."""
        assert self.config.classes is not None  # it is filled in
        return self.config.classes

    @property
    def latent_shapes(self) -> tuple[Shape, ...]:
        """(T, H, W, C) of what the network sees of the clips of each bucket."""
        return latent_shapes(self.codec, self.clip_shapes)

    @property
    def latent_shape(self) -> Shape:
        """The same of the clips that samples are like."""
        return self.latent_shapes[0]

    @property
    def inputs(self) -> NetworkInputs:
        """What the network is called with in training, as far as the config says."""
        return NetworkInputs(self.latent_shapes, self.images, self.objective.per_frame, self.objective.context)

    @functools.cached_property
    def context_frames(self) -> int:
        """Frames of a video that the network is conditioned on: all of them where it is an autoencoder."""
        frames, height, width, channels = self.clip_shapes[0]
        if self.config.autoencodes:
            return frames
        if not self.objective.context:
            return 0

        def count_latents(count: int) -> int:
            try:
                return self.codec.latent_shape((count, height, width, channels))[0]
            except UserError:  # a video's codec does not take every number of frames
                return 0

        # A codec may squeeze frames together: the fewest that give as many latents as the network is conditioned on.
        candidates = range(self.objective.context, frames)
        return next((count for count in candidates if count_latents(count) == self.objective.context), 0)

    @functools.cached_property
    def merge(self) -> Callable[[Any], nnx.Module]:
        """params -> the network with them, pure."""
        graphdef = graphdef_of(self.config.build)
        dtype = self.config.dtype
        rules = self.config.sharding_rules

        def merge(params: Any) -> nnx.Module:
            # Layers are gathered one by one as they are computed: all at once would not fit.
            return nnx.merge(graphdef, gather_weights(params, dtype, rules, but='layers'))

        return merge

    @property
    def apply(self) -> Callable[..., jax.Array]:
        """(params, x_t, t, conditions, images) -> output, pure."""
        merge = self.merge

        def apply(params: Any, *inputs: Any) -> jax.Array:
            output: jax.Array = merge(params)(*inputs)  # type: ignore[operator]  # every network is callable
            return output

        return apply

    def flops(self, images: int, bucket: int = 0, text_tokens: int | None = None) -> float:
        """Return the floating-point operations of one forward pass on one clip of a bucket.

        Args:
          images: How many single images stand behind the clip.
          bucket: Of what shape the clip is.
          text_tokens: Length of the text, None for a network that takes none.
        """
        has_frame_times = bool(self.objective.per_frame or self.objective.context)
        shape = self.latent_shapes[bucket][:3]
        # Only networks that attend to text take a length of it.
        text = {} if text_tokens is None else {'text_tokens': text_tokens}
        return self.config.flops(shape, images, has_frame_times, **text)


def latent_shapes(codec: Codec, clip_shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """Return (T, H, W, C) of the latents of clips of each of these shapes."""
    return tuple(map(codec.latent_shape, clip_shapes))


def fill_in(config: NetworkConfig, shapes: tuple[Shape, ...], classes: int) -> NetworkConfig:
    """Return a network's config with what data and codec decide filled in, for the first of the shapes.

    Raises:
      UserError: Clips of one of the shapes do not divide into patches.
    """
    # The other shapes are fitted as well, to be refused where they do not divide into patches.
    filled, *_ = [config.fit_to(shape, classes) for shape in shapes]
    return filled
