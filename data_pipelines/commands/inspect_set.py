"""What a set of records holds: what became of its inputs and why, captions, sizes and a histogram of every score.

All of it is read from the tables; only the contact sheet opens clips.
"""

import collections
import json

import numpy as np

from data_pipelines.commands.contact_sheet import Cell, write_sheet
from data_pipelines.inputs.table import read_inputs
from vdm_jax.data.records.manifest import read_manifest
from vdm_jax.data.records.shards import SCORE, RecordSet
from vdm_jax.data.video import decode
from vdm_jax.errors import printable

BINS = 40  # of a histogram
BARS = ' ▁▂▃▄▅▆▇█'
LISTED = 8  # broken inputs printed; --json has all
FRAMES = 4  # of a clip on the sheet


def run(folder: str, as_json: bool, sheet: str | None, clips: int) -> None:
    """Prints what the set in a folder holds, and writes the contact sheet where one is asked for."""
    found = describe(folder)
    if sheet:
        write_sheet(sheet, cells(RecordSet(folder), clips), [f'{folder}: {_totals(found)}', *_fates(found)])
    print(json.dumps(found) if as_json else '\n'.join(lines(found)))
    if sheet and not as_json:
        print(f'\n{sheet}: contact sheet of {min(clips, found["clips"])} clips')


def describe(folder: str) -> dict:
    """All of it as JSON values. Raises: UserError where there is no finished set, or a table is damaged."""
    manifest, records = read_manifest(folder), RecordSet(folder)
    inputs = read_inputs(folder)
    column = records.column
    counts = collections.Counter
    captions = [records.captions(i) for i in range(len(records))]
    words = [len(caption.text.split()) for clip in captions for caption in clip]
    kept = {'seconds': column('frames') / column('fps')} | {name: column(SCORE + name) for name in records.scores}
    dropped = {
        name.removeprefix(SCORE): inputs[name].to_numpy(zero_copy_only=False).astype(float)
        for name in inputs.column_names
        if name.startswith(SCORE)
    }
    labels = zip(column('label').tolist(), column('label_name'), strict=True)
    return {
        'folder': folder,
        'clips': len(records),
        'shards': len(manifest['shards']),
        'bytes': sum(file['bytes'] for file in manifest['shards']),
        'frames': int(column('frames').sum()),
        'seconds': round(float(kept['seconds'].sum()), 3),
        'fates': {'inputs': manifest['inputs'], 'clips': manifest['clips']},
        'reasons': manifest['reasons'],
        'broken': [
            f'{row["input"]}: {row["detail"] or row["reason"]}'
            for row in inputs.select(['input', 'fate', 'reason', 'detail']).to_pylist()
            if row['fate'] == 'broken'
        ],
        'ignored_files': manifest.get('ignored_files', {}),
        'unused_columns': manifest.get('unused_columns', []),
        'captions': {
            'clips_with': sum(map(bool, captions)),
            'clips_without': sum(not clip for clip in captions),
            'captions': len(words),
            'timed': sum(_is_timed(caption) for clip in captions for caption in clip),
            'words': [min(words), float(np.median(words)), max(words)] if words else None,
        },
        'sizes': dict(counts(f'{w}x{h}' for w, h in zip(column('width'), column('height'), strict=True)).most_common()),
        'fps': dict(counts(f'{fps:.5g}' for fps in column('fps')).most_common()),
        'labels': dict(counts(name or f'{label:.0f}' for label, name in labels if label == label).most_common()),
        'scores': {
            name: histogram(kept.get(name, np.empty(0)), dropped.get(name, np.empty(0)))
            for name in [*kept, *(name for name in dropped if name not in kept)]
        },
    }


def _is_timed(caption):
    return caption.start is not None or caption.end is not None


def histogram(kept, dropped) -> dict:
    """Two sets of numbers (nan: none) over the same BINS bins from the least of both to the most."""
    kept, dropped = (values[np.isfinite(values)] for values in (kept, dropped))
    both = np.concatenate([kept, dropped])
    ends = (float(both.min()), float(both.max())) if len(both) else (0.0, 0.0)

    def bins(values):
        return np.histogram(values, BINS, ends)[0].tolist()

    middle = float(np.median(kept)) if len(kept) else None
    return {'least': ends[0], 'most': ends[1], 'middle': middle, 'kept': bins(kept), 'dropped': bins(dropped)}


