"""What a folder of videos holds: each file's codec, frames, rate, size, rotation, length and verdict, and the totals.

Every frame is decoded (`--fast` reads headers and packets only), so that damage in the middle of a file is found too.
"""

import concurrent.futures
import json
import os

import numpy as np

from vdm_jax.data import decode
from vdm_jax.data.cut import clip_indices
from vdm_jax.data.video_folder import video_files
from vdm_jax.errors import UserError

COLUMNS = ('file', 'codec', 'frames', 'fps', 'size', 'rotation', 'seconds', 'verdict')


def add_arguments(parser):
    parser.add_argument('folder', metavar='DIR', help='searched with all its subfolders')
    parser.add_argument('--frames', type=int, default=16, help='frames of a clip: fewer is `short` (default 16)')
    parser.add_argument('--stride', type=int, default=1, help='of the clip, as config.data.stride (default 1)')
    parser.add_argument('--fps', type=float, help='of the clip, as config.data.fps (default: that of each file)')
    parser.add_argument('--fast', action='store_true', help='do not decode every frame')
    parser.add_argument('--threads', type=int, default=os.cpu_count(), help='files read at once (default: all cores)')
    parser.add_argument('--json', action='store_true', help='JSON instead of a table')


def run(arguments):
    """Prints the table or the JSON. Raises UserError for a missing folder or one without videos."""
    for name in ('frames', 'stride', 'fps', 'threads'):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise UserError(f'--{name} is {value}; it must be more than 0')
    try:
        names = video_files(arguments.folder)
    except UserError as error:
        raise UserError(str(error).replace('config.data.path=', '')) from None

    def row(name):
        return describe(arguments.folder, name, arguments.frames, arguments.stride, arguments.fps, not arguments.fast)

    with concurrent.futures.ThreadPoolExecutor(arguments.threads) as pool:
        rows = list(pool.map(row, names))
    totals = summary(rows)
    print(json.dumps({'folder': arguments.folder, 'files': rows, 'totals': totals}) if arguments.json else table(rows))
    if not arguments.json:
        print(
            f'\n{totals["files"]} files: {totals["ok"]} ok, {totals["short"]} short, {totals["broken"]} broken; '
            f'{totals["frames"]} frames, {totals["seconds"]:.1f} s, {totals["bytes"] / 1e6:.1f} MB'
        )


def describe(folder, name, frames, stride, fps, every_frame):
    """One file as a dict with the keys COLUMNS, `reason` and `bytes`; a broken one has None where nothing is known."""
    path = os.path.join(folder, name)
    row = dict.fromkeys(COLUMNS) | {'file': name, 'reason': None, 'bytes': os.stat(path).st_size}
    try:
        video = decode.probe(path)
        row |= {'codec': video.codec, 'frames': video.frames, 'fps': round(video.fps, 3)}
        row |= {'size': [video.width, video.height], 'rotation': video.rotation, 'seconds': round(video.seconds, 3)}
        if every_frame:
            decode.read(video, np.arange(video.frames), 1, 1)
    except decode.BrokenVideoError as error:
        return row | {'verdict': 'broken', 'reason': str(error)}
    have = clip_indices(video, 0, frames, stride, fps)[1]
    if have < frames:
        return row | {'verdict': 'short', 'reason': f'{have} of {frames} frames'}
    return row | {'verdict': 'ok'}


def summary(rows):
    """Totals over the rows; frames and seconds are those of files that are not broken."""
    good = [row for row in rows if row['verdict'] != 'broken']
    counts = {verdict: sum(row['verdict'] == verdict for row in rows) for verdict in ('ok', 'short', 'broken')}
    return {
        'files': len(rows),
        **counts,
        'frames': sum(row['frames'] for row in good),
        'seconds': round(sum(row['seconds'] for row in good), 3),
        'bytes': sum(row['bytes'] for row in rows),
    }


def table(rows):
    """The rows as aligned text under COLUMNS."""
    lines = [COLUMNS] + [[_cell(row, column) for column in COLUMNS] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    return '\n'.join('  '.join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _cell(row, column):
    value = row[column]
    if value is None:
        return '-'
    if column == 'verdict' and row['reason']:
        return f'{value}: {row["reason"]}'
    if column == 'size':
        return '{}x{}'.format(*value)
    return f'{value:.2f}' if isinstance(value, float) else str(value)
