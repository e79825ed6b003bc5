"""LPIPS, how different two pictures look: distances between features of VGG-16 (Zhang et al. 2018, arXiv:1801.03924).

Pure functions of weights {'conv0': {'kernel' (3, 3, I, O), 'bias' (O,)}, …, 'conv12', 'line0': {'kernel' (C,)}, …,
'line4'}, which pretrained/lpips.py reads from the published files. This is version 0.1 with VGG: the features after the
last ReLU of each of five levels, scaled to unit length at each position; their squared differences, weighted by channel
('line'), are averaged over positions and summed over levels.
"""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.codecs.codec import Weights
from vdm_jax.errors import UserError
from vdm_jax.nn.conv import convolve

WIDTHS = 64, 128, 256, 512, 512  # channels of each level of VGG-16 (Simonyan & Zisserman 2015)
DEPTHS = 2, 2, 3, 3, 3  # convolutions of each level
# (RGB in [-1, 1] - SHIFT) / SCALE has mean 0 and variance 1 on ImageNet; published with the weights, to these digits.
SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
SCALE = np.array([0.458, 0.448, 0.450], np.float32)


def abstract_weights(widths: tuple[int, ...] = WIDTHS) -> Weights:
    """Return the shapes and dtypes of the weights of a network with so many channels in each level."""

    def array(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    shapes: Weights = {}
    channels = 3
    for width, depth in zip(widths, DEPTHS, strict=True):
        for _ in range(depth):
            shapes[f'conv{len(shapes)}'] = {'kernel': array(3, 3, channels, width), 'bias': array(width)}
            channels = width
    for level, width in enumerate(widths):
        shapes[f'line{level}'] = {'kernel': array(width)}
    return shapes


def extract_features(weights: Weights, x: jax.Array) -> list[jax.Array]:
    """Return the features of pictures (N, H, W, 3) in [-1, 1]: an array (N, H / 2^i, W / 2^i, C) for each level i."""
    x = (x - _as_channels(SHIFT)) / _as_channels(SCALE)
    features = []
    number = 0
    for level, depth in enumerate(DEPTHS):
        if level:
            # Levels begin after the pooling, so that features are taken before it.
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), 'VALID')
        for _ in range(depth):
            layer = weights[f'conv{number}']
            x = convolve(x, layer['kernel'], (1, 1), ((1, 1), (1, 1)))
            x = jax.nn.relu(x + _as_channels(layer['bias']))
            number += 1
        features.append(x)
    return features


def distance(weights: Weights, x: jax.Array, y: jax.Array) -> jax.Array:
    """Compute LPIPS of each pair of pictures: x and y (…, H, W, C), floats in [-1, 1] -> (…) float32.

    It is 0 where they are the same, but for rounding, where a compiler fuses products with differences. C is 3, or 1
    for grey, which stands for three equal channels. Sides are 16 pixels or more: smaller pictures have no deepest
    features.

    Raises:
      UserError: They are not two such arrays of one shape.
    """
    floats = all(jnp.issubdtype(each.dtype, jnp.floating) for each in (x, y))
    if not floats or x.shape != y.shape or x.ndim < 3 or x.shape[-1] not in (1, 3) or min(x.shape[-3:-1]) < 16:
        raise UserError(
            'LPIPS (config.reconstruction.lpips_weight) takes floats in [-1, 1] of one shape (..., H, W, 3), or 1 for '
            f'grey, of 16x16 pixels or more; found {x.dtype} {x.shape} and {y.dtype} {y.shape}'
        )
    # Both pictures go through the network in one batch; a grey one stands for three equal channels.
    *lead, height, width, channels = x.shape
    pictures = jnp.concatenate([each.reshape(-1, height, width, channels) for each in (x, y)])
    pictures = jnp.broadcast_to(pictures.astype(jnp.float32), (*pictures.shape[:-1], 3))

    distances = []
    for level, features in enumerate(extract_features(weights, pictures)):
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
