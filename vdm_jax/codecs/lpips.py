"""LPIPS, how different two pictures look: distances between features of VGG-16 or AlexNet (arXiv:1801.03924).

Pure functions of weights {'conv0': {'kernel' (h, w, I, O), 'bias' (O,)}, 'conv1', …, 'line0': {'kernel' (C,)}, …,
'line4'}, which pretrained/lpips.py reads from the published files. This is version 0.1: the features after the last
ReLU of each of five levels, scaled to unit length at each position; their squared differences, weighted by channel
('line'), are averaged over positions and summed over levels. Losses use VGG-16; most papers' scores are AlexNet's.
"""

from dataclasses import dataclass
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.codecs.codec import Weights
from vdm_jax.errors import UserError
from vdm_jax.nn.conv import convolve

# (RGB in [-1, 1] - SHIFT) / SCALE has mean 0 and variance 1 on ImageNet; published with the weights, to these digits.
SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
SCALE = np.array([0.458, 0.448, 0.450], np.float32)


@dataclass(frozen=True)
class Convolution:
    """A convolution of square windows.

    Attributes:
      side: Of a window, in positions.
      stride: From one window to the next.
      padding: Positions of zeros at each border.
    """

    side: int = 3
    stride: int = 1
    padding: int = 1


@dataclass(frozen=True)
class Backbone:
    """A classifier whose features are compared, in levels.

    Attributes:
      name: Of the network.
      widths: Channels of each level.
      levels: The convolutions of each level, each followed by a ReLU.
      pooled: Levels that begin with a pooling.
      pooling: Side of the windows of a pooling; its stride is 2.
      smallest: Least side of a picture that has features of every level.
    """

    name: str
    widths: tuple[int, ...]
    levels: tuple[tuple[Convolution, ...], ...]
    pooled: tuple[int, ...]
    pooling: int
    smallest: int


# Simonyan & Zisserman 2015, table 1, D.
VGG16 = Backbone(
    'vgg16',
    widths=(64, 128, 256, 512, 512),
    levels=tuple((Convolution(),) * depth for depth in (2, 2, 3, 3, 3)),
    pooled=(1, 2, 3, 4),
    pooling=2,
    smallest=16,
)
# Krizhevsky 2014, "One weird trick", as torchvision has it.
ALEXNET = Backbone(
    'alexnet',
    widths=(64, 192, 384, 256, 256),
    levels=((Convolution(11, 4, 2),), (Convolution(5, 1, 2),), (Convolution(),), (Convolution(),), (Convolution(),)),
    pooled=(1, 2),
    pooling=3,
    smallest=31,
)


def abstract_weights(backbone: Backbone = VGG16) -> Weights:
    """Return the shapes and dtypes of the weights of a network."""

    def array(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    shapes: Weights = {}
    channels = 3
    for width, convolutions in zip(backbone.widths, backbone.levels, strict=True):
        for each in convolutions:
            kernel = array(each.side, each.side, channels, width)
            shapes[f'conv{len(shapes)}'] = {'kernel': kernel, 'bias': array(width)}
            channels = width
    for level, width in enumerate(backbone.widths):
        shapes[f'line{level}'] = {'kernel': array(width)}
    return shapes


def extract_features(weights: Weights, x: jax.Array, backbone: Backbone = VGG16) -> list[jax.Array]:
    """Return the features of pictures (N, H, W, 3) in [-1, 1]: an array (N, h, w, C) for each level."""
    x = (x - _as_channels(SHIFT)) / _as_channels(SCALE)
    window = (1, backbone.pooling, backbone.pooling, 1)
    features = []
    number = 0
    for level, convolutions in enumerate(backbone.levels):
        # Levels begin with the pooling, so that features are taken before it.
        if level in backbone.pooled:
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, (1, 2, 2, 1), 'VALID')
        for each in convolutions:
            layer = weights[f'conv{number}']
            border = (each.padding, each.padding)
            x = convolve(x, layer['kernel'], (each.stride, each.stride), (border, border))
            x = jax.nn.relu(x + _as_channels(layer['bias']))
            number += 1
        features.append(x)
    return features


def distance(weights: Weights, x: jax.Array, y: jax.Array, backbone: Backbone = VGG16) -> jax.Array:
    """Compute LPIPS of each pair of pictures: x and y (…, H, W, C), floats in [-1, 1] -> (…) float32.

    It is 0 where they are the same, but for rounding, where a compiler fuses products with differences. C is 3, or 1
    for grey, which stands for three equal channels. Sides are 16 pixels or more (31 of AlexNet): smaller pictures have
    no deepest features.

    Raises:
      UserError: They are not two such arrays of one shape.
    """
    floats = all(jnp.issubdtype(each.dtype, jnp.floating) for each in (x, y))
    least = backbone.smallest
    if not floats or x.shape != y.shape or x.ndim < 3 or x.shape[-1] not in (1, 3) or min(x.shape[-3:-1]) < least:
        raise UserError(
            'LPIPS (config.reconstruction.lpips_weight) takes floats in [-1, 1] of one shape (..., H, W, 3), or 1 for '
            f'grey, of {least}x{least} pixels or more; found {x.dtype} {x.shape} and {y.dtype} {y.shape}'
        )
    # Both pictures go through the network in one batch; a grey one stands for three equal channels.
    *lead, height, width, channels = x.shape
    pictures = jnp.concatenate([each.reshape(-1, height, width, channels) for each in (x, y)])
    pictures = jnp.broadcast_to(pictures.astype(jnp.float32), (*pictures.shape[:-1], 3))

    distances = []
    for level, features in enumerate(extract_features(weights, pictures, backbone)):
        # The square root is kept off 0, where its gradient is infinite.
        length = jnp.sqrt(jnp.square(features).sum(-1, keepdims=True) + 1e-20)
        # The published code's own epsilon, 1e-10.
        x_unit, y_unit = jnp.split(features / (length + 1e-10), 2)
        distances.append((jnp.square(x_unit - y_unit) @ weights[f'line{level}']['kernel']).mean((1, 2)))
    total = cast(jax.Array, sum(distances))
    return total.reshape(lead)


def _as_channels(values: np.ndarray | jax.Array) -> np.ndarray | jax.Array:
    """Reshape (C,) to (1, 1, 1, C)."""
    return values[None, None, None]
