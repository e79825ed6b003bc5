"""What a checkpoint tells of its network: tensors by their names, and the values of a config.json."""

import math
from collections.abc import Iterable, Mapping

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.pretrained.names import hint as names_hint


def demand(names: Iterable[str], arrays: Mapping, verdict: str = 'it is of another network', hint: str = '') -> None:
    """Raises: UserError for the first of these names that no tensor has, with what that says of the checkpoint."""
    for name in names:
        if name not in arrays:
            more = names_hint(name, arrays)
            raise UserError(
                f'the checkpoint has no {name}: {verdict}; has {", ".join(sorted(arrays)[:4])} …{hint}{more}'
            )


def demand_granted(granted: Mapping, about: Mapping) -> None:
    """Raises: UserError where config.json, `about`, has another value, or one in a list, than what our network has for
    granted.
    """
    for name, want in granted.items():
        said = about.get(name, want)
        if any(each != want for each in (said if isinstance(said, list | tuple) else [said])):
            raise UserError(f'config.json: {name}={said!r} is not what this network is built for, {want!r}')


def wanted(arrays: Mapping[str, np.ndarray], name: str, ndim: int) -> np.ndarray:
    """The tensor called `name`, which has so many dimensions, none of them empty.

    Raises:
      UserError: there is none, or it is of another shape.
    """
    demand([name], arrays)
    shape = np.shape(arrays[name])
    if len(shape) != ndim or 0 in shape:
        raise UserError(f'{name} has the shape {shape}: want {ndim} dimensions, none of them empty')
    return arrays[name]


def number(about: Mapping, key: str, default, kind: type[int] | type[float] = int):
    """What config.json says of `key`, a number above 0; `default` where it says nothing.

    Raises:
      UserError: it says something else.
    """
    if key not in about:
        return default
    value = about[key]
    if isinstance(value, bool) or not isinstance(value, int | kind) or not 0 < value < math.inf:
        raise UserError(f'config.json: {key}={value!r}: want {"an integer" if kind is int else "a number"} above 0')
    return value
