"""Sharding by rules: (path regex -> mesh axes of the last dimensions); they serve params, EMA and Adam moments.

A network names its rules (NetworkConfig.sharding_rules): RULES are those of transformers, and a network without any is
whole on every device.
"""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vdm_jax.errors import UserError

KeyPath = tuple[Any, ...]  # jax's, to a leaf of a tree
Rules = tuple[tuple[str, tuple[str | None, ...]], ...]

# First match wins; what none matches is whole on every device. Axes are right-aligned: a layer-stacked kernel
# (layers, in, out) and a single one (in, out) share a row, and so do params/…, ema/…/…, and the Adam moments in
# opt_state/…, whose paths end the same way.
RULES: Rules = (
    (r'/(qkv|q|kv)/kernel$', ('fsdp', 'tensor')),  # whole heads
    (r'/(attention\d*|cross)/out/kernel$', ('tensor', 'fsdp')),
    (r'/mlp/up/kernel$', ('fsdp', 'tensor')),
    (r'/mlp/down/kernel$', ('tensor', 'fsdp')),
    (r'/(qkv|q|kv|mlp/up)/bias$', ('tensor',)),
    (r'(modulation|shared)/kernel$', ('fsdp', 'tensor')),
    (r'(embed|caption)/(up|down)/kernel$', (None, 'fsdp')),
)
LARGE = 2**20  # elements: what is worth splitting


def path_name(path: KeyPath) -> str:
    """Return a jax key path as 'blocks/space/attention/qkv/kernel'."""
    return jax.tree_util.keystr(path, simple=True, separator='/')


def axes_for(name: str, ndim: int, rules: Rules) -> tuple[str | None, ...]:
    """Return the mesh axes of each dimension of the array called `name`, by the first rule that matches.

    Raises:
      ValueError: the rule puts two dimensions on one axis.
    """
    pattern, axes = _find_rule(name, rules)
    names = [axis for axis in axes if axis]
    if len(set(names)) < len(names):
        raise ValueError(f'the rule {pattern!r} puts two dimensions of {name} on one axis: {axes}')
    return () if ndim < len(axes) else (None,) * (ndim - len(axes)) + tuple(axes)


def _find_rule(name: str, rules: Rules) -> tuple[str, tuple[str | None, ...]]:
    """Return the first rule that matches, ('', ()) where none does."""
    # A module at the top of a network follows a slash as all others do, whether or not the tree begins with params/.
    return next((rule for rule in rules if re.search(rule[0], f'/{name}')), ('', ()))


