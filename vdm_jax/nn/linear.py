"""A dense layer that follows the dtype of its input and is flattened to 2-D where that is free."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn.initializers import Initializer

from vdm_jax.parallel.mesh import platform
from vdm_jax.parallel.sharding import is_split

xavier = nnx.initializers.xavier_uniform()
zeros = nnx.initializers.zeros_init()
normal_002 = nnx.initializers.normal(0.02)


class Linear(nnx.Module):
    """y = x W + b over the last dimension: (..., I) -> (..., O). Params are float32, compute is in x's dtype."""

    def __init__(self, size_in: int, size_out: int, init: Initializer = xavier, *, rngs: nnx.Rngs):
        self.kernel = nnx.Param(init(rngs.params(), (size_in, size_out), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((size_out,), jnp.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...].astype(x.dtype)
        bias = self.bias[...].astype(x.dtype)
        if is_split():
            # Left in their dimensions: merging those that a mesh splits makes the partitioner gather.
            y = jnp.matmul(x, kernel)
        else:
            # XLA's CPU backend takes a 2-D matmul, and above all its weight gradient, twice as fast as a 3-D one.
            y = jnp.matmul(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], kernel.shape[-1])
        return y + jnp.expand_dims(bias, tuple(range(x.ndim - 1)))


def on_cpu() -> bool:
    """Return whether code is compiled for the CPU; decided once at trace time."""
    return platform() == 'cpu'
