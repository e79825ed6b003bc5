"""Describe a set of records: what became of its inputs and why, captions, sizes and a histogram of every score.

All of it is read from the tables; only the contact sheet opens clips.
"""

import collections
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data_pipelines.commands.contact_sheet import Cell, write_sheet
from data_pipelines.inputs.table import read_inputs
from vdm_jax.data.records.manifest import read_manifest
from vdm_jax.data.records.schema import Caption, Record
from vdm_jax.data.records.shards import SCORE, RecordSet
from vdm_jax.data.video import decode
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.errors import escape_unprintable

BINS = 40  # of a histogram
BARS = ' ▁▂▃▄▅▆▇█'
PRINTED = 8  # broken inputs; --json has all
LINE_WIDTH = 100
COUNTS_WIDTH = 75
NAME_WIDTH = 16  # of a score
SHEET_FRAMES = 4  # of a clip
SHEET_HEIGHT = 180  # that they are read at, at most


def run(folder: str, as_json: bool, sheet: str | None, clips: int) -> None:
    """Print what the set in a folder holds, and write the contact sheet where one is asked for.

    Args:
      folder: The set.
      as_json: Whether JSON is printed in place of text.
      sheet: Where the contact sheet goes, None for none.
      clips: On the sheet.
    """
    description = describe(folder)
    if sheet:
        head = [f'{folder}: {_format_totals(description)}', *_format_fates(description)]
        write_sheet(sheet, make_cells(RecordSet(folder), clips), head)
    print(json.dumps(description) if as_json else '\n'.join(format_lines(description)))
    if sheet and not as_json:
        print(f'\n{sheet}: contact sheet of {min(clips, description["clips"])} clips')


def describe(folder: str) -> dict[str, Any]:
    """Return all that is known of a set, as JSON values.

    Raises:
      UserError: there is no finished set, or a table is damaged.
    """
    manifest = read_manifest(folder)
    records = RecordSet(folder)
    inputs = read_inputs(folder)
    column = records.column

    seconds = column('frames') / column('fps')
    sizes = [f'{width}x{height}' for width, height in zip(column('width'), column('height'), strict=True)]
    labels = [
        name or f'{label:.0f}'
        for label, name in zip(column('label').tolist(), column('label_name'), strict=True)
        if label == label  # nan: it has none
    ]
    input_rows = inputs.select(['input', 'fate', 'reason', 'detail']).to_pylist()
    return {
        'folder': folder,
        'clips': len(records),
        'shards': len(manifest['shards']),
        'bytes': sum(file['bytes'] for file in manifest['shards']),
        'frames': int(column('frames').sum()),
        'seconds': round(float(seconds.sum()), 3),
        'fates': {'inputs': manifest['inputs'], 'clips': manifest['clips']},
        'reasons': manifest['reasons'],
        'broken': [
            f'{row["input"]}: {row["detail"] or row["reason"]}' for row in input_rows if row['fate'] == 'broken'
        ],
        'ignored_files': manifest.get('ignored_files', {}),
        'unused_columns': manifest.get('unused_columns', []),
        'captions': _describe_captions([records.captions(number) for number in range(len(records))]),
        'sizes': _count(sizes),
        'fps': _count(f'{fps:.5g}' for fps in column('fps')),
        'labels': _count(labels),
        'scores': _describe_scores(records, inputs, seconds),
    }


def _describe_captions(captions: Sequence[Sequence[Caption]]) -> dict[str, Any]:
    """Return the counts of captions, which come by clip."""
    words = [len(caption.text.split()) for own in captions for caption in own]
    return {
        'clips_with': sum(map(bool, captions)),
        'clips_without': sum(not own for own in captions),
        'captions': len(words),
        'timed': sum(_is_timed(caption) for own in captions for caption in own),
        'words': [min(words), float(np.median(words)), max(words)] if words else None,
    }


def _is_timed(caption: Caption) -> bool:
    return caption.start is not None or caption.end is not None


