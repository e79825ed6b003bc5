"""I3D of Kinetics-400, the network of the Frechet video distance (Carreira & Zisserman 2017, arXiv:1705.07750).

The feature of a video is its 400 logits, before the softmax, averaged over time, as in FVD (Unterthiner et al. 2018,
arXiv:1812.01717). Batch norms have no scale and an epsilon of 1e-3; they are folded into the convolutions when weights
are read (pretrained/i3d.py). All padding is TensorFlow's SAME but for the last pooling, which has none.
"""

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

CLASSES = 400
ONE = (1, 1, 1)
THREE = (3, 3, 3)
# Layers before the first mixed block: (kernel, stride, channels).
STEM = {
    'Conv3d_1a_7x7': ((7, 7, 7), (2, 2, 2), 64),
    'Conv3d_2b_1x1': (ONE, ONE, 64),
    'Conv3d_2c_3x3': (THREE, ONE, 192),
}
# Channels of a mixed block's convolutions, in the order of BRANCHES.
MIXED = {
    'Mixed_3b': (64, 96, 128, 16, 32, 32),
    'Mixed_3c': (128, 128, 192, 32, 96, 64),
    'Mixed_4b': (192, 96, 208, 16, 48, 64),
    'Mixed_4c': (160, 112, 224, 24, 64, 64),
    'Mixed_4d': (128, 128, 256, 24, 64, 64),
    'Mixed_4e': (112, 144, 288, 32, 64, 64),
    'Mixed_4f': (256, 160, 320, 32, 128, 128),
    'Mixed_5b': (256, 160, 320, 32, 128, 128),
    'Mixed_5c': (384, 192, 384, 48, 128, 128),
}
BRANCHES = (
    ('Branch_0', 'Conv3d_0a_1x1'),
    ('Branch_1', 'Conv3d_0a_1x1'),
    ('Branch_1', 'Conv3d_0b_3x3'),
    ('Branch_2', 'Conv3d_0a_1x1'),
    ('Branch_2', 'Conv3d_0b_3x3'),
    ('Branch_3', 'Conv3d_0b_1x1'),
)
# Max pools by the layer that they follow: (window, stride).
POOLS = {
    'Conv3d_1a_7x7': ((1, 3, 3), (1, 2, 2)),
    'Conv3d_2c_3x3': ((1, 3, 3), (1, 2, 2)),
    'Mixed_3c': (THREE, (2, 2, 2)),
    'Mixed_4f': ((2, 2, 2), (2, 2, 2)),
}
REDUCTION = 32  # of a side, from the frames to the last block


@dataclass(frozen=True)
class I3D(FeatureNetwork):
    """I3D: clips of 9 frames or more to 400 logits, which are its features.

    Attributes:
      resize: How frames become `side` pixels wide: 'tf_legacy' as in the original FVD, 'half_pixel' as in its PyTorch
        ports.
      side: Pixels of a frame's sides after the resize; the last pooling covers all of them, 7x7 positions at 224.
      multiplier: Of all channels but the logits'; the published weights have 1.
      convolution: How convolutions over time are computed; the result is the same.
    """

    name: ClassVar[str] = 'i3d'
    weights: ClassVar[str] = 'i3d'
    # Eight times fewer frames, rounded up, reach the last pooling, which takes two.
    min_frames: ClassVar[int] = 9
    sizes: ClassVar[tuple[str, ...]] = ('multiplier',)

    resize: Resize = 'tf_legacy'
    side: Annotated[int, Between(REDUCTION, 1024)] = 224
    multiplier: Multiplier = 1.0
    convolution: Convolution = 'platform'

    @property
    def width(self) -> int:
        """The 400 logits."""
        return CLASSES

    @property
    def classes(self) -> int:
        """Those of Kinetics-400, in the order of the label map of deepmind/kinetics-i3d."""
        return CLASSES

    def abstract_params(self) -> Params:
        params: Params = {}
        channels = 3
        for name, (kernel, _, size) in STEM.items():
            params[name] = abstract_layer(kernel, channels, self._scale(size))
            channels = self._scale(size)

        for name, sizes in MIXED.items():
            block: Params = {}
            params[name] = block
            outputs = list(map(self._scale, sizes))
            # A branch's second convolution follows its first; all others see the block's input.
            inputs = [channels, channels, outputs[1], channels, outputs[3], channels]
            for (branch, layer), size_in, size_out in zip(BRANCHES, inputs, outputs, strict=True):
                kernel = THREE if layer.endswith('3x3') else ONE
                block.setdefault(branch, {})[layer] = abstract_layer(kernel, size_in, size_out)
            channels = outputs[0] + outputs[2] + outputs[4] + outputs[5]

        params['Logits'] = {'Conv3d_0c_1x1': abstract_layer(ONE, channels, CLASSES)}
        return params

    def compute(self, params: Params, videos: jax.Array) -> Outputs:
        # The published networks resize values of 0..255, before they scale them to [-1, 1].
        x = resize_bilinear(videos, self.side, self.side, self.resize)
        x = x * (2 / 255) - 1
        for name, (_, stride, _) in STEM.items():
            x = _pool_after(name, self._unit(x, params[name], stride))
        for name in MIXED:
            x = _pool_after(name, self._mix(x, params[name]))

        # (B, T', C): the mean over all positions of two neighbouring time steps.
        x = x.mean((2, 3))
        x = (x[:, 1:] + x[:, :-1]) / 2
        layer = params['Logits']['Conv3d_0c_1x1']
        # Averaged over time before the last layer, which is linear.
        logits = x.mean(1) @ layer['kernel'].reshape(layer['kernel'].shape[-2:]) + layer['bias'][None]
        return Outputs(logits, logits)

    def _scale(self, channels: int) -> int:
        return scale_channels(channels, self.multiplier)

    def _unit(self, x: jax.Array, layer: Params, stride: tuple[int, ...] = ONE) -> jax.Array:
        """Return convolution, bias and ReLU."""
        padding = pad_same(x.shape[1:-1], layer['kernel'].shape[:-2], stride)
        return jax.nn.relu(convolve_layer(x, layer, stride, padding, self.convolution))

    def _mix(self, x: jax.Array, block: Params) -> jax.Array:
        """Return a mixed block: four branches, side by side in channels."""
        # The three layers that look at one position each are one product over the same input.
        heads = [block[branch]['Conv3d_0a_1x1'] for branch in ('Branch_0', 'Branch_1', 'Branch_2')]
        joint = {part: jnp.concatenate([head[part] for head in heads], -1) for part in ('kernel', 'bias')}
        sizes = [len(head['bias']) for head in heads]
        y0, y1, y2 = jnp.split(self._unit(x, joint), (sizes[0], sizes[0] + sizes[1]), -1)

        y1 = self._unit(y1, block['Branch_1']['Conv3d_0b_3x3'])
        y2 = self._unit(y2, block['Branch_2']['Conv3d_0b_3x3'])
        pooled = max_pool(x, THREE, ONE, pad_same(x.shape[1:-1], THREE, ONE))
        y3 = self._unit(pooled, block['Branch_3']['Conv3d_0b_1x1'])
        return jnp.concatenate([y0, y1, y2, y3], -1)


def _pool_after(name: str, x: jax.Array) -> jax.Array:
    """Return the max pool that follows a layer, x itself where none does."""
    if name not in POOLS:
        return x
    window, stride = POOLS[name]
    return max_pool(x, window, stride, pad_same(x.shape[1:-1], window, stride))
