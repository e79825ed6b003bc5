"""What a row of a list, or a file beside a video, says of it: captions, label, window of time, scores.

A row is a mapping of names to plain values, as CSV (texts alone), JSON and parquet give them. What cannot be used is a
ProblemError with a short reason, so that it ends in the manifest.
"""

import decimal
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from vdm_jax.data.filters import FACTS
from vdm_jax.data.records import Caption

PATH = 'path', 'file', 'video', 'file_name', 'filename', 'file_path', 'filepath', 'video_path', 'videopath'
CAPTION = 'caption', 'text'
KNOWN = (*PATH, *CAPTION, 'captions', 'label', 'label_name', 'start', 'end', 'split', 'scores')
LABELS = 2**31  # that there can be
DEEP = 8  # lists of captions within each other
MOST_SECONDS = 1e9  # thirty years
MISSING = '', 'nan', 'null', 'none', 'n/a', 'na', '<na>', '#n/a'  # what lists write where they know nothing
EXACT = 2**53  # whole numbers beyond this are no longer told apart as scores, so they are names of something
# A number as programs write it: 0.31, -5, 1e-05. Not 007, 1e5 or 1_000, which are names that look like one.
PLAIN = re.compile(r'[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-][0-9]+)?')
# Columns that tell rows apart and measure nothing, in any case: id, videoID, clip_id, key, index; pandas' unnamed one.
IDENTIFIER = re.compile(
    r'(.*[^a-z0-9])?(id|ids|key|uid|uuid|guid)|index|idx|row|[adpw]?hash|md5|sha1|sha256'
    r'|(video|clip|image|youtube|yt|vid|sample|item|frame|shot|scene|segment|user|file|row|caption|text|sentence|sen)'
    r'[ _]?(id|index|idx|hash|number|num)'
    r'|unnamed: [0-9]+|__index_level_[0-9]+__|'
)


class ProblemError(Exception):
    """Why a row or a file cannot be used: ProblemError(reason, detail), the reason a short slug that is counted."""

    def __str__(self):
        return ': '.join(self.args)


def described(row: Mapping[str, Any], scores: Iterable[str] | None = None) -> dict[str, Any]:
    """The fields of an Item that a row gives: captions, label, label_name, scores, start, end, split.

    scores: the columns that are scores; None: those that are by themselves (`is_score`), as of a JSON file beside a
    video.

    Raises: ProblemError.
    """
    label, name = given(row.get('label')), text_of(row.get('label_name'), 'label_name')
    if label is not None:
        label = number(label, 'label')
        if label != int(label) or not 0 <= label < LABELS:
            raise ProblemError('bad_label', f'label is {shown(row["label"])}; a label is a whole number from 0 on')
        label = int(label)
    start, end = (seconds(given(row.get(key)), key) for key in ('start', 'end'))
    if end is not None and end <= (start or 0):
        raise ProblemError('bad_times', f'it ends at {end:g} s, before it starts')
    return {
        'captions': unique_captions(
            caption for key in (*CAPTION, 'captions') for caption in captions_of(row.get(key), key)
        ),
        'label': label,
        'label_name': name,
        'scores': scores_of(row, scores),
        'start': start,
        'end': end,
        'split': text_of(row.get('split'), 'split'),
    }


def captions_of(value, key: str = 'captions', depth: int = 0) -> tuple[Caption, ...]:
    """Captions of a text, a mapping {text, weight, start, end}, or a list of such, in as many as DEEP lists within each
    other (depth: in how many it lies). Empty texts are none, nor is what stands for nothing (MISSING, in any case):
    nobody describes a video as None.

    A text in `captions` that begins with [ or { is JSON, for CSV has no lists. Raises: ProblemError.
    """
    if depth > DEEP:
        raise ProblemError('bad_caption', f'{key} has more than {DEEP} lists within each other')
    if isinstance(value, str) and key == 'captions' and value.lstrip()[:1] in ('[', '{'):
        value = from_json(value, 'captions')
    if given(value) is None:
        return ()
    if isinstance(value, str):
        return (Caption(text_of(value, key)),)
    if isinstance(value, Mapping):
        return _weighted(value, key)
    if isinstance(value, list | tuple):
        return tuple(caption for item in value for caption in captions_of(item, 'text', depth + 1))
    raise ProblemError('bad_caption', f'{key} is {shown(value)}; want text, or {{text, weight, start, end}}, or a list')


def unique_captions(captions: Iterable[Caption]) -> tuple[Caption, ...]:
    """The captions without those that say what an earlier one says of the same seconds."""
    found = {}
    for caption in captions:
        found.setdefault((caption.text, caption.start, caption.end), caption)
    return tuple(found.values())


def split_lines(text: str) -> list[str]:
    """The lines of a text, which end at \\n or \\r\\n alone: other white space, U+2028 too, is part of one."""
    return [line.removesuffix('\r') for line in text.split('\n')]


