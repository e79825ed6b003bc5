"""The two verbs of sharding: `constrain` says where an activation lies, `shard_local` runs a function on each part.

Axes are names of the mesh, one entry a dimension from the left: a name, a tuple of names, or None for whole. Dimensions
that are not mentioned are whole. Where no mesh is set both do nothing, so that a model needs none.
"""

from collections.abc import Callable

import jax
from jax.sharding import PartitionSpec

Axis = str | tuple[str, ...] | None  # of one dimension
Axes = tuple[Axis, ...]


def constrain(x: jax.Array, *axes: Axis) -> jax.Array:
    """Pin the dimensions of an activation to mesh axes; the partitioner moves it there if it lies elsewhere."""
    if jax.sharding.get_abstract_mesh().empty:
        return x
    constrained: jax.Array = jax.lax.with_sharding_constraint(x, PartitionSpec(*axes))
    return constrained


def shard_local(function: Callable[..., jax.Array], inputs: tuple[Axes, ...], output: Axes) -> Callable[..., jax.Array]:
    """Run a function on each device's part of its arguments: for kernels that the partitioner cannot split.

    Args:
      function: of arrays, to one array.
      inputs: the axes of each positional argument, a tuple each; what an argument has on other axes is gathered first.
      output: the axes of the one result.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return function

    specs = tuple(PartitionSpec(*axes) for axes in inputs)
    # check_vma is off as Pallas kernels do not say over which axes their results vary.
    mapped: Callable[..., jax.Array] = jax.shard_map(
        function, in_specs=specs, out_specs=PartitionSpec(*output), check_vma=False
    )
    return mapped


def is_split() -> bool:
    """Return whether the mesh in context has several devices: merging leading dimensions could then mean a gather."""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and mesh.size > 1


def axis_size(axes: Axis) -> int:
    """Count the parts that a dimension on `axes` (a name, a tuple of names, None) is split into; 1 without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    names = (axes,) if isinstance(axes, str) else axes or ()
    count = 1
    for name in names:
        count *= 1 if mesh.empty else mesh.shape[name]
    return count
