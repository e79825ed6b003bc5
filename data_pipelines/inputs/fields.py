"""Parse what a row of a list, or a file beside a video, says of it: captions, label, window of time, scores.

A row is a mapping of names to plain values, as CSV (texts only), JSON and parquet give them. What cannot be used is a
ProblemError with a short reason, so that it ends in the manifest.
"""

import decimal
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from vdm_jax.data.records.filters import FACTS
from vdm_jax.data.records.schema import Caption

PATH_COLUMNS = 'path', 'file', 'video', 'file_name', 'filename', 'file_path', 'filepath', 'video_path', 'videopath'
CAPTION_COLUMNS = 'caption', 'text'
KNOWN_COLUMNS = (
    *PATH_COLUMNS,
    *CAPTION_COLUMNS,
    'captions',
    'label',
    'label_name',
    'start',
    'end',
    'split',
    'scores',
)
MAX_LABELS = 2**31
MAX_DEPTH = 8  # of lists of captions within each other
MAX_SECONDS = 1e9  # thirty years
PLACEHOLDERS = '', 'nan', 'null', 'none', 'n/a', 'na', '<na>', '#n/a'  # what lists write where they know nothing
EXACT_INTEGERS = 2**53  # beyond it floats no longer tell them apart, so they are names of something
# A number as programs write it: 0.31, -5, 1e-05. Not 007, 1e5 or 1_000, which are names that look like one.
PLAIN_NUMBER = re.compile(r'[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-][0-9]+)?')
# Columns that tell rows apart and measure nothing, in any case: id, videoID, clip_id, key, index; pandas' unnamed one.
IDENTIFIER = re.compile(
    r'(.*[^a-z0-9])?(id|ids|key|uid|uuid|guid)|index|idx|row|[adpw]?hash|md5|sha1|sha256'
    r'|(video|clip|image|youtube|yt|vid|sample|item|frame|shot|scene|segment|user|file|row|caption|text|sentence|sen)'
    r'[ _]?(id|index|idx|hash|number|num)'
    r'|unnamed: [0-9]+|__index_level_[0-9]+__|'
)


class ProblemError(Exception):
    """Why a row or a file cannot be used: ProblemError(reason, detail), the reason a short slug that is counted."""

    def __str__(self) -> str:
        return ': '.join(self.args)