def _weighted(value, key):
    if strange := set(value) - {'text', 'caption', 'weight', 'start', 'end'}:
        raise ProblemError('bad_caption', f'{key} has {sorted(strange)[0]!r}; known: text, weight, start, end')
    text = text_of(given(value.get('text', value.get('caption'))), key)
    weight = given(value.get('weight'))
    weight = 1.0 if weight is None else number(weight, 'weight', 'bad_caption')
    if weight <= 0:
        raise ProblemError('bad_caption', f'{key} has the weight {weight:g}; want more than 0')
    start, end = (seconds(given(value.get(name)), name) for name in ('start', 'end'))
    if end is not None and end <= (start or 0):
        raise ProblemError('bad_caption', f'{key} has one that ends at {end:g} s, before it starts')
    return (Caption(text, weight, start, end),) if text else ()


def scores_of(row, columns: Iterable[str] | None = None) -> dict[str, float]:
    """The numbers in these columns, texts that are one included (None: in those that are scores by themselves), and
    those under `scores`. Raises: ProblemError for one that is none.
    """
    nested = given(row.get('scores'))
    if isinstance(nested, str):
        nested = from_json(nested, 'scores')
    if nested is not None and not isinstance(nested, Mapping):
        raise ProblemError('bad_score', f'scores is {shown(nested)}; want {{name: number}}')
    if columns is None:
        columns = [name for name, value in row.items() if may_be_score(name) and is_score(given(value))]
    values = [(name, name, row.get(name)) for name in columns]
    values += [(name, f'scores.{name}', value) for name, value in (nested or {}).items()]
    found = {}
    for name, key, value in values:
        value = given(value)
        if value is not None:
            found[text_of(name, 'scores')] = number(value, key, 'bad_score')
    return dict(sorted(found.items()))


def may_be_score(name: str) -> bool:
    """Whether a column of this name may be a score, where nobody says so: it has no other meaning and names nothing."""
    return name not in (*KNOWN, *FACTS) and not IDENTIFIER.fullmatch(name.strip().lower())


def is_score(value, texts: bool = False) -> bool:
    """Whether a value is a number that measures something.

    texts: of a list that has texts alone, as CSV: of these the ones that are written as programs write numbers.
    Elsewhere a text is none, whatever it looks like.
    """
    if isinstance(value, str) and not (texts and PLAIN.fullmatch(value)):
        return False
    found = as_number(value)
    return found is not None and not (abs(found) > EXACT and _is_whole(value))


def _is_whole(value):
    return isinstance(value, int) or isinstance(value, str) and value.lstrip('+-').isdigit()


def given(value):
    """The value, None where it stands for nothing."""
    if isinstance(value, str):
        value = value.strip()
        return None if value.lower() in MISSING else value
    return None if isinstance(value, float) and math.isnan(value) else value


def as_number(value) -> float | None:
    """The value as a finite number, None where it is none; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float | decimal.Decimal | str):
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
        raise ProblemError(reason or f'bad_{key}', f'{key} is {shown(value)}, no number')
    return found


def seconds(value, key) -> float | None:
    """Seconds of a number or of H:MM:SS.s. Raises: ProblemError."""
    if value is None:
        return None
    parts = value.split(':') if isinstance(value, str) else [value]
    found = [as_number(part) for part in parts]
    if len(parts) > 3 or None in found or min(found) < 0:
        raise ProblemError('bad_times', f'{key} is {shown(value)}; want seconds or H:MM:SS')
    total = float(sum(part * 60**power for power, part in enumerate(reversed(found))))
    if total > MOST_SECONDS:
        raise ProblemError('bad_times', f'{key} is {shown(value)}; want {MOST_SECONDS:g} seconds at most')
    return total


def text_of(value, key) -> str:
    """A text without spaces around it, '' for none. Raises: ProblemError for no text, or none that UTF-8
    can hold.
    """
    if value is None or isinstance(value, float) and math.isnan(value):
        return ''
    if isinstance(value, bool | int | float):
        value = str(value)
    if not isinstance(value, str):
        raise ProblemError(f'bad_{key}', f'{key} is {shown(value)}; want text')
    try:
        value.encode()
    except UnicodeEncodeError:  # bytes that were no UTF-8, kept by surrogateescape; or half a character in JSON
        raise ProblemError('encoding', f'{key} is no UTF-8: {shown(value)}; save it as UTF-8') from None
    return value.strip()


def from_json(text: str, what: str):
    """Raises: ProblemError, for what is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProblemError('bad_json', f'{what} is no JSON: {str(error) or type(error).__name__}') from None


def shown(value) -> str:
    """A value in at most 60 characters of ASCII, on one line."""
    try:
        text = ascii(value)
    except (RecursionError, ValueError):  # nested too deep; a whole number of thousands of digits
        return f'a {type(value).__name__}'
    return text if len(text) <= 60 else f'{text[:57]}...'
