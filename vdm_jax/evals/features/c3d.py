"""C3D finetuned on UCF-101, the network of the inception score of videos (Tran et al. 2015, arXiv:1412.0767).

As TGANv2 uses it (Saito et al. 2020, arXiv:1811.09245): 16 frames, BGR, resized with aligned corners, minus a stored
mean clip. The score takes the 101 logits; the features are those of the last hidden layer.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp

from vdm_jax.config.ranges import Between
from vdm_jax.evals.features.layers import (
    Convolution,
    Multiplier,
    Params,
    abstract_layer,
    convolve_layer,
    max_pool,
    pad_same,
    scale_channels,
)
from vdm_jax.evals.features.network import FeatureNetwork, Outputs
from vdm_jax.evals.features.resize import Resize, resize_bilinear

CLASSES = 101
FRAMES = 16
HIDDEN = 4096
# Convolutions and their channels; a max pool follows the last one of each level.
LEVELS = (
    {'conv1a': 64},
    {'conv2a': 128},
    {'conv3a': 256, 'conv3b': 256},
    {'conv4a': 512, 'conv4b': 512},
    {'conv5a': 512, 'conv5b': 512},
)
# A window, and the stride of as many; the first pool leaves frames apart.
POOLS = ((1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))


@dataclass(frozen=True)
class C3D(FeatureNetwork):
    """C3D: clips of 16 frames to 4,096 features and 101 logits.

    Attributes:
      resize: How frames become `side` pixels wide.
      side: Pixels of a frame's sides after the resize; the published weights have 112.
      multiplier: Of all channels but the logits'; the published weights have 1.
      convolution: How convolutions over time are computed; the result is the same.
    """

    name: ClassVar[str] = 'c3d'
    weights: ClassVar[str] = 'c3d'
    min_frames: ClassVar[int] = FRAMES
    max_frames: ClassVar[int | None] = FRAMES
    sizes: ClassVar[tuple[str, ...]] = ('multiplier', 'side')

    resize: Resize = 'align_corners'
    side: Annotated[int, Between(1, 1024)] = 112
    multiplier: Multiplier = 1.0
    convolution: Convolution = 'platform'

    @property
    def width(self) -> int:
        """Hidden units of the last layer but one, after its ReLU."""
        return self._scale(HIDDEN)

    @property
    def classes(self) -> int:
        """Those of UCF-101."""
        return CLASSES

    def abstract_params(self) -> Params:
        params: Params = {'mean': jax.ShapeDtypeStruct((FRAMES, self.side, self.side, 3), jnp.float32)}
        channels = 3
        for level in LEVELS:
            for name, size in level.items():
                params[name] = abstract_layer((3, 3, 3), channels, self._scale(size))
                channels = self._scale(size)
        side = self.side
        for _ in POOLS:
            side = math.ceil(side / 2)
        params['fc6'] = abstract_layer((), channels * side**2, self.width)
        params['fc7'] = abstract_layer((), self.width, self.width)
        params['fc8'] = abstract_layer((), self.width, CLASSES)
        return params

    def compute(self, params: Params, videos: jax.Array) -> Outputs:
        x = resize_bilinear(videos[..., ::-1], self.side, self.side, self.resize)
        x = x - params['mean'][None]
        for level, window in zip(LEVELS, POOLS, strict=True):
            for name in level:
                x = jax.nn.relu(convolve_layer(x, params[name], (1, 1, 1), ((1, 1),) * 3, self.convolution))
            # A window that reaches over the border counts, as in the published code: padding goes behind.
            padding = pad_same(x.shape[1:-1], window, window)
            x = max_pool(x, window, window, padding)

        # One time step is left; the published weights have the channels first.
        x = jnp.moveaxis(x, -1, 1).reshape(len(x), -1)
        for name in ('fc6', 'fc7'):
            x = jax.nn.relu(x @ params[name]['kernel'] + params[name]['bias'][None])
        return Outputs(x, x @ params['fc8']['kernel'] + params['fc8']['bias'][None])

    def _scale(self, channels: int) -> int:
        return scale_channels(channels, self.multiplier)