def _describe_scores(records: RecordSet, inputs: Any, seconds: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return the histograms of all scores, of clips that were kept and of those that were dropped."""
    # The length is no score, but of as much interest.
    kept_values = {'seconds': seconds}
    for name in records.scores:
        kept_values[name] = records.column(SCORE + name)
    dropped_values = {}
    for column in inputs.column_names:
        if column.startswith(SCORE):
            values = inputs[column].to_numpy(zero_copy_only=False)
            dropped_values[column.removeprefix(SCORE)] = values.astype(float)

    names = [*kept_values, *(name for name in dropped_values if name not in kept_values)]
    nothing = np.empty(0)
    return {name: histogram(kept_values.get(name, nothing), dropped_values.get(name, nothing)) for name in names}


def _count(values: Iterable[str]) -> dict[str, int]:
    """Return how often each value comes, the most frequent first."""
    return dict(collections.Counter(values).most_common())


def histogram(kept_values: np.ndarray, dropped_values: np.ndarray) -> dict[str, Any]:
    """Return two sets of numbers (nan: none) over the same BINS bins from the least of both to the most."""
    finite_kept = kept_values[np.isfinite(kept_values)]
    finite_dropped = dropped_values[np.isfinite(dropped_values)]
    both = np.concatenate([finite_kept, finite_dropped])
    least = float(both.min()) if len(both) else 0.0
    most = float(both.max()) if len(both) else 0.0

    # Over one axis: a filter's place is seen from the two beside each other.
    def count_bins(values: np.ndarray) -> list[int]:
        counts: list[int] = np.histogram(values, BINS, (least, most))[0].tolist()
        return counts

    return {
        'least': least,
        'most': most,
        'middle': float(np.median(finite_kept)) if len(finite_kept) else None,
        'kept': count_bins(finite_kept),
        'dropped': count_bins(finite_dropped),
    }


def format_lines(description: Mapping[str, Any]) -> list[str]:
    """Return the text of a description, LINE_WIDTH columns wide."""
    captions = description['captions']
    words = captions['words']
    spread = f'; {words[0]} to {words[2]} words, the middle one {words[1]:g}' if words else ''
    timed = f', {captions["timed"]} with times' if captions['timed'] else ''

    # (title, value)
    rows = []
    for line in _format_fates(description):
        kind, _, fates = line.partition('  ')
        rows.append((kind, fates))
    for number, name in enumerate(_abbreviate(description['broken'])):
        rows.append(('' if number else 'broken', name))
    rows.append(
        ('captions', f'{captions["clips_with"]} clips with, {captions["clips_without"]} without{spread}{timed}')
    )
    rows.append(('size', _format_counts(description['sizes'])))
    rows.append(('fps', _format_counts(description['fps'])))
    if description['labels']:
        rows.append(('label', _format_counts(description['labels'])))
    if description['ignored_files']:
        rows.append(('no videos', _format_counts(description['ignored_files'])))
    if description['unused_columns']:
        rows.append(('not used', f'columns {", ".join(description["unused_columns"])}'))

    text = [f'{description["folder"]}: {_format_totals(description)}']
    text += [f'  {title:9} {escape_unprintable(value)}'[:LINE_WIDTH] for title, value in rows]
    text += ['', f'  {"":{NAME_WIDTH}} {"least":>8} {"":{BINS}} {"most":>8} {"middle":>8}  clips']
    for name, score in description['scores'].items():
        text += _format_score(name, score)
    return text


def _format_score(name: str, score: Mapping[str, Any]) -> list[str]:
    """Return a line for the clips that were kept, and one for those that were dropped where there are any."""
    middle = '' if score['middle'] is None else _format_number(score['middle'])
    least = _format_number(score['least'])
    most = _format_number(score['most'])
    kept_bins = score['kept']
    dropped_bins = score['dropped']

    def format_row(title: str, least: str, bins: Sequence[int], most: str, middle: str, count: str) -> str:
        return f'  {title:{NAME_WIDTH}} {least:>8} {_format_bars(bins)} {most:>8} {middle:>8}  {count}'

    lines = [format_row(name[:NAME_WIDTH], least, kept_bins, most, middle, f'{sum(kept_bins)}')]
    if sum(dropped_bins):
        lines.append(format_row('', '', dropped_bins, '', '', f'{sum(dropped_bins)} dropped'))
    return lines


def make_cells(records: RecordSet, count: int) -> list[Cell]:
    """Return cells of a contact sheet: clips spread evenly over the set, each with a few of its frames."""
    # Not the first ones, which are of one video.
    numbers = np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)
    return [_make_cell(records[int(number)]) for number in np.unique(numbers)]


def _make_cell(record: Record) -> Cell:
    facts = [
        f'{record.frames / record.fps:.2f} s',
        f'{record.width}x{record.height}',
        f'{record.fps:.4g} fps',
    ]
    if 'motion' in record.scores:
        facts.append(f'motion {_format_number(record.scores["motion"])}')

    frames: list[np.ndarray] = []
    if record.latents is not None:
        facts.append(f'latents {record.latents.shape}')
    else:
        try:
            frames = _read_frames(record)
        # A sheet is a look at the set: `verify` is for what is damaged.
        except BrokenVideoError as error:
            facts.append(str(error))

    caption = record.captions[0].text if record.captions else '(no caption)'
    more = f' (and {len(record.captions) - 1} more)' if len(record.captions) > 1 else ''
    return Cell(frames, [record.key, ', '.join(facts), caption + more])


def _read_frames(record: Record) -> list[np.ndarray]:
    """Return a few of a record's frames; raise BrokenVideoError where they do not decode."""
    video = decode.probe(record.video)
    height = min(video.height, SHEET_HEIGHT)
    width = max(round(video.width * height / video.height), 1)
    numbers = np.linspace(0, video.frames - 1, SHEET_FRAMES).round().astype(int)
    return list(decode.read(video, numbers, height, width))


def _format_totals(description: Mapping[str, Any]) -> str:
    return (
        f'{description["clips"]} clips, {description["frames"]} frames, {description["seconds"]:.1f} s, '
        f'{description["bytes"] / 1e6:.1f} MB in {description["shards"]} shards'
    )


def _format_fates(description: Mapping[str, Any]) -> list[str]:
    """Return how many inputs and clips were kept and, by reason, not."""
    lines = []
    for kind in ('inputs', 'clips'):
        counts = description['fates'][kind]
        fates = ', '.join(f'{counts[fate]} {fate}' for fate in ('kept', 'dropped', 'broken') if fate in counts)
        reasons = sorted(description['reasons'][kind].items(), key=lambda item: (-item[1], item[0]))
        why = ', '.join(f'{count} {reason}' for reason, count in reasons)
        lines.append(f'{kind}  {fates}' + (f': {why}' if why else ''))
    return lines


def _abbreviate(names: list[str]) -> list[str]:
    """Return the first few names, and how many there are besides."""
    return names[:PRINTED] + ([f'and {len(names) - PRINTED} more'] if len(names) > PRINTED else [])


def _format_counts(counts: Mapping[str, int]) -> str:
    """Return as many names, with their counts, as a line takes."""
    text = ''
    left = len(counts)
    for name, count in counts.items():
        longer = f'{text}, {name} ({count})'.removeprefix(', ')
        if len(longer) > COUNTS_WIDTH:
            return f'{text} and {left} more'
        text = longer
        left -= 1
    return text


def _format_number(value: float) -> str:
    return f'{value:.4g}'


def _format_bars(counts: Sequence[int]) -> str:
    most = max(counts) or 1
    levels = len(BARS) - 1
    # Rounded up, so that a bin with a single clip is not blank.
    return ''.join(BARS[-(-count * levels // most)] for count in counts)
