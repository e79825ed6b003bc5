"""A stack of equal layers: parameters always stored stacked, applied by lax.scan or sliced inside jit.

The only lifted transform in the house. How the stack is applied never touches a parameter, so it never touches a
checkpoint, a sharding rule, an optimizer mask or a fingerprint.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from vdm_jax.nn.remat import rematerialised
from vdm_jax.parallel.gather import gather


def stacked(make: Callable[..., nnx.Module], depth: int, rngs: nnx.Rngs) -> nnx.Module:
    """`depth` independently initialised layers, make(rngs=…), as one module whose every parameter has a leading axis
    (depth, ...).
    """
    return nnx.vmap(lambda rngs: make(rngs=rngs))(rngs.split(depth))


def apply(layers, x, call: Callable, scan: bool, remat: str = 'none'):
    """Run x through stacked layers: call(layer, x, index) -> x, for each layer in turn.

    Args:
      layers: what `stacked` made, or a tuple of such stacks of one depth; `layer` is then a tuple of their layers.
      x: the carried activation; `call` keeps its shape and dtype.
      call: applies one layer; `index` is its number, an int32 scalar (traced when scanned, a Python int when not).
      scan: True compiles one layer and loops; False slices the stack inside jit (on CPU about twice as fast).
      remat: what of a layer is kept for the backward pass, a name of nn.remat.POLICIES.
    """
    step = rematerialised(lambda layer, x, index: call(gather(layer, x.dtype), x, index), remat)
    depth = jax.tree.leaves(layers)[0].shape[0]
    if scan:

        def body(x, layer_index):
            return (step(layer_index[0], x, layer_index[1]), None)

        return jax.lax.scan(body, x, (layers, jnp.arange(depth)))[0]
    # lax.split, not indexing: its gradient is one concatenation instead of `depth` additions of padded arrays
    columns, structure = jax.tree.flatten(layers)
    columns = [jax.lax.split(column, (1,) * depth) for column in columns]
    for index in range(depth):
        x = step(jax.tree.unflatten(structure, [jnp.squeeze(column[index], 0) for column in columns]), x, index)
    return x
