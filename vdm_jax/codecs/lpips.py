"""LPIPS, how different two pictures look: distances between features of VGG-16 (Zhang et al. 2018, arXiv:1801.03924).

Pure functions of given weights, {'conv0': {'kernel' (3, 3, I, O), 'bias' (O,)}, …, 'conv12', 'line0': {'kernel' (C,)},
…, 'line4'}; pretrained/lpips.py reads them from the published files. This is version 0.1 with VGG: features after the
last ReLU of each of five levels, of unit length in each place; the squared differences, weighted by channel ('line'),
are averaged over the places and added up over the levels.
"""

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.nn.conv import convolve

WIDTHS = 64, 128, 256, 512, 512  # channels of each level of VGG-16 (Simonyan & Zisserman 2015)
DEPTHS = 2, 2, 3, 3, 3  # and its convolutions
# What takes RGB in [-1, 1] to the mean 0 and variance 1 of ImageNet; published with the weights, to these digits.
SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
SCALE = np.array([0.458, 0.448, 0.450], np.float32)


def abstract(widths: tuple[int, ...] = WIDTHS) -> dict:
    """Shapes and dtypes of the weights of a network with so many channels in each level."""

    def array(*shape):
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    found, before = {}, 3
    for width, depth in zip(widths, DEPTHS, strict=True):
        for _ in range(depth):
            found[f'conv{len(found)}'] = {'kernel': array(3, 3, before, width), 'bias': array(width)}
            before = width
    return found | {f'line{level}': {'kernel': array(width)} for level, width in enumerate(widths)}


def features(weights: dict, x) -> list[jax.Array]:
    """Of pictures (N, H, W, 3) in [-1, 1]: an array (N, H / 2^i, W / 2^i, C) for each level i."""
    x, found, number = (x - expanded(SHIFT)) / expanded(SCALE), [], 0
    for level, depth in enumerate(DEPTHS):
        if level:
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), 'VALID')
        for _ in range(depth):
            layer = weights[f'conv{number}']
            x = convolve(x, layer['kernel'], (1, 1), ((1, 1), (1, 1)))
            x = jax.nn.relu(x + expanded(layer['bias']))
            number += 1
        found.append(x)
    return found


def expanded(values):
    """(C,) -> (1, 1, 1, C)."""
    return values[None, None, None]


def distance(weights: dict, x, y):
    """LPIPS of each picture: x and y (..., H, W, C), floats in [-1, 1] -> (...) float32, 0 where they are
    the same (but for rounding, where a compiler fuses products with differences).

    C is 3, or 1 for grey, which stands for three alike; sides are 16 pixels or more: of smaller pictures the deepest
    features are those of nothing.

    Raises:
      UserError: they are not two such arrays of one shape.
    """
    floats = all(jnp.issubdtype(each.dtype, jnp.floating) for each in (x, y))
    if not floats or x.shape != y.shape or x.ndim < 3 or x.shape[-1] not in (1, 3) or min(x.shape[-3:-1]) < 16:
        raise UserError(
            'LPIPS (config.reconstruction.lpips_weight) takes floats in [-1, 1] of one shape (..., H, W, 3), or 1 for '
            f'grey, of 16x16 pixels or more; found {x.dtype} {x.shape} and {y.dtype} {y.shape}'
        )
    *lead, height, width, channels = x.shape
    pictures = jnp.concatenate([each.reshape(-1, height, width, channels) for each in (x, y)])
    pictures = jnp.broadcast_to(pictures.astype(jnp.float32), (*pictures.shape[:-1], 3))
    total = 0
    for level, feature in enumerate(features(weights, pictures)):
        length = jnp.sqrt(jnp.square(feature).sum(-1, keepdims=True) + 1e-20)
        a, b = jnp.split(feature / (length + 1e-10), 2)
        total += (jnp.square(a - b) @ weights[f'line{level}']['kernel']).mean((1, 2))
    return total.reshape(lead)
