"""JSON values of files that somebody else may have made, checked before they name, size or open anything."""

import os
from collections.abc import Sequence
from typing import Any, TypeGuard

from vdm_jax.config.ranges import is_number
from vdm_jax.errors import UserError

DIGITS = 64  # of a sha256


class JsonValues:
    """The values of a JSON object, each given out as what it must be.

    Args:
      values: What was read.
      called: The file, for messages.

    Raises:
      UserError: it is no JSON object; and in each method, the value called `name` is not there or not what it says.
    """

    def __init__(self, values: object, called: str):
        if not isinstance(values, dict):
            raise UserError(f'{called} holds no values by their names')
        self._values = values
        self._called = called

    # Above 2^53 a JSON number is not exact in readers that make floats of all numbers.
    def integer(self, name: str, least: int = 0, most: int = 2**53) -> int:
        """Return a whole number from `least` to `most`."""
        value = self._values.get(name)
        if not is_integer(value) or not least <= value <= most:
            raise self.error(name, f'a whole number from {least} to {most}')
        return value

    def integers(self, name: str, least: int, count: int) -> tuple[int, ...]:
        """Return so many whole numbers, none smaller than `least`."""
        value = self._values.get(name)
        if not isinstance(value, list) or len(value) != count or not all(is_integer(each, least) for each in value):
            raise self.error(name, f'{count} whole numbers from {least} on')
        return tuple(value)

    def text(self, name: str, choices: Sequence[str] = ()) -> str:
        """Return a text; one of the choices, where there are any."""
        value = self._values.get(name)
        if not isinstance(value, str) or (choices and value not in choices):
            raise self.error(name, f'one of {", ".join(choices)}' if choices else 'a text')
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return texts, no two of them the same."""
        value = self._values.get(name)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.error(name, 'a list of texts')
        if len(set(value)) < len(value):
            raise self.error(name, 'texts that differ')
        return tuple(value)

    def sha256(self, name: str) -> str:
        """Return 64 hexadecimal digits."""
        value = self._values.get(name)
        if not isinstance(value, str) or len(value) != DIGITS or set(value) - set('0123456789abcdef'):
            raise self.error(name, 'a sha256')
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        """Return values by their names."""
        value = self._values.get(name)
        if not isinstance(value, dict):
            raise self.error(name, 'values by their names')
        return value

    def counts(self, name: str) -> dict[str, int]:
        """Return whole numbers by their names."""
        value = self.mapping(name)
        if not all(is_integer(each) for each in value.values()):
            raise self.error(name, 'whole numbers by their names')
        return value

    def number(self, name: str) -> float:
        """Return a finite number."""
        value: Any = self._values.get(name)
        if not is_number(value):
            raise self.error(name, 'a number')
        number: float = value
        return number

    def error(self, name: str, want: str) -> UserError:
        """Return the error that a value is not what is wanted."""
        # In ASCII and cut: a message is one line, whatever line ends or megabytes a foreign value holds.
        text = ascii(self._values[name]) if name in self._values else 'missing'
        if len(text) > 60:
            text = f'{text[:57]}...'
        return UserError(f'{self._called}: {name} is {text}; want {want}')


def is_integer(value: object, least: int = 0) -> TypeGuard[int]:
    """Whether a value is a whole number from `least` on; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_local_name(name: object) -> TypeGuard[str]:
    """Whether a value is the name of a file in a directory, and leads nowhere else."""
    if not isinstance(name, str) or name in ('', os.curdir, os.pardir):
        return False
    # A backslash leads into folders on some systems.
    return not set(name) & {'/', '\\', '\0'} and name.isprintable()
