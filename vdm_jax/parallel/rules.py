"""One table for sharding: (path regex -> mesh axes of the last dimensions); it serves params, EMA and moments alike."""

import re

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vdm_jax.errors import UserError

# First match wins. Axes are right-aligned: a layer-stacked kernel (layers, in, out) and a single one (in, out) share a
# row, and so do params/…, ema/…/…, and the moments in opt_state/…, whose paths end alike.
RULES = (
    (r'(qkv|q|kv|up|modulation|shared)/kernel$', ('fsdp', 'tensor')),
    (r'(out|down)/kernel$', ('tensor', 'fsdp')),
    (r'', ()),
)


def path_name(path) -> str:
    """A jax key path as 'blocks/space/attention/qkv/kernel'."""
    return jax.tree_util.keystr(path, simple=True, separator='/')


def spec_for(name: str, ndim: int) -> PartitionSpec:
    """Mesh axes of each dimension of the array called `name`, by the first rule that matches."""
    axes = next(axes for pattern, axes in RULES if re.search(pattern, name))
    if ndim < len(axes):
        return PartitionSpec()
    return PartitionSpec(*(None,) * (ndim - len(axes)), *axes)


def shardings_for(shapes, mesh: Mesh):
    """A NamedSharding for every leaf of a tree of shapes.

    Raises:
      UserError: a mesh axis does not divide the dimension that the table gives it.
    """

    def sharding(path, leaf):
        name, spec = path_name(path), spec_for(path_name(path), len(leaf.shape))
        for size, axis in zip(leaf.shape, spec, strict=False):
            if axis and size % mesh.shape[axis]:
                raise UserError(f'config.mesh.{axis}={mesh.shape[axis]} does not divide {name} of shape {leaf.shape}')
        return NamedSharding(mesh, spec)

    return jax.tree_util.tree_map_with_path(sharding, shapes)


def constrain(x, *axes):
    """Pin the leading dimensions of an activation to mesh axes; nothing happens where no mesh is set."""
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*axes))


def is_split() -> bool:
    """Whether the mesh in context has more than one device, so that merging leading dimensions could mean a gather."""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and mesh.size > 1