def lines(found: dict) -> list[str]:
    """The text of what `describe` found, 100 columns wide."""
    captions, words = found['captions'], found['captions']['words']
    spread = f'; {words[0]} to {words[2]} words, the middle one {words[1]:g}' if words else ''
    timed = f', {captions["timed"]} with times' if captions['timed'] else ''
    rows = [
        *(line.split('  ', 1) for line in _fates(found)),
        *(('' if i else 'broken', name) for i, name in enumerate(_some(found['broken']))),
        ('captions', f'{captions["clips_with"]} clips with, {captions["clips_without"]} without{spread}{timed}'),
        ('size', _counts(found['sizes'])),
        ('fps', _counts(found['fps'])),
        *([('label', _counts(found['labels']))] if found['labels'] else []),
        *([('no videos', _counts(found['ignored_files']))] if found['ignored_files'] else []),
        *([('not used', f'columns {", ".join(found["unused_columns"])}')] if found['unused_columns'] else []),
    ]
    text = [f'{found["folder"]}: {_totals(found)}'] + [f'  {name:9} {printable(value)}'[:100] for name, value in rows]
    text += ['', f'  {"":16} {"least":>8} {"":{BINS}} {"most":>8} {"middle":>8}  clips']
    for name, score in found['scores'].items():
        middle = '' if score['middle'] is None else _short(score['middle'])
        for which, ends in (('kept', (_short(score['least']), _short(score['most']), middle)), ('dropped', ('',) * 3)):
            if (total := sum(score[which])) or which == 'kept':
                name_ = name[:16] if which == 'kept' else ''
                label = f'{total}' if which == 'kept' else f'{total} dropped'
                text.append(f'  {name_:16} {ends[0]:>8} {_bars(score[which])} {ends[1]:>8} {ends[2]:>8}  {label}')
    return text


def cells(records: RecordSet, count: int) -> list[Cell]:
    """Cells of a contact sheet: clips spread evenly over the set, each with a few of its frames."""
    found = []
    for i in np.unique(np.linspace(0, len(records) - 1, min(count, len(records))).round().astype(int)):
        record = records[int(i)]
        about = f'{record.frames / record.fps:.2f} s, {record.width}x{record.height}, {record.fps:.4g} fps'
        about += f', motion {_short(record.scores["motion"])}' if 'motion' in record.scores else ''
        about += '' if record.latents is None else f', latents {record.latents.shape}'
        frames = []
        if record.latents is None:
            try:
                frames = _shown(record)
            except decode.BrokenVideoError as error:
                about += f', {error}'
        caption = record.captions[0].text if record.captions else '(no caption)'
        more = f' (and {len(record.captions) - 1} more)' if len(record.captions) > 1 else ''
        found.append(Cell(frames, [record.key, about, caption + more]))
    return found


def _shown(record):
    """A few of its frames. Raises: BrokenVideoError."""
    video = decode.probe(record.video)
    height = min(video.height, 180)
    width = max(round(video.width * height / video.height), 1)
    return list(decode.read(video, np.linspace(0, video.frames - 1, FRAMES).round().astype(int), height, width))


def _totals(found):
    return (
        f'{found["clips"]} clips, {found["frames"]} frames, {found["seconds"]:.1f} s, '
        f'{found["bytes"] / 1e6:.1f} MB in {found["shards"]} shards'
    )


def _fates(found) -> list[str]:
    """How many inputs and clips were kept and, by reason, not."""
    rows = []
    for kind in ('inputs', 'clips'):
        fates = ', '.join(
            f'{found["fates"][kind][fate]} {fate}'
            for fate in ('kept', 'dropped', 'broken')
            if fate in found['fates'][kind]
        )
        reasons = found['reasons'][kind]
        why = ', '.join(f'{reasons[name]} {name}' for name in sorted(reasons, key=lambda name: (-reasons[name], name)))
        rows.append(f'{kind}  {fates}' + (f': {why}' if why else ''))
    return rows


def _some(names):
    return names[:LISTED] + ([f'and {len(names) - LISTED} more'] if len(names) > LISTED else [])


def _counts(counted):
    """As many of them, with their counts, as a line takes."""
    shown, left = '', len(counted)
    for name, count in counted.items():
        longer = f'{shown}, {name} ({count})'.removeprefix(', ')
        if len(longer) > 75:
            return f'{shown} and {left} more'
        shown, left = longer, left - 1
    return shown


def _short(value):
    return f'{value:.4g}'


def _bars(counts):
    most = max(counts) or 1
    return ''.join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts)
