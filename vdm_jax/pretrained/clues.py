"""What a checkpoint tells of its network: tensors by their names, and the values of a config.json."""

import math
from collections.abc import Mapping

import numpy as np

from vdm_jax.errors import UserError


def wanted(arrays: Mapping[str, np.ndarray], name: str, ndim: int) -> np.ndarray:
    """The tensor called `name`, which has so many dimensions, none of them empty.

    Raises:
      UserError: there is none, or it is of another shape.
    """
    if name not in arrays:
        raise UserError(
            f'the checkpoint has no {name}: it is of another network; has {", ".join(sorted(arrays)[:4])} …'
        )
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
