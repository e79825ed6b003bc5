"""A stack of equal layers: parameters always stored stacked, applied by lax.scan or sliced inside jit.

The only lifted transform of the package. How a stack is applied changes no parameter, and so no checkpoint, no sharding
rule, no optimizer mask and no fingerprint.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.nn.remat import Index, Layer, rematerialise
from vdm_jax.parallel.gather import gather_weights
from vdm_jax.parallel.rules import Rules

Module = TypeVar('Module', bound=nnx.Module)


def stack_layers(make: Callable[..., Module], depth: int, rngs: nnx.Rngs) -> Module:
    """Make `depth` independently initialised layers, make(rngs=…), as one module.

    Every parameter of it has a leading axis (depth, ...).
    """
    layers: Module = nnx.vmap(lambda rngs: make(rngs=rngs))(rngs.split(depth))
    return layers


def apply(
    layers: Layer,
    x: jax.Array,
    call: Callable[[Layer, jax.Array, Index], jax.Array],
    scan: bool,
    remat: str = 'none',
    rules: Rules = (),
) -> jax.Array:
    """Run x through stacked layers: call(layer, x, index) -> x, for each layer in turn.

    Args:
      layers: what `stack_layers` made, or a tuple of such stacks of one depth; `layer` is then a tuple of their layers.
      x: the carried activation; `call` keeps its shape and dtype.
      call: applies one layer; `index` is its number, an int32 scalar (traced when scanned, a Python int when not).
      scan: True compiles one layer and loops; False slices the stack inside jit (on CPU about twice as fast).
      remat: what of a layer is kept for the backward pass, a name of nn.remat.POLICIES.
      rules: how the layers' weights are split over fsdp, NetworkConfig.sharding_rules; they are gathered by these.
    """

    def gather_and_call(layer: Layer, x: jax.Array, index: Index) -> jax.Array:
        # Inside the loop, so that only one layer's weights are whole at a time.
        return call(gather_weights(layer, x.dtype, rules), x, index)

    step = rematerialise(gather_and_call, remat)
    depth = jax.tree.leaves(layers)[0].shape[0]
    if scan:

        def body(x: jax.Array, layer_index: tuple[Layer, jax.Array]) -> tuple[jax.Array, None]:
            return (step(layer_index[0], x, layer_index[1]), None)

        return jax.lax.scan(body, x, (layers, jnp.arange(depth)))[0]

    # By lax.split, not by indexing: its gradient is one concatenation instead of `depth` additions of padded arrays.
    columns, structure = jax.tree.flatten(layers)
    columns = [jax.lax.split(column, (1,) * depth) for column in columns]
    for index in range(depth):
        leaves = [jnp.squeeze(column[index], 0) for column in columns]
        x = step(jax.tree.unflatten(structure, leaves), x, index)
    return x
