"""One value of a config: text read as its annotation wants it, and what is said of a value that does not fit."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable
from typing import Any

from vdm_jax.config import ranges
from vdm_jax.config.ranges import shorten
from vdm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Text:
    """A value from the command line, to be read according to the annotation of its field."""

    text: str


def read_scalar(value: Any, kind: Any, where: str) -> Any:
    """A number, truth value, text or none as `kind` wants it: of a file as it is, of the command line (Text) read.

    Raises:
      UserError: it is of another kind, or no finite number.
    """
    found = '' if isinstance(value, Text) else f', found {kind_of(value)}'
    wrong = UserError(f'{where}={show(value)}: want {describe(kind)}{found}')
    if isinstance(value, Text):
        value = read_text(value.text, kind)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            raise wrong from None
    if kind is not type(value) and not (kind is types.NoneType and value is None):
        raise wrong
    if isinstance(value, float) and not math.isfinite(value):
        raise wrong
    return value


def read_text(text: str, kind: Any) -> Any:
    """Text as `kind`, or as it stands where it is not one (the caller then refuses it)."""
    lowered = text.strip().lower()
    if kind is bool:
        return {'true': True, '1': True, 'false': False, '0': False}.get(lowered, text)
    if kind is types.NoneType:
        return None if lowered in ('none', 'null', '') else text
    if kind in (int, float):
        try:
            return _number(lowered, kind)
        except ValueError:
            return text
    return text


def _number(text: str, kind: type) -> int | float:
    """'1_000', '1e3' and '1000.0' are whole numbers too; what is none comes out as a float."""
    number = float(text)
    if kind is float:
        return number
    if '.' not in text and 'e' not in text:
        return int(text)
    return int(number) if number.is_integer() else number


def describe(annotation: Any) -> str:
    """What an annotation wants, in words."""
    if annotation is types.NoneType:
        return 'none'
    options = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple:
        inner = [option for option in options if option is not Ellipsis]
        return 'a list of ' + ' and '.join(map(describe, inner)) + ' separated by commas'
    if options:
        return ' or '.join(map(describe, options))
    return {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'text'}.get(
        annotation, str(annotation)
    )


def kind_of(value: object) -> str:
    """Of which kind a value is, in words."""
    return 'none' if value is None else type(value).__name__


def show(value: object) -> str:
    """A value as a user would write it."""
    if isinstance(value, Text):
        return shorten(value.text)
    return shorten(repr(value)) if isinstance(value, str) else ranges.show(value)


def suggest(name: object, known: Iterable[object]) -> str:
    """What follows a name that nothing has: the nearest known one, or all of them."""
    return near_to(name, known) or f'; known: {", ".join(map(str, known))}'


def one_of(known: Iterable[object], name: object) -> str:
    """What there is to choose from, and which of them is nearest to `name`."""
    return f'want one of {", ".join(map(str, known))}{near_to(name, known)}'


def near_to(name: object, known: Iterable[object]) -> str:
    """The known name that is nearest to this one; '' where none is near."""
    near = difflib.get_close_matches(str(name), list(map(str, known)), 1, 0.5)
    return f'; did you mean {near[0]!r}?' if near else ''
