"""Initialise a network from the parameters of another: take those that fit, start the rest fresh and name it."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax

from vdm_jax.errors import UserError
from vdm_jax.parallel.rules import KeyPath, path_name
from vdm_jax.pretrained.report import Report

Shapes = Mapping[str, tuple[int, ...]]


def by_path(tree: Any) -> dict[str, Any]:
    """Return the leaves of a tree by their paths, 'layers/block/mlp/up/kernel'."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def fit(
    arrays: Mapping[str, Any],
    abstract: Any,
    fresh: Callable[[], Any],
    allow_missing: bool = False,
    called: str = 'the weights',
    resized: Collection[str] = (),
) -> tuple[Any, Report]:
    """Return (parameters, report): those of `arrays` that have the shapes of `abstract`, and fresh ones for the others.

    Args:
      arrays: Numpy or jax arrays by the paths of our parameters (`by_path` of a tree).
      abstract: Tree of jax.ShapeDtypeStruct of the wanted parameters, with shardings where they have some.
      fresh: () -> a tree like it, of initial parameters; called where some are needed.
      allow_missing: Let what is missing or of another shape start fresh, and drop what the network has no place for.
      called: What messages call `arrays`, such as --from=RUN.
      resized: Paths of what is not taken though its shape is the same by chance; see find_resized.

    Returns:
      A tree like `abstract`, on its shardings; and what became of each array, by name.

    Raises:
      UserError: a parameter is missing, of another shape, or has no place, and that was not allowed (the first one is
        named); or nothing fits at all.
    """
    wanted = by_path(abstract)
    report = _compare(arrays, wanted, resized)
    _check(report, allow_missing, called)
    used = set(report.used)
    # Fresh parameters take memory and time: none are made where all fit.
    initial = by_path(fresh()) if len(used) < len(wanted) else {}

    def select(path: KeyPath, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        name = path_name(path)
        array = arrays[name] if name in used else initial[name]
        # Array by array onto its sharding, so that no device ever holds all of what it has a part of.
        placed: jax.Array = jax.device_put(array.astype(leaf.dtype), leaf.sharding)
        return placed

    return jax.tree_util.tree_map_with_path(select, abstract), report


def _compare(arrays: Mapping[str, Any], wanted: Mapping[str, Any], resized: Collection[str]) -> Report:
    used = {name for name, leaf in wanted.items() if name in arrays and arrays[name].shape == leaf.shape}
    used -= {*resized}
    differing = tuple(
        f'{name} is {tuple(arrays[name].shape)}, the network wants {leaf.shape}'
        for name, leaf in wanted.items()
        if name in arrays and name not in used
    )
    missing = tuple(name for name in wanted if name not in arrays)
    unused = tuple(sorted(arrays.keys() - wanted.keys()))
    return Report(tuple(sorted(used)), unused, missing, differing)


def _check(report: Report, allow_missing: bool, called: str) -> None:
    mismatches = [
        *(f'parameter {line}' for line in report.differing),
        *(f'parameter {name} is missing' for name in report.missing),
        *(f'parameter {name} is not one of the network' for name in report.unused),
    ]
    more = f', and {len(mismatches) - 1} more do not fit' if len(mismatches) > 1 else ''
    # Where nothing at all fits, the weights are of something else, and --allow-missing does not help.
    if not report.used:
        first_mismatch = mismatches[0] if mismatches else 'it holds none'
        raise UserError(f'{called}: no parameter fits the network: {first_mismatch}{more}')
    if mismatches and not allow_missing:
        raise UserError(f'{called}: {mismatches[0]}{more}; with --allow-missing what does not fit starts fresh')


def find_resized(
    ours: Any, differing: Mapping[str, tuple[Any, Any]], shapes_of: Callable[[Any], Shapes], called: str
) -> set[str]:
    """Return paths of the parameters to which two configs of a network give other shapes, which do not carry over.

    A parameter may have the same shape by chance, where one key doubles what another one halves.

    Args:
      ours: Frozen dataclass, the config of the network to initialise.
      differing: {field: (its value in ours, that in the config of the weights)}, which make up the other config.
      shapes_of: Config -> {path: shape} of its parameters.
      called: What messages call the weights.

    Raises:
      UserError: a key changes what the network does with parameters of the same shapes.
    """
    our_shapes = shapes_of(ours)
    theirs = dataclasses.replace(ours, **{key: their_value for key, (_, their_value) in differing.items()})

    resized: set[str] = set()
    for key, (our_value, their_value) in differing.items():
        # One key at a time, so that two keys cannot hide each other's change.
        try:
            other_shapes = shapes_of(dataclasses.replace(ours, **{key: their_value}))
        except ValueError:  # a UserError is one: no network has this value without those of the other keys
            other_shapes = shapes_of(theirs)
        names = {**our_shapes, **other_shapes}
        changed = {name for name in names if our_shapes.get(name) != other_shapes.get(name)}
        if not changed:
            raise UserError(
                f'config.model.{key}={our_value}: {called} has {their_value}, which gives parameters of the same '
                'shapes another meaning; --allow-missing is for those of other shapes'
            )
        resized |= changed
    return resized
