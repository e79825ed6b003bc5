"""Read one value of a config as its annotation wants it, and describe values and annotations in messages."""

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

NONE = ('none', 'null', '')  # how the command line writes that there is nothing


@dataclasses.dataclass(frozen=True)
class Text:
    """A value from the command line, to be read according to the annotation of its field.

    Attributes:
      text: As the user wrote it.
    """

    text: str


def read_scalar(value: Any, kind: Any, key: str) -> Any:
    """Return a number, truth value, text or None as `kind` wants it.

    Args:
      value: A plain value of a file, taken as it is, or Text of the command line, which is read.
      kind: int, float, bool, str or NoneType.
      key: Dotted key of the field, for messages.

    Raises:
      UserError: It is of another kind, or no finite number.
    """
    # Whoever wrote a text sees of which kind it is; of a file's value it may not be plain.
    found_kind = '' if isinstance(value, Text) else f', found {name_kind(value)}'
    error = UserError(f'{key}={show_quoted(value)}: want {describe(kind)}{found_kind}')

    if isinstance(value, Text):
        value = read_text(value.text, kind)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            raise error from None
    # The very type: True is an int to isinstance.
    if kind is not type(value) and not (kind is types.NoneType and value is None):
        raise error
    # nan passes every comparison with a range, and inf becomes nan in the first product with 0.
    if isinstance(value, float) and not math.isfinite(value):
        raise error
    return value


def read_text(text: str, kind: Any) -> Any:
    """Return text as `kind`, or as it stands where it is not one (the caller then refuses it)."""
    lowered = text.strip().lower()
    if kind is bool:
        return {'true': True, '1': True, 'false': False, '0': False}.get(lowered, text)
    if kind is types.NoneType:
        return None if lowered in NONE else text
    if kind in (int, float):
        try:
            return _read_number(lowered, kind)
        except ValueError:
            return text
    return text


def _read_number(text: str, kind: type) -> int | float:
    """Return a text as a number.

    '1_000', '1e3' and '1000.0' are whole numbers too. Where a whole number is wanted and the text is none, it comes
    out as a float.

    Raises:
      ValueError: It is no number.
    """
    number = float(text)
    if kind is float:
        return number
    # A float of 64 bits does not hold every large whole number.
    if '.' not in text and 'e' not in text:
        return int(text)
    return int(number) if number.is_integer() else number


def describe(annotation: Any) -> str:
    """Return in words what an annotation wants."""
    if annotation is types.NoneType:
        return 'none'
    options = typing.get_args(annotation)
    if typing.get_origin(annotation) is tuple:
        items = [option for option in options if option is not Ellipsis]
        return 'a list of ' + ' and '.join(map(describe, items)) + ' separated by commas'
    if options:
        return ' or '.join(map(describe, options))
    words = {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'text'}
    return words.get(annotation, str(annotation))


def name_kind(value: object) -> str:
    """Return in words of which kind a value is."""
    return 'none' if value is None else type(value).__name__


def show_quoted(value: object) -> str:
    """Return a value as its file has it, a text in quotes; that of the command line as the user wrote it."""
    if isinstance(value, Text):
        return shorten(value.text)
    # Quotes tell a text of a file from a number.
    return shorten(repr(value)) if isinstance(value, str) else ranges.show(value)


def suggest(name: object, known: Iterable[object]) -> str:
    """Return the end of a message about an unknown name: the nearest known one, or all of them."""
    return suggest_nearest(name, known) or f'; known: {", ".join(map(str, known))}'


def list_options(known: Iterable[object], name: object) -> str:
    """Return the end of a message about an unknown name: all known ones, and the nearest."""
    return f'want one of {", ".join(map(str, known))}{suggest_nearest(name, known)}'


def suggest_nearest(name: object, known: Iterable[object]) -> str:
    """Return the known name nearest to a name as a question, '' where none is near."""
    nearest = difflib.get_close_matches(str(name), list(map(str, known)), 1, 0.5)
    return f'; did you mean {nearest[0]!r}?' if nearest else ''
