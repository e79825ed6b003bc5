"""Convolutions over the frames' rows and columns, or over time as well, and the norm that goes with them."""

import jax
import jax.numpy as jnp
from flax import nnx

# The channels of a kernel come last, so its fans are those of a dense layer over a patch.
scaled = nnx.initializers.variance_scaling(1.0, 'fan_in', 'normal')


class Conv(nnx.Module):
    """y = conv(x) + b over the last dimensions but one: (..., *places, I) -> (..., *places', O).

    kernel: its sides, two (rows, columns) or three (frames, rows, columns); whatever stands before the places stays
    apart. stride: of all sides, or of each. padding: zeros put before and after each side, 'SAME' (for stride 1) or
    pairs. Params are float32, compute is in x's dtype.
    """

    def __init__(self, size_in: int, size_out: int, kernel, stride=1, padding='SAME', init=scaled, *, rngs: nnx.Rngs):
        self.stride = (stride,) * len(kernel) if isinstance(stride, int) else tuple(stride)
        self.padding = padding if isinstance(padding, str) else tuple(map(tuple, padding))
        self.kernel = nnx.Param(init(rngs.params(), (*kernel, size_in, size_out), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((size_out,), jnp.float32))

    def __call__(self, x):
        rank = len(self.stride)
        lead, places = x.shape[: -rank - 1], 'THW'[-rank:]
        y = jax.lax.conv_general_dilated(
            x.reshape(-1, *x.shape[-rank - 1 :]),
            self.kernel[...].astype(x.dtype),
            self.stride,
            self.padding,
            dimension_numbers=(f'N{places}C', f'{places}IO', f'N{places}C'),
        )
        y = y + jnp.expand_dims(self.bias[...].astype(x.dtype), range(y.ndim - 1))
        return y.reshape(*lead, *y.shape[1:])


class GroupNorm(nnx.Module):
    """Mean 0 and variance 1 over the places and the channels of a group, then scale and bias (Wu & He 2018).

    (..., *places, C) -> the same; float32 inside. places: how many dimensions are normed together, 2 (rows and columns,
    each frame by itself) or 3 (frames as well).
    """

    def __init__(self, channels: int, groups: int = 32, epsilon: float = 1e-6, places: int = 2, *, rngs: nnx.Rngs):
        if channels % groups:
            raise ValueError(f'{channels} channels do not divide into {groups} groups')
        self.groups, self.epsilon, self.places = groups, epsilon, places
        self.scale = nnx.Param(jnp.ones((channels,), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((channels,), jnp.float32))

    def __call__(self, x):
        x32 = x.astype(jnp.float32)
        centred = x32 - self._mean(x32)
        normed = centred * jax.lax.rsqrt(self._mean(jnp.square(centred)) + self.epsilon)
        scale, bias = (jnp.expand_dims(each[...], range(x.ndim - 1)) for each in (self.scale, self.bias))
        return (normed * scale + bias).astype(x.dtype)

    def _mean(self, x):
        """Of each channel's group. The places come first: a TPU would pad the few channels of a group to 128 lanes."""
        mean = x.mean(range(-self.places - 1, -1), keepdims=True)
        grouped = mean.reshape(*mean.shape[:-1], self.groups, -1).mean(-1)
        return jnp.repeat(grouped, x.shape[-1] // self.groups, -1)