def parse_row(row: Mapping[str, Any], scores: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the fields of an Item that a row sets: captions, label, label_name, scores, start, end, split.

    Args:
      row: Values by column.
      scores: The columns that are scores; None: those that are by themselves (`is_score_value`), as of a JSON file
        beside a video.

    Raises:
      ProblemError: a value cannot be used.
    """
    label = none_if_missing(row.get('label'))
    label_name = parse_text(row.get('label_name'), 'label_name')
    if label is not None:
        label_number = parse_number(label, 'label')
        if label_number != int(label_number) or not 0 <= label_number < MAX_LABELS:
            raise ProblemError(
                'bad_label', f'label is {format_value(row["label"])}; a label is a whole number from 0 on'
            )
        label = int(label_number)

    start, end = parse_window(row.get('start'), row.get('end'))

    captions: list[Caption] = []
    for column in (*CAPTION_COLUMNS, 'captions'):
        captions += parse_captions(row.get(column), column)

    return {
        'captions': unique_captions(captions),
        'label': label,
        'label_name': label_name,
        'scores': parse_scores(row, scores),
        'start': start,
        'end': end,
        'split': parse_text(row.get('split'), 'split'),
    }


def parse_captions(value: Any, key: str = 'captions', depth: int = 0) -> tuple[Caption, ...]:
    """Return the captions of a text, a mapping {text, weight, start, end}, or a list of such.

    Empty texts are none, nor are PLACEHOLDERS in any case: nobody describes a video as None. A text in `captions` that
    begins with [ or { is JSON, for CSV has no lists.

    Args:
      value: As a row has it.
      key: Its column.
      depth: In how many lists it lies, MAX_DEPTH at most.

    Raises:
      ProblemError: it is none of these.
    """
    if depth > MAX_DEPTH:
        raise ProblemError('bad_caption', f'{key} has more than {MAX_DEPTH} lists within each other')
    if isinstance(value, str) and key == 'captions' and value.lstrip()[:1] in ('[', '{'):
        value = parse_json(value, 'captions')

    if none_if_missing(value) is None:
        return ()
    if isinstance(value, str):
        return (Caption(parse_text(value, key)),)
    if isinstance(value, Mapping):
        return _parse_weighted_caption(value, key)
    if isinstance(value, list | tuple):
        return tuple(caption for item in value for caption in parse_captions(item, 'text', depth + 1))
    raise ProblemError(
        'bad_caption', f'{key} is {format_value(value)}; want text, or {{text, weight, start, end}}, or a list'
    )


def _parse_weighted_caption(value: Mapping[str, Any], key: str) -> tuple[Caption, ...]:
    unknown = set(value) - {'text', 'caption', 'weight', 'start', 'end'}
    if unknown:
        raise ProblemError('bad_caption', f'{key} has {sorted(unknown)[0]!r}; known: text, weight, start, end')

    text = parse_text(none_if_missing(value.get('text', value.get('caption'))), key)
    weight_value = none_if_missing(value.get('weight'))
    weight = 1.0 if weight_value is None else parse_number(weight_value, 'weight', 'bad_caption')
    if weight <= 0:
        raise ProblemError('bad_caption', f'{key} has the weight {weight:g}; want more than 0')

    start = parse_seconds(none_if_missing(value.get('start')), 'start')
    end = parse_seconds(none_if_missing(value.get('end')), 'end')
    if end is not None and end <= (start or 0):
        raise ProblemError('bad_caption', f'{key} has one that ends at {end:g} s, before it starts')
    return (Caption(text, weight, start, end),) if text else ()


def unique_captions(captions: Iterable[Caption]) -> tuple[Caption, ...]:
    """Return the captions without those that say what an earlier one says of the same seconds."""
    # Weights play no part: the first of two alike counts.
    unique: dict[tuple[str, float | None, float | None], Caption] = {}
    for caption in captions:
        unique.setdefault((caption.text, caption.start, caption.end), caption)
    return tuple(unique.values())


def split_lines(text: str) -> list[str]:
    r"""Return the lines of a text, which end at \n or \r\n only: other white space, U+2028 too, is part of one."""
    return [line.removesuffix('\r') for line in text.split('\n')]


def parse_scores(row: Mapping[str, Any], columns: Iterable[str] | None = None) -> dict[str, float]:
    """Return the scores of a row by name, sorted: numbers, or texts that are one.

    Args:
      row: Values by column. Those under `scores`, a mapping or the JSON of one, are scores as well.
      columns: The columns that are scores; None: those that are by themselves.

    Raises:
      ProblemError: one of them is no number.
    """
    nested = none_if_missing(row.get('scores'))
    if isinstance(nested, str):
        nested = parse_json(nested, 'scores')
    if nested is not None and not isinstance(nested, Mapping):
        raise ProblemError('bad_score', f'scores is {format_value(nested)}; want {{name: number}}')
    if columns is None:
        columns = [
            name for name, value in row.items() if is_score_name(name) and is_score_value(none_if_missing(value))
        ]

    # (name, how messages call it, value)
    values = [(name, name, row.get(name)) for name in columns]
    values += [(name, f'scores.{name}', value) for name, value in (nested or {}).items()]
    scores: dict[str, float] = {}
    for name, key, value in values:
        value = none_if_missing(value)
        if value is not None:
            scores[parse_text(name, 'scores')] = parse_number(value, key, 'bad_score')
    return dict(sorted(scores.items()))


def is_score_name(name: str) -> bool:
    """Return whether a column may be a score where nobody says so: its name means nothing else and is no identifier."""
    return name not in (*KNOWN_COLUMNS, *FACTS) and not IDENTIFIER.fullmatch(name.strip().lower())


def is_score_value(value: Any, texts: bool = False) -> bool:
    """Return whether a value is a number that measures something.

    Args:
      value: As a row has it.
      texts: Whether the list has texts only, as CSV: of these the ones that are written as programs write numbers.
        Elsewhere a text is none, whatever it looks like.
    """
    # In JSON and parquet a number that is written as a text is a name.
    if isinstance(value, str) and not (texts and PLAIN_NUMBER.fullmatch(value)):
        return False
    number = to_number(value)
    return number is not None and not (abs(number) > EXACT_INTEGERS and _is_integer(value))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) or isinstance(value, str) and value.lstrip('+-').isdigit()


def none_if_missing(value: Any) -> Any:
    """Return the value, texts without spaces around them; None where it stands for nothing."""
    if isinstance(value, str):
        text = value.strip()
        return None if text.lower() in PLACEHOLDERS else text
    return None if isinstance(value, float) and math.isnan(value) else value


def to_number(value: Any) -> float | None:
    """Return the value as a finite number, None where it is none; true and false are none."""
    # bool is a kind of int in Python.
    if isinstance(value, bool) or not isinstance(value, int | float | decimal.Decimal | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def parse_number(value: Any, key: str, reason: str = '') -> float:
    """Return the value as a finite number.

    Raises:
      ProblemError: it is none; by default the reason is bad_KEY.
    """
    number = to_number(value)
    if number is None:
        raise ProblemError(reason or f'bad_{key}', f'{key} is {format_value(value)}, no number')
    return number


def parse_seconds(value: Any, key: str) -> float | None:
    """Return the seconds of a number or of H:MM:SS.s, None for None.

    Raises:
      ProblemError: it is neither, or more than MAX_SECONDS.
    """
    if value is None:
        return None
    parts = value.split(':') if isinstance(value, str) else [value]
    numbers = [number for part in parts if (number := to_number(part)) is not None]
    if len(parts) > 3 or len(numbers) < len(parts) or min(numbers) < 0:
        raise ProblemError('bad_times', f'{key} is {format_value(value)}; want seconds or H:MM:SS')
    # The last part is seconds, each before it sixty of the next.
    total = float(sum(number * 60**power for power, number in enumerate(reversed(numbers))))
    if total > MAX_SECONDS:
        raise ProblemError('bad_times', f'{key} is {format_value(value)}; want {MAX_SECONDS:g} seconds at most')
    return total


def parse_window(start_value: Any, end_value: Any) -> tuple[float | None, float | None]:
    """Return the seconds between which a part of a video lies, each None where nothing is said.

    Raises:
      ProblemError: they are no times, or the part ends before it starts.
    """
    start = parse_seconds(none_if_missing(start_value), 'start')
    end = parse_seconds(none_if_missing(end_value), 'end')
    if end is not None and end <= (start or 0):
        raise ProblemError('bad_times', f'it ends at {end:g} s, before it starts')
    return start, end


def parse_text(value: Any, key: str) -> str:
    """Return a text without spaces around it, '' for none.

    Raises:
      ProblemError: it is no text, or none that UTF-8 can hold.
    """
    if value is None or isinstance(value, float) and math.isnan(value):
        return ''
    # Numbers may be names: a label_name of 7, a file called 12.
    if isinstance(value, bool | int | float):
        value = str(value)
    if not isinstance(value, str):
        raise ProblemError(f'bad_{key}', f'{key} is {format_value(value)}; want text')
    try:
        value.encode()
    except UnicodeEncodeError:  # bytes that were no UTF-8, held by surrogateescape; or half a character in JSON
        raise ProblemError('encoding', f'{key} is no UTF-8: {format_value(value)}; save it as UTF-8') from None
    return value.strip()


def parse_json(text: str, called: str) -> Any:
    """Return the value of a JSON text.

    Raises:
      ProblemError: it is no JSON; `called` names it in the message.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProblemError('bad_json', f'{called} is no JSON: {str(error) or type(error).__name__}') from None


def format_value(value: Any) -> str:
    """Return a value in at most 60 characters of ASCII, on one line."""
    try:
        text = ascii(value)
    except (RecursionError, ValueError):  # nested too deep; a whole number of thousands of digits
        return f'a {type(value).__name__}'
    return text if len(text) <= 60 else f'{text[:57]}...'
