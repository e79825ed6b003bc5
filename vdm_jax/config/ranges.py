"""Which values a field may hold, declared where the field is: `steps: Annotated[int, AtLeast(1)] = 1000`.

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

INT32 = 2**31 - 1
SHOWN = 60  # characters of a value in a message


def is_number(value: object) -> bool:
    """Whether a value is a finite number; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


@dataclasses.dataclass(frozen=True)
class Between:
    """Numbers from `low` to `high`, both among them; `below` leaves `high` out."""

    low: float
    high: float
    below: bool = False

    def refusal(self, value: float) -> str | None:
        """What is wanted in place of this number; None where it is one of them (nan never is)."""
        most = value < self.high if self.below else value <= self.high
        return None if self.low <= value and most else f'want {self.words(value)}'

    def words(self, value: float) -> str:
        """What is wanted in place of a number that is not one of them."""
        low, high = _plain(self.low), _plain(self.high)
        return f'a number in [{low}, {high})' if self.below else f'a number from {low} to {high}'

    def words_of_high(self) -> str:
        """The same of one that is too large."""
        return f'less than {_plain(self.high)}' if self.below else f'{_plain(self.high)} or less'

    def describe(self) -> str:
        """Return in words which numbers these are."""
        low, high = _plain(self.low), _plain(self.high)
        return f'in [{low}, {high})' if self.below else f'from {low} to {high}'


@dataclasses.dataclass(frozen=True)
class AtLeast(Between):
    """Numbers from `low` on; `high` is far beyond what is of use."""

    high: float = INT32

    def words(self, value: float) -> str:
        return self.words_of_high() if value >= self.high else f'{_plain(self.low)} or more'

    def describe(self) -> str:
        return f'{_plain(self.low)} or more'


@dataclasses.dataclass(frozen=True)
class Above0(Between):
    """Numbers above 0; `low` and `high` are far beyond what is of use, and what float32 still computes with."""

    low: float = 1e-6
    high: float = 1e6

    def words(self, value: float) -> str:
        if value >= self.high:
            return self.words_of_high()
        return f'{_plain(self.low)} or more' if value > 0 else 'a number above 0'

    def describe(self) -> str:
        return 'above 0'


@dataclasses.dataclass(frozen=True)
class MultipleOf:
    """Whole numbers that `unit` divides."""

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
    """Names of a table that code makes, `layout: Annotated[str, OneOf(LAYOUTS)]`; names written out are a Literal."""

    names: tuple[str, ...]

    def __init__(self, names: Iterable[str]):
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
Batch = Annotated[int, Between(1, 2**20)]  # of clips that are in memory together
Clips = Annotated[int, Between(1, 10**8)]  # of an epoch, whose order takes 16 bytes a clip
Stride = Annotated[int, Between(1, 2**20)]  # between frames of a clip
Fps = Annotated[float, Above0(1e-6, 1e6)]
Mebibytes = Annotated[int, Between(0, 2**24)]  # as many as the largest hosts have
Threads = Annotated[int, Between(0, 1024)]
Ahead = Annotated[int, Between(0, 2**16)]  # of clips that a loader keeps ready


class RangeError(UserError):
    """A field of a dataclass `owner` holds what it may not: config.train.steps=0: want 1 or more."""

    def __init__(self, owner: type, where: str, mistake: str):
        super().__init__(f'{where}.{mistake}')
        self.owner, self.mistake = owner, mistake

    def at(self, where: str) -> 'RangeError':
        """The same, of a group that stands at `where`, a dotted key."""
        return RangeError(self.owner, where, self.mistake)


class Ranged:
    """A dataclass whose fields are checked when one is made: class TrainConfig(Ranged, where='config.train').

    where: the dotted key at which it usually stands, for messages; a subclass has its parent's unless it says its own.
    One that overrides __post_init__ calls this one first.

    Raises: RangeError, naming the key, what was found and what is wanted.
    """

    _where: ClassVar[str] = 'config'

    def __init_subclass__(cls, where: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if where is not None:
            cls._where = where

    def __post_init__(self) -> None:
        cls: type = type(self)
        annotations = annotations_of(cls)
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  # every subclass that is made is a dataclass
            if reason := refusal(annotations[field.name], getattr(self, field.name)):
                self.refuse(field.name, reason)

    def refuse(self, key: str, reason: str) -> NoReturn:
        """Raises: RangeError for a field's value, named where its group stands: for what relates several fields."""
        raise RangeError(type(self), self._where, f'{key}={show(getattr(self, key))}: {reason}')


@functools.cache
def annotations_of(cls: type) -> dict[str, Any]:
    """The annotation of each field, ranges included."""
    return typing.get_type_hints(cls, include_extras=True)


def without_ranges(annotation: Any) -> Any:
    """Return an annotation without what bounds its values; the names of a OneOf become a Literal."""
    origin, options = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        kind, *rules = options
        names = next((rule.names for rule in rules if isinstance(rule, OneOf)), None)
        return without_ranges(kind) if names is None else Literal.__getitem__(names)
    if origin in (typing.Union, types.UnionType):
        return functools.reduce(operator.or_, map(without_ranges, options))
    if origin is tuple:
        return types.GenericAlias(tuple, tuple(map(without_ranges, options)))
    return annotation


def refusal(annotation: Any, value: Any) -> str | None:
    """Why a field with this annotation cannot hold the value; None where it can, and where it says nothing of it."""
    origin, options = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        kind, *rules = options
        return refusal(kind, value) or next(filter(None, (rule.refusal(value) for rule in rules)), None)
    if origin in (typing.Union, types.UnionType):
        if value is None and types.NoneType in options:
            return None
        reasons = [refusal(option, value) for option in options if option is not types.NoneType]
        wanted = [reason for reason in reasons if reason is not None]
        return None if len(wanted) < len(reasons) else ', or '.join(wanted).replace(', or want ', ', or ')
    if origin is Literal:
        return _refusal_of_option(options, value)
    if origin is tuple:
        return _refusal_of_items(options, value)
    if annotation in (int, float):
        return _refusal_of_number(annotation, value)
    return None


def _refusal_of_option(options: tuple[object, ...], value: object) -> str | None:
    fits = any(value == option and type(value) is type(option) for option in options)
    return None if fits else f'want {"one of " if len(options) > 1 else ""}{", ".join(map(str, options))}'


def _refusal_of_number(kind: type, value: object) -> str | None:
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
    """A value as a user would write it, in one line of reasonable length."""
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
    """A text as it fits into a message."""
    return text if len(text) <= SHOWN else f'{text[:SHOWN]}… ({len(text)} characters)'


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f'{number:.10g}'
