"""What every network of features answers: what it takes, how wide its features are, whose weights it wants."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, Self

import jax
import jax.numpy as jnp

from vdm_jax.config.ranges import Ranged
from vdm_jax.errors import UserError
from vdm_jax.evals.features.layers import Params, init_params

Precision = Literal['highest', 'default']


class Outputs(NamedTuple):
    """What a network makes of videos, a row for each clip; of a network of frames for each frame, clip by clip.

    Attributes:
      features: float32 (N, D).
      logits: Of its classes, before the softmax, float32 (N, K).
    """

    features: jax.Array
    logits: jax.Array


@dataclass(frozen=True)
class FeatureProgram:
    """What a protocol runs on the devices for each batch of samples.

    Attributes:
      network: Whose features.
      frames: Of each sample, those that it looks at.
      with_probabilities: Whether the probabilities of the network's classes are wanted, too.
    """

    network: 'FeatureNetwork'
    frames: int
    with_probabilities: bool = False


@dataclass(frozen=True)
class FeatureNetwork(Ranged, where='features'):
    """A network of features, as a config: its functions are pure, of parameters and videos.

    name: What tables and protocols call it.
    weights: The name in pretrained.SOURCES of those who publish its weights.
    min_frames, max_frames: Of a clip; None for any number.
    takes_frames: Whether it looks at each frame by itself.
    sizes: Attributes that the weights decide.

    Attributes:
      precision: Of products in convolutions: 'highest' is float32, 'default' what the hardware is fastest at (TF32 on
        GPUs, bfloat16 on TPUs), which moves scores.
    """

    name: ClassVar[str]
    weights: ClassVar[str]
    min_frames: ClassVar[int] = 1
    max_frames: ClassVar[int | None] = None
    takes_frames: ClassVar[bool] = False
    sizes: ClassVar[tuple[str, ...]] = ()

    precision: Precision = 'highest'

    @property
    @abstractmethod
    def width(self) -> int:
        """The width D of its features."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """The number K of its classes."""

    @abstractmethod
    def abstract_params(self) -> Params:
        """Return the shapes and dtypes of its parameters."""

    @abstractmethod
    def compute(self, params: Params, videos: jax.Array) -> Outputs:
        """Return the outputs for float32 videos (B, T, H, W, 3) in 0..255, of a number of frames that it takes."""

    def with_sizes_of(self, stored: Self) -> Self:
        """Return the same network in the size of one that weights are of."""
        return replace(self, **{name: getattr(stored, name) for name in self.sizes})

    def init(self, key: jax.Array) -> Params:
        """Return random parameters."""
        params: Params = init_params(self.abstract_params(), key)
        return params

    def rows_per_clip(self, frames: int) -> int:
        """Count the rows of features of a clip of so many frames."""
        return frames if self.takes_frames else 1

    def outputs(self, params: Params, videos: jax.Array) -> Outputs:
        """Return features and logits of videos.

        Args:
          params: As `abstract_params` describes them.
          videos: uint8, or floats in 0..255, (B, T, H, W, C); C is 3, or 1 for grey, which becomes three equal ones.

        Raises:
          UserError: they have another shape or dtype, or a number of frames that the network does not take.
        """
        self.check_shape(videos.shape)
        if videos.dtype != jnp.uint8 and not jnp.issubdtype(videos.dtype, jnp.floating):
            raise UserError(f'{self.name} takes videos of uint8, or of floats in 0..255; found {videos.dtype}')
        videos = videos.astype(jnp.float32)
        videos = jnp.broadcast_to(videos, (*videos.shape[:-1], 3))
        # It holds for every product that is traced in here.
        with jax.default_matmul_precision(self.precision):
            return self.compute(params, videos)

    def apply(self, params: Params, videos: jax.Array) -> jax.Array:
        """Return the features of videos: float32 (N, D); see `outputs`."""
        return self.outputs(params, videos).features

    def probabilities(self, params: Params, videos: jax.Array) -> jax.Array:
        """Return the probabilities of the classes: float32 (N, K), rows of sum 1; see `outputs`."""
        return jax.nn.softmax(self.outputs(params, videos).logits)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Check that videos of this shape can be looked at.

        Raises:
          UserError: they are no videos (B, T, H, W, C) of 1 or 3 channels, or have too few or too many frames.
        """
        if len(shape) != 5 or shape[-1] not in (1, 3) or 0 in shape[1:]:
            raise UserError(f'{self.name} takes videos (B, T, H, W, C) with 3 channels, or 1 for grey; found {shape}')
        frames = shape[1]
        if self.max_frames == self.min_frames != frames:
            raise UserError(f'{self.name} takes clips of {self.min_frames} frames; found {frames}')
        if frames < self.min_frames:
            raise UserError(f'{self.name} needs clips of {self.min_frames} frames or more; found {frames}')
        if self.max_frames is not None and frames > self.max_frames:
            raise UserError(f'{self.name} takes clips of {self.max_frames} frames or fewer; found {frames}')
