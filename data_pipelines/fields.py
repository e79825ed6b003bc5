"""What a row of a list, or a file beside a video, says of it: captions, label, window of time, scores.

A row is a mapping of names to plain values, as CSV (texts alone), JSON and parquet give them. What cannot be used is a
ProblemError with a short reason, so that it ends in the manifest.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from vdm_jax.data.filters import FACTS
from vdm_jax.data.records import Caption

PATH = 'path', 'file', 'video'
CAPTION = 'caption', 'text'
KNOWN = (*PATH, *CAPTION, 'captions', 'label', 'label_name', 'start', 'end', 'split', 'scores')
LABELS = 2**31  # that there can be
MISSING = '', 'nan', 'null', 'none', 'n/a', 'na'  # what lists write where they know nothing


class ProblemError(Exception):
    """Why a row or a file cannot be used: ProblemError(reason, detail), the reason a short slug that is counted."""

    def __str__(self):
        return ': '.join(self.args)


def described(row: Mapping[str, Any], numeric=None) -> dict[str, Any]:
    """The fields of an Item that a row gives: captions, label, label_name, scores, start, end, split.

    numeric: the columns that are scores; None: every number in the row, as of a JSON file beside a video.

    Raises: ProblemError.
    """
    label, name = given(row.get('label')), text_of(row.get('label_name'), 'label_name')
    if label is not None:
        label = number(label, 'label')
        if label != int(label) or not 0 <= label < LABELS:
            raise ProblemError('bad_label', f'label is {_short(row["label"])}; a label is a whole number from 0 on')
        label = int(label)
    start, end = (seconds(given(row.get(key)), key) for key in ('start', 'end'))
    if end is not None and end <= (start or 0):
        raise ProblemError('bad_times', f'it ends at {end:g} s, before it starts')
    return {
        'captions': tuple(caption for key in (*CAPTION, 'captions') for caption in captions_of(row.get(key), key)),
        'label': label,
        'label_name': name,
        'scores': scores_of(row, numeric),
        'start': start,
        'end': end,
        'split': text_of(row.get('split'), 'split'),
    }


def captions_of(value, key: str = 'captions') -> tuple[Caption, ...]:
    """Captions of a text, a mapping {text, weight, start, end}, or a list of such. Empty texts are none.

    A text in `captions` that begins with [ or { is JSON, for CSV has no lists. Raises: ProblemError.
    """
    if isinstance(value, str) and key == 'captions' and value.lstrip()[:1] in ('[', '{'):
        value = from_json(value, 'captions')
    if value is None or isinstance(value, float) and math.isnan(value):
        return ()
    if isinstance(value, str):
        text = text_of(value, key)
        return (Caption(text),) if text else ()
    if isinstance(value, Mapping):
        return _weighted(value, key)
    if isinstance(value, list | tuple):
        return tuple(caption for item in value for caption in captions_of(item, 'text'))
    raise ProblemError(
        'bad_caption', f'{key} is {_short(value)}; want text, or {{text, weight, start, end}}, or a list'
    )


def _weighted(value, key):
    if strange := set(value) - {'text', 'caption', 'weight', 'start', 'end'}:
        raise ProblemError('bad_caption', f'{key} has {sorted(strange)[0]!r}; known: text, weight, start, end')
    text = text_of(value.get('text', value.get('caption')), key)
    weight = given(value.get('weight'))
    weight = 1.0 if weight is None else number(weight, 'weight', 'bad_caption')
    if weight <= 0:
        raise ProblemError('bad_caption', f'{key} has the weight {weight:g}; want more than 0')
    start, end = (seconds(given(value.get(name)), name) for name in ('start', 'end'))
    if end is not None and end <= (start or 0):
        raise ProblemError('bad_caption', f'{key} has one that ends at {end:g} s, before it starts')
    return (Caption(text, weight, start, end),) if text else ()


def scores_of(row, numeric=None) -> dict[str, float]:
    """The finite numbers in the columns `numeric` (None: all but those that mean something else) and under `scores`."""
    nested = given(row.get('scores'))
    if isinstance(nested, str):
        nested = from_json(nested, 'scores')
    if nested is not None and not isinstance(nested, Mapping):
        raise ProblemError('bad_score', f'scores is {_short(nested)}; want {{name: number}}')
    names = [name for name in row if name not in (*KNOWN, *FACTS)] if numeric is None else numeric
    found = {name: as_number(given(row.get(name))) for name in names}
    for name, value in (nested or {}).items():
        value = given(value)
        found[name] = None if value is None else number(value, f'scores.{name}', 'bad_score')
    return {text_of(name, 'scores'): value for name, value in sorted(found.items()) if value is not None}


def given(value):
    """The value, None where it stands for nothing."""
    if isinstance(value, str):
        value = value.strip()
        return None if value.lower() in MISSING else value
    return None if isinstance(value, float) and math.isnan(value) else value


def as_number(value) -> float | None:
    """The value as a finite number, None where it is none; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def number(value, key, reason='') -> float:
    """Raises: ProblemError."""
    found = as_number(value)
    if found is None:
        raise ProblemError(reason or f'bad_{key}', f'{key} is {_short(value)}, no number')
    return found


def seconds(value, key) -> float | None:
    """Seconds of a number or of H:MM:SS.s. Raises: ProblemError."""
    if value is None:
        return None
    parts = value.split(':') if isinstance(value, str) else [value]
    found = [as_number(part) for part in parts]
    if len(parts) > 3 or None in found or min(found) < 0:
        raise ProblemError('bad_times', f'{key} is {_short(value)}; want seconds or H:MM:SS')
    return float(sum(part * 60**power for power, part in enumerate(reversed(found))))


def text_of(value, key) -> str:
    """A text without spaces around it, '' for none. Raises: ProblemError for no text, or none that UTF-8
    can hold."""
    if value is None or isinstance(value, float) and math.isnan(value):
        return ''
    if isinstance(value, bool | int | float):
        value = str(value)
    if not isinstance(value, str):
        raise ProblemError(f'bad_{key}', f'{key} is {_short(value)}; want text')
    try:
        value.encode()
    except UnicodeEncodeError:  # bytes that were no UTF-8, kept by surrogateescape; or half a character in JSON
        raise ProblemError('encoding', f'{key} is no UTF-8: {_short(value)}; save it as UTF-8') from None
    return value.strip()


def from_json(text: str, what: str):
    """Raises: ProblemError, for what is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProblemError('bad_json', f'{what} is no JSON: {str(error) or type(error).__name__}') from None


def _short(value) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 60 else f'{shown[:57]}...'
