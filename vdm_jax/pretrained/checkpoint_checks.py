"""Requirements on a checkpoint: on its tensor names, on tensor shapes, on the values of its config.json."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.pretrained.names import entry_hint


def require_names(
    names: Iterable[str], arrays: Mapping[str, Any], verdict: str = 'it is of another network', hint: str = ''
) -> None:
    """Check that every name has a tensor.

    Args:
      names: Of the tensors.
      arrays: Tensors by name.
      verdict: What a missing name says of the checkpoint.
      hint: What to do about it, appended to the message.

    Raises:
      UserError: for the first name that no tensor has.
    """
    for name in names:
        if name not in arrays:
            first_names = ', '.join(sorted(arrays)[:4])
            more = entry_hint(name, arrays)
            raise UserError(f'the checkpoint has no {name}: {verdict}; has {first_names} …{hint}{more}')


def require_values(expected: Mapping[str, Any], config_json: Mapping[str, Any]) -> None:
    """Check that config.json has no other value than the ones our network is built for.

    Raises:
      UserError: a value, or one within a list, differs.
    """
    for name, expected_value in expected.items():
        # What config.json leaves out has the default of the code that wrote it, which is what our network is built for.
        value = config_json.get(name, expected_value)
        values = value if isinstance(value, list | tuple) else [value]
        if any(each != expected_value for each in values):
            raise UserError(f'config.json: {name}={value!r} is not what this network is built for, {expected_value!r}')


def require_tensor(arrays: Mapping[str, np.ndarray], name: str, ndim: int) -> np.ndarray:
    """Return the tensor called `name`, which has `ndim` dimensions, none of them empty.

    Raises:
      UserError: there is none, or it has another shape.
    """
    require_names([name], arrays)
    shape = np.shape(arrays[name])
    if len(shape) != ndim or 0 in shape:
        raise UserError(f'{name} has the shape {shape}: want {ndim} dimensions, none of them empty')
    return arrays[name]


def read_number(config_json: Mapping[str, Any], key: str, default: Any, kind: type[int] | type[float] = int) -> Any:
    """Return what config.json says of `key`, a number above 0; `default` where it says nothing.

    Raises:
      UserError: it says something else.
    """
    if key not in config_json:
        return default
    value = config_json[key]
    # To Python True is an integer.
    if isinstance(value, bool) or not isinstance(value, int | kind) or not 0 < value < math.inf:
        raise UserError(f'config.json: {key}={value!r}: want {"an integer" if kind is int else "a number"} above 0')
    return value
