"""Values of files that somebody else may have made, looked at before they name, size or open anything."""

import os
from collections.abc import Sequence

from vdm_jax.config.ranges import is_number
from vdm_jax.errors import UserError

DIGITS = 64  # of a sha256


class Values:
    """JSON values by their names. called: the file, for messages.

    Each method gives the value called `name`. Raises: UserError where it is not there, or not what the method says.
    """

    def __init__(self, values, called: str):
        if not isinstance(values, dict):
            raise UserError(f'{called} holds no values by their names')
        self._values = values
        self._called = called

    def whole(self, name: str, least: int = 0, most: int = 2**53) -> int:
        """A whole number from `least` to `most`."""
        value = self._values.get(name)
        if not is_whole(value) or not least <= value <= most:
            raise self.wrong(name, f'a whole number from {least} to {most}')
        return value

    def wholes(self, name: str, least: int, count: int) -> tuple[int, ...]:
        """So many whole numbers, none smaller than `least`."""
        value = self._values.get(name)
        if not isinstance(value, list) or len(value) != count or not all(is_whole(each, least) for each in value):
            raise self.wrong(name, f'{count} whole numbers from {least} on')
        return tuple(value)

    def text(self, name: str, choices: Sequence[str] = ()) -> str:
        """A text; one of the choices, where there are any."""
        value = self._values.get(name)
        if not isinstance(value, str) or choices and value not in choices:
            raise self.wrong(name, f'one of {", ".join(choices)}' if choices else 'a text')
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Texts, each another one."""
        value = self._values.get(name)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise self.wrong(name, 'a list of texts')
        if len(set(value)) < len(value):
            raise self.wrong(name, 'texts that differ')
        return tuple(value)

    def sha256(self, name: str) -> str:
        """64 hexadecimal digits."""
        value = self._values.get(name)
        if not isinstance(value, str) or len(value) != DIGITS or set(value) - set('0123456789abcdef'):
            raise self.wrong(name, 'a sha256')
        return value

    def mapping(self, name: str) -> dict:
        """Values by their names."""
        if not isinstance(value := self._values.get(name), dict):
            raise self.wrong(name, 'values by their names')
        return value

    def counts(self, name: str) -> dict[str, int]:
        """Whole numbers by their names."""
        value = self.mapping(name)
        if not all(is_whole(each) for each in value.values()):
            raise self.wrong(name, 'whole numbers by their names')
        return value

    def number(self, name: str) -> float:
        """A finite number."""
        value = self._values.get(name)
        if not is_number(value):
            raise self.wrong(name, 'a number')
        return value

    def wrong(self, name: str, want: str) -> UserError:
        shown = ascii(self._values[name]) if name in self._values else 'missing'
        shown = shown if len(shown) <= 60 else f'{shown[:57]}...'
        return UserError(f'{self._called}: {name} is {shown}; want {want}')


def is_whole(value, least: int = 0) -> bool:
    """Whether a value is a whole number from `least` on; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_local_name(name) -> bool:
    """Whether a value is the name of a file in a directory, and leads nowhere else."""
    if not isinstance(name, str) or name in ('', os.curdir, os.pardir):
        return False
    return not set(name) & {'/', '\\', '\0'} and name.isprintable()
