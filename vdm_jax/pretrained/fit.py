"""Parameters of one network as a beginning for another: what fits is taken, the rest starts fresh and is named."""

import dataclasses
from collections.abc import Callable, Collection, Mapping

import jax

from vdm_jax.errors import UserError
from vdm_jax.parallel.rules import path_name
from vdm_jax.pretrained.report import Report


def by_path(tree) -> dict:
    """The leaves of a tree by their paths, 'layers/block/mlp/up/kernel'."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


def fit(
    arrays: Mapping,
    abstract,
    fresh: Callable[[], dict],
    allow_missing: bool = False,
    called: str = 'the weights',
    resized: Collection[str] = (),
) -> tuple[dict, Report]:
    """(parameters, report): those of `arrays` that have the shapes of `abstract`, and fresh ones for the others.

    Args:
      arrays: numpy or jax arrays by the paths of our parameters (`by_path` of a tree).
      abstract: tree of the parameters that are wanted: their shapes, dtypes and, where they have some, shardings.
      fresh: () -> a tree like it, of parameters to begin with; called where some are needed.
      allow_missing: let what is missing or of another shape start fresh, and what the network has no place for go.
      called: what messages call `arrays`, such as --from=RUN.
      resized: paths of what is not taken though its shape is the same by chance; see resized_by.

    Returns:
      A tree like `abstract`, on its shardings; and what became of each array, by name.

    Raises:
      UserError: a parameter is missing, of another shape, or has no place, and that was not allowed (the first one is
        named); or nothing fits at all.
    """
    wanted = by_path(abstract)
    same = {name for name, leaf in wanted.items() if name in arrays and arrays[name].shape == leaf.shape}
    taken = same - {*resized}
    differing = tuple(
        f'{name} is {tuple(arrays[name].shape)}, the network wants {leaf.shape}'
        for name, leaf in wanted.items()
        if name in arrays and name not in taken
    )
    missing = tuple(name for name in wanted if name not in arrays)
    unused = tuple(sorted(arrays.keys() - wanted.keys()))
    report = Report(tuple(sorted(taken)), unused, missing, differing)
    _check(report, allow_missing, called)
    filling = by_path(fresh()) if len(taken) < len(wanted) else {}

    def place(path, leaf):
        name = path_name(path)
        array = (arrays if name in taken else filling)[name].astype(leaf.dtype)
        return jax.device_put(array, getattr(leaf, 'sharding', None))

    return jax.tree_util.tree_map_with_path(place, abstract), report


def _check(report: Report, allow_missing: bool, called: str) -> None:
    wrong = [
        *(f'parameter {line}' for line in report.differing),
        *(f'parameter {name} is missing' for name in report.missing),
        *(f'parameter {name} is not one of the network' for name in report.unused),
    ]
    more = f', and {len(wrong) - 1} more do not fit' if len(wrong) > 1 else ''
    if not report.used:
        raise UserError(f'{called}: no parameter fits the network: {(wrong or ["it holds none"])[0]}{more}')
    if wrong and not allow_missing:
        raise UserError(f'{called}: {wrong[0]}{more}; with --allow-missing what does not fit starts fresh')


def resized_by(ours, differing: Mapping[str, tuple], shapes_of: Callable[[object], Mapping], called: str) -> set[str]:
    """Paths of the parameters to which two configs of a network give other shapes: none of them is the other's.

    A parameter may have the same shape by chance, where one key doubles what another one halves.

    Args:
      ours: frozen dataclass, the config of the network that is to begin.
      differing: {field: (its value in ours, that in the config of the weights)}, which make up the other config.
      shapes_of: config -> {path: shape} of its parameters.
      called: what messages call the weights.

    Raises:
      UserError: a key changes what the network does with parameters of the same shapes.
    """
    shapes, found = shapes_of(ours), set()
    theirs = dataclasses.replace(ours, **{key: value for key, (_, value) in differing.items()})
    for key, (here, there) in differing.items():
        try:
            others = shapes_of(dataclasses.replace(ours, **{key: there}))
        except ValueError:  # a UserError is one: there is no network of this key alone
            others = shapes_of(theirs)
        changed = {name for name in {**shapes, **others} if shapes.get(name) != others.get(name)}
        if not changed:
            raise UserError(
                f'config.model.{key}={here}: {called} has {there}, which gives parameters of the same shapes another '
                'meaning; --allow-missing is for those of other shapes'
            )
        found |= changed
    return found
