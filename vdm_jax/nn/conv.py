"""Convolutions over the frames' rows and columns, or over time as well, and the norm that goes with them."""

from collections.abc import Sequence
from typing import cast

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import Initializer

from vdm_jax.nn.linear import on_cpu

Padding = Sequence[tuple[int, int]]  # before and after each side

# The channels of a kernel come last, so its fans are those of a dense layer over a patch.
scaled = nnx.initializers.variance_scaling(1.0, 'fan_in', 'normal')


class Conv(nnx.Module):
    """y = conv(x) + b over the last dimensions but one: (..., *spatial, I) -> (..., *spatial', O).

    kernel: its sides, two (rows, columns) or three (frames, rows, columns); what stands before the spatial dimensions
    stays apart. stride: of all sides, or of each. padding: zeros put before and after each side, 'SAME' (for stride 1)
    or pairs. Params are float32, compute is in x's dtype.
    """

    def __init__(
        self,
        size_in: int,
        size_out: int,
        kernel: Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: str | Padding = 'SAME',
        init: Initializer = scaled,
        *,
        rngs: nnx.Rngs,
    ):
        self.stride = (stride,) * len(kernel) if isinstance(stride, int) else tuple(stride)
        self.padding = padding if isinstance(padding, str) else tuple((before, after) for before, after in padding)
        self.kernel = nnx.Param(init(rngs.params(), (*kernel, size_in, size_out), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((size_out,), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        rank = len(self.stride)
        # XLA's convolutions have exactly one batch dimension.
        lead = x.shape[: -rank - 1]
        kernel = self.kernel[...].astype(x.dtype)
        x = x.reshape(-1, *x.shape[-rank - 1 :])
        padding: str | Padding = self.padding
        # As numbers, since `by_taps` pads frames by itself.
        if isinstance(padding, str):
            padding = jax.lax.padtype_to_pads(x.shape[1:-1], kernel.shape[:-2], self.stride, padding)
        function = by_taps if rank == 3 and on_cpu() else convolve
        y = function(x, kernel, self.stride, padding)
        y = y + jnp.expand_dims(self.bias[...].astype(x.dtype), range(y.ndim - 1))
        return y.reshape(*lead, *y.shape[1:])


def convolve(x: jax.Array, kernel: jax.Array, stride: Sequence[int], padding: Padding) -> jax.Array:
    """Convolve (N, *spatial, I) with (*sides, I, O) to (N, *spatial', O) in one call of XLA."""
    spatial = 'THW'[3 - len(stride) :]
    return jax.lax.conv_general_dilated(
        x, kernel, stride, padding, dimension_numbers=(f'N{spatial}C', f'{spatial}IO', f'N{spatial}C')
    )


def by_taps(x: jax.Array, kernel: jax.Array, stride: Sequence[int], padding: Padding) -> jax.Array:
    """Do the same for frames, rows and columns, as a sum over the kernel's frames of convolutions of single frames.

    XLA's CPU backend has fast routines for two dimensions alone: forward and back this takes a third to a half of the
    time of `convolve`.
    """
    x = jnp.pad(x, ((0, 0), padding[0], *((0, 0),) * 3))
    count, frames, *frame = x.shape
    last = frames - len(kernel)

    def convolve_tap(tap: int, weights: jax.Array) -> jax.Array:
        # Every output frame's input under this tap of the kernel, as one batch of pictures.
        frames_of_tap = x[:, tap : tap + last + 1 : stride[0]]
        return convolve(frames_of_tap.reshape(-1, *frame), weights, stride[1:], padding[1:])

    y = cast(jax.Array, sum(convolve_tap(tap, weights) for tap, weights in enumerate(kernel)))  # of one tap or more
    return y.reshape(count, last // stride[0] + 1, *y.shape[1:])


class GroupNorm(nnx.Module):
    """Mean 0 and variance 1 over spatial dimensions and the channels of a group, then scale and bias (Wu & He 2018).

    (..., *spatial, C) -> the same; float32 inside. spatial_dims: how many dimensions are normed together, 2 (rows and
    columns, each frame by itself) or 3 (frames as well).
    """

    def __init__(
        self, channels: int, groups: int = 32, epsilon: float = 1e-6, spatial_dims: int = 2, *, rngs: nnx.Rngs
    ):
        if channels % groups:
            raise ValueError(f'{channels} channels do not divide into {groups} groups')
        self.groups = groups
        self.epsilon = epsilon
        self.spatial_dims = spatial_dims
        self.scale = nnx.Param(jnp.ones((channels,), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((channels,), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        x32 = x.astype(jnp.float32)
        # Not by E[x^2] - E[x]^2, whose terms cancel where the mean is large.
        centred = x32 - self._mean(x32)
        normed = centred * jax.lax.rsqrt(self._mean(jnp.square(centred)) + self.epsilon)

        scale, bias = (jnp.expand_dims(each[...], range(x.ndim - 1)) for each in (self.scale, self.bias))
        return (normed * scale + bias).astype(x.dtype)

    def _mean(self, x: jax.Array) -> jax.Array:
        """Return the mean of each channel's group.

        The spatial dimensions come first: a TPU would pad the few channels of a group to 128 lanes.
        """
        mean = x.mean(range(-self.spatial_dims - 1, -1), keepdims=True)
        grouped = mean.reshape(*mean.shape[:-1], self.groups, -1).mean(-1)
        return jnp.repeat(grouped, x.shape[-1] // self.groups, -1)