def shardings_for(shapes: Any, mesh: Mesh, rules: Rules) -> Any:
    """Return a NamedSharding for every leaf of a tree of shapes, that of a train state or of parameters.

    Raises:
      UserError: a mesh axis does not divide the dimension that a rule gives it.
    """
    param_shapes = _param_shapes(shapes)

    def sharding(path: KeyPath, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        name = path_name(path)
        # An optimizer may keep less of a parameter than its shape, as Adafactor keeps a row and a column of a matrix:
        # the rule speaks of dimensions that such an array does not have.
        is_part = leaf.shape != param_shapes.get(_param_name(name, param_shapes), leaf.shape)
        axes = () if is_part else axes_for(name, len(leaf.shape), rules)
        for number, (size, axis) in enumerate(zip(leaf.shape, axes, strict=False)):
            if axis and size % mesh.shape[axis]:
                raise UserError(
                    f'config.mesh.{axis}={mesh.shape[axis]} does not divide dimension {number} of {name}, which is '
                    f'{tuple(leaf.shape)}; {nearest_mesh(mesh, axis, sizes_split_on(axis, shapes, rules))}'
                )
        return NamedSharding(mesh, PartitionSpec(*axes))

    return jax.tree_util.tree_map_with_path(sharding, shapes)


def _param_shapes(shapes: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a train state's parameters by their names; {} of another tree."""
    leaves = {path_name(path): leaf.shape for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]}
    return {name.removeprefix('params/'): shape for name, shape in leaves.items() if name.startswith('params/')}


def _param_name(name: str, param_shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the parameter whose name an array's name ends in, such as that of a moment; '' where there is none."""
    parts = name.split('/')
    endings = ('/'.join(parts[start:]) for start in range(len(parts)))
    return next((ending for ending in endings if ending in param_shapes), '')


def sizes_split_on(axis: str, shapes: Any, rules: Rules) -> list[int]:
    """Return the sizes of all dimensions that the rules put on a mesh axis."""
    sizes: set[int] = set()
    for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]:
        axes = axes_for(path_name(path), len(leaf.shape), rules)
        sizes |= {size for size, each in zip(leaf.shape, axes, strict=False) if each == axis}
    return sorted(sizes)


def nearest_mesh(mesh: Mesh, axis: str, sizes: Iterable[int]) -> str:
    """Name the mesh nearest to this one whose `axis` divides all of `sizes`; data takes up the rest."""
    # Only these two axes are changed, so that the mesh that is named differs in nothing else.
    devices = mesh.shape[axis] * mesh.shape['data']
    divisor = math.gcd(*sizes)
    candidates = [size for size in range(1, devices + 1) if devices % size == 0 and divisor % size == 0]

    def distance(size: int) -> tuple[float, int]:
        return abs(math.log(size / mesh.shape[axis])), size

    best = min(candidates, key=distance)
    return f'the nearest mesh that works: --config.mesh.{axis}={best} --config.mesh.data={devices // best}'


def find_unmatched(shapes: Any, rules: Rules) -> list[str]:
    """List the patterns of the rules that no array of the tree matches."""
    names = [path_name(path) for path, _ in jax.tree_util.tree_flatten_with_path(shapes)[0]]
    # By the first match, as sharding goes: a rule that an earlier one shadows is idle too.
    matching = {_find_rule(name, rules)[0] for name in names}
    return [pattern for pattern, _ in rules if pattern not in matching]


def find_replicated(abstract: Any, at_least: int = LARGE) -> list[str]:
    """List 'name (shape)' of the arrays, with shardings, of so many elements that every device holds whole.

    None on a mesh whose fsdp and tensor axes split nothing.
    """
    replicated = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(abstract)[0]:
        mesh = leaf.sharding.mesh
        if (
            leaf.size >= at_least
            and leaf.sharding.is_fully_replicated
            and mesh.shape['fsdp'] * mesh.shape['tensor'] > 1
        ):
            replicated.append(f'{path_name(path)} {tuple(leaf.shape)}')
    return replicated


def sharding_notes(abstract: Any, rules: Rules) -> list[str]:
    """List what a user should know of how a state lies on its mesh, a line each; none where all rules apply."""
    idle = [f'sharding: no array goes by the rule {pattern!r}' for pattern in find_unmatched(abstract, rules)]
    return idle + [f'sharding: every device holds all of {name}' for name in find_replicated(abstract)]


def describe_replication(params: Any, names: int = 4) -> list[str]:
    """Say how many parameters the mesh's fsdp axis splits, of a network without rules.

    params: a tree of shapes with shardings. The largest that every device holds all of are named, so many at most. No
    line where the axis has one device, or all parameters are split.
    """
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    replicated = [(path_name(path), leaf) for path, leaf in leaves if leaf.sharding.is_fully_replicated]
    devices = max((leaf.sharding.mesh.shape['fsdp'] for _, leaf in replicated), default=1)
    if devices == 1:
        return []
    replicated.sort(key=lambda item: -item[1].size)
    listed = ', '.join(f'{name} {tuple(leaf.shape)}' for name, leaf in replicated[:names])
    more = f' and {len(replicated) - names} more' if len(replicated) > names else ''
    split = len(leaves) - len(replicated)
    return [
        f'sharding: config.mesh.fsdp={devices} splits {split or "none"} of the {len(leaves)} parameters; every device '
        f'holds all of {listed}{more}'
    ]
