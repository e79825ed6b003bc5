"""A network of features that compiles in no time, to try what is around networks on."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from vdm_jax.evals.features.layers import Params, abstract_layer
from vdm_jax.evals.features.network import FeatureNetwork, Outputs


@dataclass(frozen=True)
class Colours(FeatureNetwork):
    """The means of a clip's colours, and three mixes of them."""

    name: ClassVar[str] = 'colours'
    weights: ClassVar[str] = ''
    min_frames: ClassVar[int] = 2

    @property
    def width(self) -> int:
        return 3

    @property
    def classes(self) -> int:
        return 4

    def abstract_params(self) -> Params:
        return {'mix': abstract_layer((), 3, 3), 'classes': abstract_layer((), 3, 4)}

    def compute(self, params: Params, videos: jax.Array) -> Outputs:
        means = self.reduce(videos) / 255
        features = means @ params['mix']['kernel'] + params['mix']['bias'][None]
        return Outputs(features, features @ params['classes']['kernel'] + params['classes']['bias'][None])

    def reduce(self, videos: jax.Array) -> jax.Array:
        # Weighted by position, so that no two clips look the same.
        weights = jnp.linspace(0, 1, videos.shape[1] * videos.shape[2] * videos.shape[3])
        weights = weights.reshape(1, *videos.shape[1:4], 1)
        return (videos * weights).mean((1, 2, 3))


@dataclass(frozen=True)
class FrameColours(Colours):
    """The same of each frame."""

    name: ClassVar[str] = 'frame colours'
    takes_frames: ClassVar[bool] = True
    min_frames: ClassVar[int] = 1

    def reduce(self, videos: jax.Array) -> jax.Array:
        return super().reduce(videos.reshape(-1, 1, *videos.shape[2:]))
