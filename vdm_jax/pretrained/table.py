"""Tables of names: which of another project's tensors make up which of our parameters, and the way back.

A table is a list of rows, one for each of our parameters. `import_tensors` reads a checkpoint by it, `export_tensors`
writes one; what was read, and what not, is a Report.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.parallel.rules import KeyPath, path_name
from vdm_jax.pretrained.report import Report

TOLERANCE = 1e-5  # of computed tensors that are stored in float32
# By how much two roundings of a number below 1 can be apart.
HALF_TOLERANCES = {jnp.bfloat16: 2**-8, np.float16: 2**-10}


@dataclasses.dataclass(frozen=True)
class Conversion:
    """How tensors become a parameter, and exactly back.

    Attributes:
      to_ours: Takes their tensors, in the order of the row; gives our parameter.
      to_theirs: Its inverse; gives a tuple of tensors.
    """

    to_ours: Callable[..., np.ndarray]
    to_theirs: Callable[[np.ndarray], tuple[np.ndarray, ...]]


@dataclasses.dataclass(frozen=True)
class Row:
    """One of our parameters and the tensors that it comes from.

    Attributes:
      ours: Path of our parameter.
      theirs: Names of the tensors.
      conversion: How they become the parameter.
      layers: Numbers that replace '{}' in the names, one for each layer of a stacked parameter, in our order; None for
        a parameter that is not stacked.
    """

    ours: str
    theirs: tuple[str, ...]
    conversion: Conversion
    layers: tuple[int, ...] | None = None

    @property
    def names(self) -> list[tuple[str, ...]]:
        """The names of the tensors, of each layer."""
        layers = (0,) if self.layers is None else self.layers
        return [tuple(name.format(layer) for name in self.theirs) for layer in layers]


def row(ours: str, theirs: str | tuple[str, ...], conversion: Conversion, layers: Iterable[int] | None = None) -> Row:
    """Return a Row; `theirs` may be one name."""
    theirs = (theirs,) if isinstance(theirs, str) else tuple(theirs)
    return Row(ours, theirs, conversion, None if layers is None else tuple(layers))


def _same_to_ours(tensor: np.ndarray) -> np.ndarray:
    return tensor


def _same_to_theirs(array: np.ndarray) -> tuple[np.ndarray]:
    return (array,)


def _linear_to_ours(weight: np.ndarray) -> np.ndarray:
    return weight.T


def _linear_to_theirs(kernel: np.ndarray) -> tuple[np.ndarray]:
    return (kernel.T,)


def _conv_to_ours(weight: np.ndarray) -> np.ndarray:
    return np.moveaxis(weight, (0, 1), (-1, -2))


def _conv_to_theirs(kernel: np.ndarray) -> tuple[np.ndarray]:
    return (np.moveaxis(kernel, (-1, -2), (0, 1)),)


SAME = Conversion(_same_to_ours, _same_to_theirs)
LINEAR = Conversion(_linear_to_ours, _linear_to_theirs)  # (O, I) <-> (I, O)
CONV = Conversion(_conv_to_ours, _conv_to_theirs)  # PyTorch's (O, I, *sides) <-> (*sides, I, O)


def reshape(*theirs: int) -> Conversion:
    """Return the conversion of a parameter that is flat in ours and has this shape in theirs."""

    def to_ours(tensor: np.ndarray) -> np.ndarray:
        return tensor.reshape(-1)

    def to_theirs(array: np.ndarray) -> tuple[np.ndarray]:
        return (array.reshape(theirs),)

    return Conversion(to_ours, to_theirs)


def patches(patch: int, channels: int) -> Conversion:
    """Return the conversion of a convolution over patches, (D, C, p, p) <-> (p p C, D), in the order of `patchify`."""

    def to_ours(weight: np.ndarray) -> np.ndarray:
        return weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0])

    def to_theirs(kernel: np.ndarray) -> tuple[np.ndarray]:
        return (kernel.reshape(patch, patch, channels, -1).transpose(3, 2, 0, 1),)

    return Conversion(to_ours, to_theirs)


def by_head(heads: int, parts: int) -> Conversion:
    """Return the conversion of projections whose columns go by part (q, k, v), then head; ours by head, then part.

    Theirs is one tensor (parts K E, I), or a bias (parts K E,), or one for each part; ours is (I, K parts E). One
    tensor is what `to_theirs` gives: `split_by_head` is for several.
    """

    def to_ours(*tensors: np.ndarray) -> np.ndarray:
        stacked = np.concatenate(tensors)
        by_part = stacked.reshape(parts, heads, -1, *stacked.shape[1:])
        return by_part.swapaxes(0, 1).reshape(stacked.shape).T

    def to_theirs(kernel: np.ndarray) -> tuple[np.ndarray]:
        stacked = kernel.T
        by_head = stacked.reshape(heads, parts, -1, *stacked.shape[1:])
        return (by_head.swapaxes(0, 1).reshape(stacked.shape),)

    return Conversion(to_ours, to_theirs)


def split_by_head(heads: int, parts: int) -> Conversion:
    """Return the conversion of `by_head` where each part is a tensor of its own."""
    joint = by_head(heads, parts)

    def to_theirs(kernel: np.ndarray) -> tuple[np.ndarray, ...]:
        (stacked,) = joint.to_theirs(kernel)
        return tuple(np.split(stacked, parts))

    return Conversion(joint.to_ours, to_theirs)


def import_tensors(
    rows: list[Row],
    arrays: Mapping[str, np.ndarray],
    shapes: Any,
    computed: Mapping[str, np.ndarray] | None = None,
    not_stored: Mapping[str, str] | None = None,
) -> tuple[dict[str, np.ndarray], Report]:
    """Return ({our path: float32 array}, report) of a checkpoint's tensors.

    Args:
      rows: The table of names.
      arrays: The checkpoint's tensors by name.
      shapes: Tree of our parameters' shapes.
      computed: Tensors that are no parameters in ours but computed, such as positions, by their name: what the
        checkpoint has of them must be the same, to 1e-5 or to its precision.
      not_stored: Our parameters that no checkpoint stores, each with the reason; they are 0.

    Raises:
      ValueError: the table and our tree have different parameters.
    """
    computed = computed or {}
    not_stored = not_stored or {}
    wanted = {path_name(path): leaf.shape for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]}
    # A parameter without a row would be left out without a word, so that the table itself is checked.
    unmatched = (wanted.keys() - not_stored.keys()) ^ {each.ours for each in rows}
    if unmatched:
        raise ValueError(f'the table and the network differ in {", ".join(sorted(unmatched))}')

    params: dict[str, np.ndarray] = {}
    used: list[str] = []
    missing: list[str] = []
    differing: list[str] = []
    for each in rows:
        names = [name for layer in each.names for name in layer]
        used += [name for name in names if name in arrays]
        missing_names = [name for name in names if name not in arrays]
        if missing_names:
            missing += missing_names
            continue
        # A tensor of another shape may still convert: what comes out must have the shape of the parameter.
        array = _convert(each, arrays)
        if array is None or array.shape != wanted[each.ours]:
            shape = ' and '.join(sorted({str(np.shape(arrays[name])) for name in names}))
            differing.append(f'{names[0]} is {shape}, from which {each.ours} {wanted[each.ours]} does not come')
            continue
        # Conversions give transposed views, in whatever dtype was stored.
        params[each.ours] = np.ascontiguousarray(array, np.float32)

    # Positions that differ mean another network, though none of its parameters shows it.
    for name, value in computed.items():
        if name in arrays:
            used.append(name)
            if not _is_same(np.asarray(arrays[name]), value):
                differing.append(f'{name} is not what this network computes, of shape {value.shape}')

    params |= {name: np.zeros(wanted[name], np.float32) for name in not_stored}
    unused = sorted(arrays.keys() - set(used))
    # A tensor may be part of several of our parameters.
    used = list(dict.fromkeys(used))
    missing = list(dict.fromkeys(missing))
    return params, Report(tuple(used), tuple(unused), tuple(missing), tuple(differing), dict(not_stored))


def _convert(each: Row, arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return the parameter of a row, of any shape; None where the tensors do not fit the row or each other."""
    try:
        layers = [
            each.conversion.to_ours(*(np.asarray(arrays[name]) for name in layer_names)) for layer_names in each.names
        ]
        return layers[0] if each.layers is None else np.stack(layers)
    except ValueError:  # numpy's, for shapes
        return None


