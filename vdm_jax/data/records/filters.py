"""Filters on what is known of clips, such as 'motion>=0.02', for the build and for training.

A filter is NAME, an operator of OPERATORS and a value, spaces around them or not. Names are those of FACTS and of
scores. Texts know == and != alone. What a clip does not have (a score that was not measured, no label, an empty text)
meets no filter, != included, unless it ends in '|missing': 'aesthetic>=5|missing'.
"""

import dataclasses
import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from vdm_jax.data.records.shards import SCORE, RecordSet
from vdm_jax.errors import UserError

# The first that fits is taken, so the longer ones come first: '>=' also begins with '>'.
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    '>=': operator.ge,
    '<=': operator.le,
    '==': operator.eq,
    '!=': operator.ne,
    '>': operator.gt,
    '<': operator.lt,
}
FACTS = (  # what is known of every clip
    'frames',
    'height',
    'width',
    'fps',
    'seconds',  # frames / fps
    'captions',  # how many
    'label',
    'label_name',
    'source',  # the file it was cut from
    'start',  # second of that file
    'end',
    'pixel_aspect',  # of that file's pixels, width over height
)
MISSING = '|missing'
# Characters of a filter: a path has 4,096 at most.
MAX_LENGTH = 10_000
_NAME = re.compile(r'[\w./ -]*[\w.]')


@dataclasses.dataclass(frozen=True)
class Filter:
    """One filter.

    Attributes:
      text: As it was written.
      name: Of the fact or score.
      sign: One of OPERATORS.
      value: What it is compared with, a number or a text.
      missing: Whether a clip meets it that has no such value.
    """

    text: str
    name: str
    sign: str
    value: str
    missing: bool

    def matches(self, values: np.ndarray, where: str) -> np.ndarray:
        """Return whether each value meets it: bool (N,).

        Args:
          values: (N,) numbers, of which nan is none, or texts (object), of which None and '' are none.
          where: The key of a config, for messages.

        Raises:
          UserError: a text is compared with numbers, or texts are to be in an order.
        """
        compare = OPERATORS[self.sign]
        if values.dtype == object:
            if self.sign not in ('==', '!='):
                raise UserError(f'{where}: {self.text}: {self.name} is a text; compare it with == or !=')
            texts = np.array(['' if value is None else value for value in values], object)
            is_missing = texts == ''
            is_met = compare(texts, self.value)
        else:
            numbers = values.astype(np.float64)
            # nan != 3 is true for numpy, so what is missing goes by a rule of its own.
            is_missing = np.isnan(numbers)
            is_met = compare(numbers, self._read_number(where))
        return np.where(is_missing, self.missing, is_met).astype(bool)

    def _read_number(self, where: str) -> float:
        try:
            number = float(self.value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UserError(f'{where}: {self.text}: {self.name} is a number, and {self.value!r} is none')
        return number


@dataclasses.dataclass(frozen=True)
class Filters:
    """Filters, all of which a clip has to meet.

    Attributes:
      filters: None let every clip through.
      where: The key of a config, for messages.
    """

    filters: tuple[Filter, ...] = ()
    where: str = 'filters'

    def check(self, names: Iterable[str]) -> None:
        """Check that each filter is on one of these names, FACTS and those of scores.

        Raises:
          UserError: one is on something else.
        """
        names = list(names)
        for each in self.filters:
            if each.name not in names:
                near = difflib.get_close_matches(each.name, names, 1, 0.5)
                hint = f'did you mean {near[0]!r}?' if near else f'known: {", ".join(sorted(names))}'
                raise UserError(f'{self.where}: {each.text}: nothing is called {each.name!r}; {hint}')

    def matches(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return which clips meet all filters: {name: values (N,)}, such as Columns -> bool (N,).

        Raises:
          UserError: a name is not there, or a value is of another kind than the column's.
        """
        self.check(columns)
        if not self.filters:
            return np.ones(len(columns['frames']), bool)
        is_met = [each.matches(columns[each.name], self.where) for each in self.filters]
        matches: np.ndarray = np.logical_and.reduce(is_met)
        return matches

    def first_failing(self, values: Mapping[str, float | str | None]) -> str | None:
        """Return the first filter, as it was written, that one clip does not meet; None where it meets all.

        A name without a value counts as missing: `check` beforehand that it exists.
        """
        for each in self.filters:
            value = values.get(each.name)
            kind = object if isinstance(value, str) else np.float64
            column = np.array([math.nan if value is None else value], kind)
            if not each.matches(column, self.where)[0]:
                return each.text
        return None


def parse(texts: Iterable[str], where: str = 'config.data.filters') -> Filters:
    """Read the filters that are written in the texts.

    Raises:
      UserError: one is no filter; it names `where`.
    """
    return Filters(tuple(_parse_filter(text, where) for text in texts), where)


def _parse_filter(text: str, where: str) -> Filter:
    if len(text) > MAX_LENGTH:
        start = f'{text[:40]!r}...'
        raise UserError(f'{where}: {start} has {len(text):,} characters; a filter has {MAX_LENGTH:,} at most')

    body = text.strip()
    comparison = body.removesuffix(MISSING)
    parts = _split(comparison)
    if parts is None:
        signs = ' '.join(OPERATORS)
        hint = 'write == for equal' if re.search(r'[^<>=!]=[^=]', text) else f'want NAME{"|".join(OPERATORS)}VALUE'
        excerpt = repr(text if len(text) <= 100 else f'{text[:97]}...')
        raise UserError(f'{where}: {excerpt} is no filter; {hint}, such as motion>=0.02 (operators: {signs})')

    name, sign, value = parts
    return Filter(body, name, sign, value, missing=comparison != body)


def _split(text: str) -> tuple[str, str, str] | None:
    """Return (name, operator, value) of a filter, None of what is none; in time proportional to its length."""
    # Step by step and not by one regular expression, which took seconds for some thousand characters.
    at = next((i for i, letter in enumerate(text) if letter in '<>=!'), len(text))
    sign = next((sign for sign in OPERATORS if text.startswith(sign, at)), '')
    name = text[:at].strip()
    value = text[at + len(sign) :].strip()
    if not sign or not _NAME.fullmatch(name) or not value or '\n' in value:
        return None
    return name, sign, value


class Columns(Mapping[str, np.ndarray]):
    """What filters can be on of the clips of a RecordSet: FACTS and scores by name, (N,) each, read when needed."""

    def __init__(self, records: RecordSet):
        self._records = records

    def __iter__(self) -> Iterator[str]:
        yield from FACTS
        yield from (name for name in self._records.scores if name not in FACTS)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> np.ndarray:
        records = self._records
        if name == 'seconds':
            seconds: np.ndarray = records.column('frames') / records.column('fps')
            return seconds
        if name == 'captions':
            # Each row is parsed as JSON for it, so only where a filter asks.
            return np.array([len(records.captions(i)) for i in range(len(records))], np.int64)
        if name in FACTS:
            return records.column(name)
        if name in records.scores:
            return records.column(SCORE + name)
        raise KeyError(name)
