"""Rules for the values of a field, declared with the field: `steps: Annotated[int, AtLeast(1)] = 1000`.

A dataclass that is `Ranged` checks its fields whenever one is made: in Python, from a file or from the command line.
Upper ends are where a number stops being of use: what becomes int32 overflows, memory runs full, a loop never ends.
"""

import dataclasses
import functools
import math
import numbers
import operator
import re
import types
import typing
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal, NoReturn

from vdm_jax.errors import UserError

# The largest number that jax's integers hold without 64-bit mode.
INT32 = 2**31 - 1
SHOWN = 60  # characters of a value in a message


def is_number(value: object) -> bool:
    """Return whether a value is a finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


@dataclasses.dataclass(frozen=True)
class Between:
    """Numbers from `low` to `high`.

    Attributes:
      low: The least of them.
      high: The greatest of them.
      below: Whether `high` itself is left out.
    """

    low: float
    high: float
    below: bool = False

    def refusal(self, value: float) -> str | None:
        """Return what is wanted in place of this number, None where it is one of them (nan never is)."""
        is_low_enough = value < self.high if self.below else value <= self.high
        if self.low <= value and is_low_enough:
            return None
        return f'want {self.describe_wanted(value)}'

    def describe_wanted(self, value: float) -> str:
        """Return what is wanted in place of a number that is not one of them."""
        return f'a number {self.describe()}'

    def describe_high(self) -> str:
        """Return what is wanted in place of a number that is too large."""
        high = _format_number(self.high)
        return f'less than {high}' if self.below else f'{high} or less'

    def describe(self) -> str:
        """Return in words which numbers these are."""
        low = _format_number(self.low)
        high = _format_number(self.high)
        return f'in [{low}, {high})' if self.below else f'from {low} to {high}'


@dataclasses.dataclass(frozen=True)
class AtLeast(Between):
    """Numbers from `low` on.

    Attributes:
      high: Far beyond what is of use.
    """

    high: float = INT32

    def describe_wanted(self, value: float) -> str:
        return self.describe_high() if value >= self.high else self.describe()

    def describe(self) -> str:
        return f'{_format_number(self.low)} or more'


@dataclasses.dataclass(frozen=True)
class Above0(Between):
    """Numbers above 0.

    Attributes:
      low: Far below what is of use, and what float32 still computes with.
      high: Far beyond what is of use, and what float32 still computes with.
    """

    low: float = 1e-6
    high: float = 1e6

    def describe_wanted(self, value: float) -> str:
        if value >= self.high:
            return self.describe_high()
        # Who asks for a smaller one meets the lower end, which nobody else needs to know.
        return f'{_format_number(self.low)} or more' if value > 0 else 'a number above 0'

    def describe(self) -> str:
        return 'above 0'


@dataclasses.dataclass(frozen=True)
class MultipleOf:
    """Whole numbers that another one divides.

    Attributes:
      unit: The divisor.
    """

    unit: int

    def refusal(self, value: int) -> str | None:
        return f'want a multiple of {self.unit}' if value % self.unit else None

    def describe(self) -> str:
        return f'a multiple of {self.unit}'


@dataclasses.dataclass(frozen=True)
class NotEmpty:
    """Lists of one item or more."""

    def refusal(self, value: Sequence[object]) -> str | None:
        return None if value else 'it is empty; want one or more of them'

    def describe(self) -> str:
        return 'at least one'


@dataclasses.dataclass(frozen=True)
class Distinct:
    """Lists in which nothing is twice."""

    def refusal(self, value: Sequence[object]) -> str | None:
        twice = [item for number, item in enumerate(value) if item in value[:number]]
        return f'{twice[0]} is there twice' if twice else None

    def describe(self) -> str:
        return 'none twice'


@dataclasses.dataclass(frozen=True)
class Ascending:
    """Lists in which nothing is less than what stands before it."""

    def refusal(self, value: Sequence[float]) -> str | None:
        return None if list(value) == sorted(value) else 'want the lower number first'

    def describe(self) -> str:
        return 'the lower one first'


@dataclasses.dataclass(frozen=True)
class Regex:
    """Texts that are regular expressions."""

    def refusal(self, value: str) -> str | None:
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            return f'want a regular expression, and this is none: {error}'
        return None

    def describe(self) -> str:
        """Return in words which texts these are."""
        return 'a regular expression'


@dataclasses.dataclass(frozen=True, init=False)
class OneOf:
    """Names of a table that code makes, `layout: Annotated[str, OneOf(LAYOUTS)]`; names written out are a Literal.

    Attributes:
      names: The names, in the order of the table.
    """

    names: tuple[str, ...]

    def __init__(self, names: Iterable[str]):
        # A frozen dataclass refuses plain assignment.
        object.__setattr__(self, 'names', tuple(names))

    def refusal(self, value: object) -> str | None:
        """Return what is wanted in place of this name, None where it is one of them."""
        return _refusal_of_option(self.names, value)

    def describe(self) -> str:
        """Return the names."""
        return ', '.join(self.names)


Count = Annotated[int, AtLeast(1)]
Whole = Annotated[int, AtLeast(0)]  # mostly: 0 turns something off
Frames = Annotated[int, Between(1, 2**16)]  # of a clip
Pixels = Annotated[int, Between(1, 2**14)]  # of the side of a frame
Side = Annotated[int, Between(1, 2**16)]  # of a network's arrays: channels, widths
Classes = Annotated[int, Between(0, 10**7)]  # each of which a network has a vector for
Seed = Annotated[int, Between(0, 2**32 - 1)]  # of jax's keys, which look at 32 bits alone
Share = Annotated[float, Between(0, 1)]
Decay = Annotated[float, Between(0, 0.9999999)]  # of an average: what is nearer to 1 is 1 in float32
Weight = Annotated[float, AtLeast(0, 1e9)]  # of a loss, of a decay
BatchSize = Annotated[int, Between(1, 2**20)]  # of clips that are in memory together
Clips = Annotated[int, Between(1, 10**8)]  # of an epoch, whose order takes 16 bytes a clip
Stride = Annotated[int, Between(1, 2**20)]  # between frames of a clip
Fps = Annotated[float, Above0(1e-6, 1e6)]
Mebibytes = Annotated[int, Between(0, 2**24)]  # as many as the largest hosts have
Threads = Annotated[int, Between(0, 1024)]
Ahead = Annotated[int, Between(0, 2**16)]  # of clips that a loader keeps ready


class RangeError(UserError):
    """A value that its field may not hold: config.train.steps=0: want 1 or more.

    Attributes:
      owner: The dataclass that has the field.
      mistake: The message without the dotted key of the group.
    """

    def __init__(self, owner: type, group: str, mistake: str):
        super().__init__(f'{group}.{mistake}')
        self.owner = owner
        self.mistake = mistake

    def with_group(self, group: str) -> 'RangeError':
        """Return the same error of a group at another dotted key."""
        return RangeError(self.owner, group, self.mistake)


class Ranged:
    """Base of dataclasses whose fields are checked on construction: class TrainConfig(Ranged, where='config.train').

    `where` is the dotted key at which the group usually stands, for messages; a subclass inherits it. A subclass with
    a __post_init__ of its own calls this one first.

    Raises:
      RangeError: A field holds what it may not; the message names the key, the value and what is wanted.
    """

    _where: ClassVar[str] = 'config'

    def __init_subclass__(cls, where: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A subclass without a key of its own stands where its parent does, as every sampler does.
        if where is not None:
            cls._where = where

    def __post_init__(self) -> None:
        cls: type = type(self)
        annotations = annotations_of(cls)
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass that is made is a dataclass
            if reason := refusal(annotations[field.name], getattr(self, field.name)):
                self.refuse(field.name, reason)

    def refuse(self, key: str, reason: str) -> NoReturn:
        """Raise a RangeError for the value of a field; for rules that relate several fields."""
        raise RangeError(type(self), self._where, f'{key}={show(getattr(self, key))}: {reason}')


@functools.cache
def annotations_of(cls: type) -> dict[str, Any]:
    """Return the annotation of each field, ranges included."""
    return typing.get_type_hints(cls, include_extras=True)


def without_ranges(annotation: Any) -> Any:
    """Return an annotation without what bounds its values; the names of a OneOf become a Literal."""
    origin = typing.get_origin(annotation)
    options = typing.get_args(annotation)
    if origin is Annotated:
        kind, *rules = options
        names = next((rule.names for rule in rules if isinstance(rule, OneOf)), None)
        # Literal[names] in a call, since type checkers read the brackets as a type.
        return without_ranges(kind) if names is None else Literal.__getitem__(names)
    if origin in (typing.Union, types.UnionType):
        return functools.reduce(operator.or_, map(without_ranges, options))
    if origin is tuple:
        return types.GenericAlias(tuple, tuple(map(without_ranges, options)))
    return annotation


def refusal(annotation: Any, value: Any) -> str | None:
    """Return why a field with this annotation cannot hold a value, None where it can or where there is no rule."""
    origin = typing.get_origin(annotation)
    options = typing.get_args(annotation)
    if origin is Annotated:
        kind, *rules = options
        # Rules compare numbers: they come after the check that it is one.
        return refusal(kind, value) or next(filter(None, (rule.refusal(value) for rule in rules)), None)
    if origin in (typing.Union, types.UnionType):
        return _refusal_of_union(options, value)
    if origin is Literal:
        return _refusal_of_option(options, value)
    if origin is tuple:
        return _refusal_of_items(options, value)
    if annotation in (int, float):
        return _refusal_of_number(annotation, value)
    return None


def _refusal_of_union(options: tuple[Any, ...], value: object) -> str | None:
    """Return why no option of a union can hold a value, None where one can."""
    if value is None and types.NoneType in options:
        return None
    reasons = []
    for option in options:
        if option is types.NoneType:
            continue
        reason = refusal(option, value)
        if reason is None:
            return None
        reasons.append(reason)
    # One sentence: 'want A, or B' in place of 'want A, or want B'.
    return ', or '.join(reasons).replace(', or want ', ', or ')


def _refusal_of_option(options: tuple[object, ...], value: object) -> str | None:
    # Also by type, since 1 == True.
    if any(value == option and type(value) is type(option) for option in options):
        return None
    return f'want {"one of " if len(options) > 1 else ""}{", ".join(map(str, options))}'


def _refusal_of_number(kind: type, value: object) -> str | None:
    # The abstract kinds, which numpy's numbers are too; True is a number to Python, and none to a config.
    wanted: type = numbers.Integral if kind is int else numbers.Real
    if isinstance(value, wanted) and not isinstance(value, bool):
        return None
    return 'want a whole number' if kind is int else 'want a number'


def _refusal_of_items(kinds: tuple[Any, ...], items: object) -> str | None:
    if not isinstance(items, (tuple, list)):
        return 'want a list'
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(items)
    if len(kinds) != len(items):
        return f'want {len(kinds)} of them'
    for kind, item in zip(kinds, items, strict=True):
        if reason := refusal(kind, item):
            return f'{show(item)} is among them; {reason}'
    return None


def show(value: object) -> str:
    """Return a value as a user would write it, on one line of reasonable length."""
    if isinstance(value, (tuple, list)):
        text = ','.join(map(show, value)) or '()'
    elif isinstance(value, str):
        text = value if value.isprintable() else repr(value)
    elif isinstance(value, int) and value.bit_length() > 10_000:  # Python itself writes no more digits
        text = f'a whole number of {value.bit_length()} bits'
    else:
        text = str(value)
    return shorten(text)


def shorten(text: str) -> str:
    """Return a text cut to what fits into a message."""
    return text if len(text) <= SHOWN else f'{text[:SHOWN]}… ({len(text)} characters)'


def _format_number(number: float) -> str:
    return str(number) if isinstance(number, int) else f'{number:.10g}'