def _is_same(stored: np.ndarray, value: np.ndarray) -> bool:
    """Whether a stored tensor is this value, rounded to float16 or bfloat16 if all of it looks so."""
    if stored.shape != value.shape:
        return False
    # Published checkpoints are often halved and saved as float32 again: only their values show it.
    stored = stored.astype(np.float32)
    tolerances = [
        tolerance
        for dtype, tolerance in HALF_TOLERANCES.items()
        if (stored.astype(dtype).astype(np.float32) == stored).all()
    ]
    return bool(np.abs(stored - value).max(initial=0) <= max(tolerances, default=TOLERANCE))


def export_tensors(
    rows: list[Row], params: Any, computed: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Return tensors by their names, of a tree of our parameters; the inverse of `import_tensors`."""
    ours = {path_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]}
    # The source's own code expects them in the file, though ours computes them.
    tensors = dict(computed or {})
    for each in rows:
        layers = [ours[each.ours]] if each.layers is None else ours[each.ours]
        for names, array in zip(each.names, layers, strict=True):
            parts = each.conversion.to_theirs(array)
            for name, part in zip(names, parts, strict=True):
                tensors[name] = np.ascontiguousarray(part)
    return tensors


def build_tree(params: Mapping[str, np.ndarray], shapes: Any, fill: Callable[[], Any] | None = None) -> Any:
    """Return the arrays of `import_tensors` in the tree of `shapes`.

    Args:
      params: Arrays by path.
      shapes: Tree of our parameters' shapes.
      fill: () -> a tree like it, whose arrays stand where there is none.

    Raises:
      UserError: an array is missing and there is no fill.
    """
    # `fill` initialises a network, which takes a while: only where something is missing.
    is_complete = len(params) >= len(jax.tree.leaves(shapes))
    tree = shapes if fill is None or is_complete else fill()

    def select(path: KeyPath, leaf: Any) -> np.ndarray:
        name = path_name(path)
        if name in params:
            return params[name]
        if fill is None:
            raise UserError(f'the checkpoint has nothing for {name}')
        return np.asarray(leaf, np.float32)

    return jax.tree_util.tree_map_with_path(select, tree)
