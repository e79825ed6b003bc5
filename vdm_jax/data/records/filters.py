"""Which clips to take: conditions such as 'motion>=0.02' on what is known of them, for the build and for training.

A condition is NAME, an operator of OPERATORS and a value, spaces around them or not. Names are those of FACTS and of
scores. Texts know == and != alone. What a clip does not have (a score that was not measured, no label, an empty text)
meets no condition, != included, unless it ends in '|missing': 'aesthetic>=5|missing'.
"""

import dataclasses
import difflib
import math
import operator
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from vdm_jax.errors import UserError

OPERATORS = {
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
MOST = 10_000  # characters of a condition: a path has 4,096 at most
_NAME = re.compile(r'[\w./ -]*[\w.]')


@dataclasses.dataclass(frozen=True)
class Condition:
    """One of them; `missing`: what a clip that has no such value is said to do. text: as it was written."""

    text: str
    name: str
    sign: str
    value: str
    missing: bool

    def met(self, values: np.ndarray, where: str) -> np.ndarray:
        """Whether each value meets it: (N,) of numbers (nan: none) or of texts (object; None, '': none) -> bool (N,).

        Raises: UserError for a text held against numbers, or an order of texts.
        """
        if values.dtype == object:
            if self.sign not in ('==', '!='):
                raise UserError(f'{where}: {self.text}: {self.name} is a text; compare it with == or !=')
            texts = np.array(['' if value is None else value for value in values], object)
            none, met = texts == '', OPERATORS[self.sign](texts, self.value)
        else:
            numbers = values.astype(np.float64)
            none, met = np.isnan(numbers), OPERATORS[self.sign](numbers, self._number(where))
        return np.where(none, self.missing, met).astype(bool)

    def _number(self, where):
        try:
            number = float(self.value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise UserError(f'{where}: {self.text}: {self.name} is a number, and {self.value!r} is none')
        return number


@dataclasses.dataclass(frozen=True)
class Filters:
    """Conditions, all of which a clip has to meet. where: the key of a config, for messages."""

    conditions: tuple[Condition, ...] = ()
    where: str = 'filters'

    def check(self, names: Iterable[str]) -> None:
        """Raises: UserError for a condition on what is not among the names (FACTS, and those of scores)."""
        names = list(names)
        for condition in self.conditions:
            if condition.name not in names:
                near = difflib.get_close_matches(condition.name, names, 1, 0.5)
                hint = f'did you mean {near[0]!r}?' if near else f'known: {", ".join(sorted(names))}'
                raise UserError(f'{self.where}: {condition.text}: nothing is called {condition.name!r}; {hint}')

    def keep(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Which clips meet all conditions: {name: values (N,)}, such as Columns -> bool (N,).

        Raises: UserError for a name that is not there, or a value of another kind than the column's.
        """
        self.check(columns)
        kept = [condition.met(columns[condition.name], self.where) for condition in self.conditions]
        return np.logical_and.reduce(kept) if kept else np.ones(len(columns['frames']), bool)

    def first_failing(self, values: Mapping[str, float | str | None]) -> str | None:
        """The first condition, as it was written, that one clip with these values does not meet; None: it meets all.

        A name without a value counts as missing: `check` beforehand that it exists.
        """
        for condition in self.conditions:
            value = values.get(condition.name)
            kind = object if isinstance(value, str) else np.float64
            if not condition.met(np.array([math.nan if value is None else value], kind), self.where)[0]:
                return condition.text
        return None


def parse(texts: Iterable[str], where: str = 'config.data.filters') -> Filters:
    """The conditions that are written in the texts.

    Raises: UserError, naming `where`, for a text that is none.
    """
    conditions = []
    for text in texts:
        if len(text) > MOST:
            raise UserError(f'{where}: {text[:40]!r}... has {len(text):,} characters; a condition has {MOST:,} at most')
        body = text.strip()
        bare = body.removesuffix(MISSING)
        found = _parts(bare)
        if found is None:
            signs = ' '.join(OPERATORS)
            hint = 'write == for equal' if re.search(r'[^<>=!]=[^=]', text) else f'want NAME{"|".join(OPERATORS)}VALUE'
            shown = repr(text if len(text) <= 100 else f'{text[:97]}...')
            raise UserError(f'{where}: {shown} is no condition; {hint}, such as motion>=0.02 (operators: {signs})')
        conditions.append(Condition(body, *found, bare != body))
    return Filters(tuple(conditions), where)


def _parts(text: str) -> tuple[str, str, str] | None:
    """(name, operator, value) of a condition, None of what is none; takes time in proportion to its length."""
    at = next((i for i, letter in enumerate(text) if letter in '<>=!'), len(text))
    sign = next((sign for sign in OPERATORS if text.startswith(sign, at)), '')
    name, value = text[:at].strip(), text[at + len(sign) :].strip()
    if not sign or not _NAME.fullmatch(name) or not value or '\n' in value:
        return None
    return name, sign, value


class Columns(Mapping):
    """What conditions may ask of the clips of a RecordSet, by name: FACTS and scores, each (N,), read when asked."""

    def __init__(self, records):
        self._records = records

    def __iter__(self) -> Iterator[str]:
        yield from FACTS
        yield from (name for name in self._records.scores if name not in FACTS)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> np.ndarray:
        records = self._records
        if name == 'seconds':
            return records.column('frames') / records.column('fps')
        if name == 'captions':
            return np.array([len(records.captions(i)) for i in range(len(records))], np.int64)
        if name in FACTS:
            return records.column(name)
        if name in records.scores:
            return records.column(f'score/{name}')
        raise KeyError(name)
