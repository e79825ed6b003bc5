"""Layers of convolutional networks whose weights are others': pure functions, channels last, norms folded away.

A layer's parameters are {'kernel' (*sides, I, O), 'bias' (O,)}. Paddings are pairs (before, after) for each spatial
dimension.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.config.ranges import Between
from vdm_jax.nn.conv import by_taps, convolve
from vdm_jax.nn.linear import on_cpu

Params = dict[str, Any]
Padding = tuple[tuple[int, int], ...]
Multiplier = Annotated[float, Between(1 / 64, 1)]
# How convolutions over frames, rows and columns are computed: 'direct' is XLA's own, 'frames' a few convolutions of
# single frames, 'platform' is 'frames' on CPU, whose backend has fast routines for two dimensions alone, and else
# 'direct'. The results are the same but for rounding.
Convolution = Literal['platform', 'direct', 'frames']
# Channels of all frames under the kernel up to which these are convolved as one picture of so many channels.
MOST_STACKED = 32


def pad_same(sizes: Sequence[int], window: Sequence[int], stride: Sequence[int]) -> Padding:
    """Return TensorFlow's SAME padding: ceil(size / stride) outputs, and an odd pixel of padding goes behind."""
    padding = []
    for size, side, step in zip(sizes, window, stride, strict=True):
        total = max((math.ceil(size / step) - 1) * step + side - size, 0)
        padding.append((total // 2, total - total // 2))
    return tuple(padding)


def convolve_layer(
    x: jax.Array, layer: Params, stride: Sequence[int], padding: Padding, convolution: Convolution = 'platform'
) -> jax.Array:
    """Return the convolution of x (N, *spatial, I) plus bias: (N, *spatial', O), of two or three spatial dimensions."""
    kernel: jax.Array = layer['kernel']
    # XLA's own are the fastest for kernels of one position, which are products of matrices.
    is_wide = math.prod(kernel.shape[:-2]) > 1
    is_by_frames = convolution == 'frames' or (convolution == 'platform' and on_cpu())
    if not (is_by_frames and is_wide and len(stride) == 3):
        y = convolve(x, kernel, stride, padding)
    elif kernel.shape[0] * kernel.shape[-2] <= MOST_STACKED:
        y = _convolve_stacked(x, kernel, stride, padding)
    elif kernel.shape[0] == 3 and stride[0] == 1:
        y = _convolve_pairs(x, kernel, padding, stride[1:])
    else:
        y = by_taps(x, kernel, stride, padding)
    y = y + jnp.expand_dims(layer['bias'], range(y.ndim - 1))
    return y


def _convolve_stacked(x: jax.Array, kernel: jax.Array, stride: Sequence[int], padding: Padding) -> jax.Array:
    """Convolve in three dimensions, with the frames under the kernel as channels of one picture.

    Of few channels, where a convolution for each frame of the kernel would have little to multiply.
    """
    x = jnp.pad(x, ((0, 0), padding[0], *((0, 0),) * 3))
    taps = kernel.shape[0]
    last = x.shape[1] - taps
    stacked = jnp.concatenate([x[:, tap : tap + last + 1 : stride[0]] for tap in range(taps)], -1)
    # (T, H, W, I, O) -> (H, W, T I, O), in the order of the stack.
    kernel = jnp.moveaxis(kernel, 0, 2)
    kernel = kernel.reshape(*kernel.shape[:2], -1, kernel.shape[-1])
    y = convolve(stacked.reshape(-1, *stacked.shape[2:]), kernel, stride[1:], padding[1:])
    return y.reshape(*stacked.shape[:2], *y.shape[1:])


def _convolve_pairs(x: jax.Array, kernel: jax.Array, padding: Padding, frame_stride: Sequence[int]) -> jax.Array:
    """Convolve with three frames, stride 1: four convolutions of single frames for every two frames that come out.

    One for each frame of the kernel would be six. This is F(2, 3) over time (Winograd 1980; Lavin & Gray 2016,
    arXiv:1509.09308, section 4), whose factors of 1 and 1/2 leave float32 as exact as it was.
    """
    frames = x.shape[1] + sum(padding[0]) - 2
    is_odd = frames % 2
    # A frame more, whose output is dropped.
    x = jnp.pad(x, ((0, 0), (padding[0][0], padding[0][1] + is_odd), *((0, 0),) * 3))
    x0, x1, x2, x3 = (x[:, first : first + frames + is_odd - 1 : 2] for first in range(4))
    outer = kernel[0] + kernel[2]
    inputs = (x0 - x2, x1 + x2, x2 - x1, x1 - x3)
    kernels = (kernel[0], (outer + kernel[1]) / 2, (outer - kernel[1]) / 2, kernel[2])

    def convolve_frames(x: jax.Array, kernel: jax.Array) -> jax.Array:
        y = convolve(x.reshape(-1, *x.shape[2:]), kernel, frame_stride, padding[1:])
        return y.reshape(*x.shape[:2], *y.shape[1:])

    y0, y1, y2, y3 = map(convolve_frames, inputs, kernels)
    y = jnp.stack([y0 + y1 + y2, y1 - y2 - y3], 2)
    return y.reshape(len(x), -1, *y.shape[3:])[:, :frames]


def max_pool(x: jax.Array, window: Sequence[int], stride: Sequence[int], padding: Padding) -> jax.Array:
    """Return the greatest value under each window of x (N, *spatial, C); padding never is."""
    # One dimension at a time gives the same in a tenth to a third of the time of XLA's CPU backend.
    for axis, (side, step, pads) in enumerate(zip(window, stride, padding, strict=True), start=1):
        if side == step == 1:
            continue
        sides = [1] * x.ndim
        steps = [1] * x.ndim
        around = [(0, 0)] * x.ndim
        sides[axis] = side
        steps[axis] = step
        around[axis] = pads
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, sides, steps, around)
    return x


def mean_pool(x: jax.Array, side: int) -> jax.Array:
    """Return the mean of the pixels of x (N, H, W, C) under a centred window of odd side, stride 1.

    Padding is not counted: at a border the mean is over what is there.
    """
    counts = np.ones((1, *x.shape[1:3], 1), np.float32)
    for axis in (1, 2):
        sides = [1] * x.ndim
        around = [(0, 0)] * x.ndim
        sides[axis] = side
        around[axis] = (side // 2, side // 2)
        x = jax.lax.reduce_window(x, 0.0, jax.lax.add, sides, (1,) * x.ndim, around)
        reach = np.arange(counts.shape[axis])
        number = np.minimum(reach + side // 2, len(reach) - 1) - np.maximum(reach - side // 2, 0) + 1
        counts = counts * number.reshape([-1 if each == axis else 1 for each in range(4)])
    return x / jnp.asarray(counts, x.dtype)


def scale_channels(channels: int, multiplier: float) -> int:
    """Return the channels of a layer of a network that is narrower than the published one by `multiplier`."""
    return max(1, round(channels * multiplier))


def abstract_layer(kernel: Sequence[int], size_in: int, size_out: int) -> Params:
    """Return the shapes and dtypes of a layer's parameters."""
    return {
        'kernel': jax.ShapeDtypeStruct((*kernel, size_in, size_out), jnp.float32),
        'bias': jax.ShapeDtypeStruct((size_out,), jnp.float32),
    }


def init_params(abstract: Any, key: jax.Array) -> Any:
    """Return random parameters of these shapes, of sizes that keep features alive through ReLUs (He et al. 2015)."""
    leaves, structure = jax.tree.flatten(abstract)
    ends = list(itertools.accumulate(leaf.size for leaf in leaves))

    def draw(key: jax.Array) -> Any:
        # In one draw: one for each of a hundred leaves takes XLA seconds to compile.
        noise = jax.random.normal(key, (ends[-1],), jnp.float32)
        return jax.tree.unflatten(structure, [scale(noise, leaf, end) for leaf, end in zip(leaves, ends, strict=True)])

    def scale(noise: jax.Array, leaf: jax.ShapeDtypeStruct, end: int) -> jax.Array:
        # A bias has one dimension; of a kernel all but the last are summed over.
        factor = math.sqrt(2 / math.prod(leaf.shape[:-1])) if len(leaf.shape) > 1 else 0.1
        return factor * noise[end - leaf.size : end].reshape(leaf.shape)

    return jax.jit(draw)(key)
