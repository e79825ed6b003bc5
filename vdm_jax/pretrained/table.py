"""Tables of names: which of another project's tensors make up which of our parameters, and the way back.

A table is a list of rows, one for each of our parameters. `take` reads a checkpoint by it, `give` writes one; what
`take` found, and what not, is a Report.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.parallel.rules import path_name
from vdm_jax.pretrained.report import Report

Arrays = tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class Kind:
    """How tensors become a parameter: `there` takes theirs, in the order of the row; `back` is its inverse, exactly."""

    there: Callable[..., np.ndarray]
    back: Callable[[np.ndarray], Arrays]


@dataclasses.dataclass(frozen=True)
class Row:
    """One of our parameters, by its path, and the tensors that it comes from, by their names.

    layers: numbers that stand for '{}' in the names, one for each layer of a stacked parameter, in our order; None for
    a parameter that is not stacked.
    """

    ours: str
    theirs: tuple[str, ...]
    kind: Kind
    layers: tuple[int, ...] | None = None

    @property
    def names(self) -> list[Arrays]:
        """The names of the tensors, of each layer."""
        return [tuple(name.format(i) for name in self.theirs) for i in ([0] if self.layers is None else self.layers)]


def row(ours: str, theirs: str | tuple[str, ...], kind: Kind, layers: Iterable[int] | None = None) -> Row:
    """A Row; `theirs` may be one name."""
    theirs = (theirs,) if isinstance(theirs, str) else tuple(theirs)
    return Row(ours, theirs, kind, None if layers is None else tuple(layers))


SAME = Kind(lambda a: a, lambda a: (a,))
LINEAR = Kind(lambda weight: weight.T, lambda kernel: (kernel.T,))  # (O, I) <-> (I, O)
# PyTorch's (O, I, *sides) <-> (*sides, I, O)
CONV = Kind(lambda w: np.moveaxis(w, (0, 1), (-1, -2)), lambda k: (np.moveaxis(k, (-1, -2), (0, 1)),))


def reshaped(*theirs: int) -> Kind:
    """A parameter that is flat in ours and has this shape in theirs."""
    return Kind(lambda a: a.reshape(-1), lambda a: (a.reshape(theirs),))


def patches(patch: int, channels: int) -> Kind:
    """The kernel of a convolution over patches, (D, C, p, p) <-> (p p C, D), as `patchify` orders a patch."""
    return Kind(
        lambda weight: weight.transpose(2, 3, 1, 0).reshape(-1, weight.shape[0]),
        lambda kernel: (kernel.reshape(patch, patch, channels, -1).transpose(3, 2, 0, 1),),
    )


def by_head(heads: int, parts: int) -> Kind:
    """Projections whose columns go by part (q, k, v), then head, and in ours by head, then part.

    Theirs is one tensor (parts K E, I), or a bias (parts K E,), or one for each part; ours is (I, K parts E). One
    tensor is what `back` gives: `split_by_head` is for several.
    """

    def there(*tensors):
        whole = np.concatenate(tensors)
        return whole.reshape(parts, heads, -1, *whole.shape[1:]).swapaxes(0, 1).reshape(whole.shape).T

    def back(kernel):
        whole = kernel.T
        return (whole.reshape(heads, parts, -1, *whole.shape[1:]).swapaxes(0, 1).reshape(whole.shape),)

    return Kind(there, back)


def split_by_head(heads: int, parts: int) -> Kind:
    """`by_head` where each part is a tensor of its own."""
    one = by_head(heads, parts)
    return Kind(one.there, lambda kernel: tuple(np.split(one.back(kernel)[0], parts)))


def take(
    rows: list[Row],
    arrays: Mapping[str, np.ndarray],
    shapes: dict,
    fixed: Mapping[str, np.ndarray] | None = None,
    free: Mapping[str, str] | None = None,
) -> tuple[dict[str, np.ndarray], Report]:
    """({our path: float32 array}, report) of a checkpoint's tensors.

    Args:
      shapes: tree of our parameters' shapes.
      fixed: tensors that are no parameters in ours but computed, such as positions, by their name: what the checkpoint
        has of them must be the same, to 1e-5 or as its precision has it.
      free: our parameters that nothing in a checkpoint stands for, each with the reason; they are 0.

    Raises:
      ValueError: the table and our tree are not about the same parameters.
    """
    fixed, free = fixed or {}, free or {}
    wanted = {path_name(path): leaf.shape for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]}
    if odd := (wanted.keys() - free.keys()) ^ {each.ours for each in rows}:
        raise ValueError(f'the table and the network differ in {", ".join(sorted(odd))}')
    found, used, missing, differing = {}, [], [], []
    for each in rows:
        names = [name for layer in each.names for name in layer]
        if lacking := [name for name in names if name not in arrays]:
            missing += lacking
            used += [name for name in names if name in arrays]
            continue
        used += names
        array = _made(each, arrays)
        if array is None or array.shape != wanted[each.ours]:
            theirs = ' and '.join(sorted({str(np.shape(arrays[name])) for name in names}))
            differing.append(f'{names[0]} is {theirs}, from which {each.ours} {wanted[each.ours]} does not come')
            continue
        found[each.ours] = np.ascontiguousarray(array, np.float32)
    for name, value in fixed.items():
        if name in arrays:
            used.append(name)
            if not _same(np.asarray(arrays[name]), value):
                differing.append(f'{name} is not what this network computes, of shape {value.shape}')
    found |= {name: np.zeros(wanted[name], np.float32) for name in free}
    unused = sorted(arrays.keys() - set(used))
    return found, Report(tuple(used), tuple(unused), tuple(missing), tuple(differing), dict(free))


def _made(each: Row, arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """The parameter of a row, of whatever shape it turns out; None where the tensors do not fit the row or each
    other.
    """
    try:
        layers = [each.kind.there(*(np.asarray(arrays[name]) for name in layer)) for layer in each.names]
        return layers[0] if each.layers is None else np.stack(layers)
    except ValueError:  # numpy's, for shapes
        return None


def _same(there: np.ndarray, value: np.ndarray) -> bool:
    """Whether a tensor is this one, rounded to float16 or bfloat16 if all of it looks so."""
    if there.shape != value.shape:
        return False
    there = there.astype(np.float32)
    half = {jnp.bfloat16: 2**-8, np.float16: 2**-10}  # what two roundings of a number below 1 can be apart
    within = [step for dtype, step in half.items() if (there.astype(dtype).astype(np.float32) == there).all()]
    return np.abs(there - value).max(initial=0) <= max(within, default=1e-5)


def give(rows: list[Row], params: dict, fixed: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Tensors by their names, of a tree of our parameters; the inverse of `take`."""
    ours = {path_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]}
    found = dict(fixed or {})
    for each in rows:
        layers = [ours[each.ours]] if each.layers is None else ours[each.ours]
        for names, array in zip(each.names, layers, strict=True):
            found |= dict(zip(names, map(np.ascontiguousarray, each.kind.back(array)), strict=True))
    return found


def tree_of(found: Mapping[str, np.ndarray], shapes: dict, fill: Callable[[], dict] | None = None) -> dict:
    """The arrays of `take` in the tree of `shapes`, with those of `fill()`, a tree like it, where there is none.

    Raises:
      UserError: an array is missing and there is no fill.
    """
    fresh = fill() if fill and len(found) < len(jax.tree.leaves(shapes)) else shapes

    def pick(path, leaf):
        name = path_name(path)
        if name in found:
            return found[name]
        if fill is None:
            raise UserError(f'the checkpoint has nothing for {name}')
        return np.asarray(leaf, np.float32)

    return jax.tree_util.tree_map_with_path(pick, fresh)
