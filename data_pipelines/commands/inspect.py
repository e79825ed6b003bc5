"""What a folder of videos holds, file by file, or what a set of records does.

A directory with a manifest.json is a set: see inspect_set.py. Of a folder: each file's codec, frames, rate, size,
rotation, length and verdict, and the totals. Every frame is decoded (`--fast` reads headers and packets only), so that
damage in the middle of a file is found too.
"""

import concurrent.futures
import json
import os

from data_pipelines.commands import inspect_set
from data_pipelines.commands.verify import cancelled
from data_pipelines.inputs.fields import ProblemError
from data_pipelines.inputs.locate import FOLLOW, locate_file
from vdm_jax.data.records.manifest import MANIFEST
from vdm_jax.data.video import decode
from vdm_jax.data.video.extract_clip import clip_indices
from vdm_jax.data.video.files import describe_counts
from vdm_jax.data.video_folder import look_for_videos
from vdm_jax.errors import UserError, printable

COLUMNS = ('file', 'codec', 'frames', 'fps', 'size', 'rotation', 'seconds', 'verdict')
# In --json alone: whether it is mirrored before it is turned, width over height of its pixels, seconds of the file at
# which its first frame is shown, the number of the stream that is read, and how many videos there are.
DETAILS = ('mirrored', 'pixel_aspect', 'start', 'stream', 'video_streams')
# Options of the one or the other.
VIDEOS, RECORDS = ('frames', 'stride', 'fps', 'fast', 'threads', 'follow_links'), ('sheet', 'clips')


def add_arguments(parser):
    parser.add_argument('folder', metavar='DIR', help='videos, searched with all subfolders, or a set of records')
    parser.add_argument('--json', action='store_true', help='JSON instead of text')
    videos = parser.add_argument_group('of videos')
    videos.add_argument('--frames', type=int, help='frames of a clip: fewer is `short` (default 16)')
    videos.add_argument('--stride', type=int, help='of the clip, as config.data.stride (default 1)')
    videos.add_argument('--fps', type=float, help='of the clip, as config.data.fps (default: that of each file)')
    videos.add_argument('--fast', action='store_true', default=None, help='do not decode every frame')
    videos.add_argument('--threads', type=int, help='files read at once (default: all cores)')
    videos.add_argument(
        '--follow-links', action='store_true', default=None, help='into folders that are links, as build does with it'
    )
    records = parser.add_argument_group('of a set of records')
    records.add_argument('--sheet', metavar='FILE.png', help='write a contact sheet there')
    records.add_argument('--clips', type=int, help='on the sheet, spread evenly over the set (default 24)')


def run(arguments):
    """Prints the table or the JSON. Raises UserError for a missing folder, one without videos, or a strange option."""
    folder = arguments.folder
    is_set = os.path.exists(os.path.join(folder, MANIFEST))
    kind, others = ('a set of records', VIDEOS) if is_set else ('no set of records', RECORDS)
    for name in (*VIDEOS, *RECORDS):
        value = getattr(arguments, name)
        if value is not None and name in others:
            raise UserError(f'--{name.replace("_", "-")}: {folder} is {kind}; leave it out')
        if value is not None and name != 'sheet' and value <= 0:
            raise UserError(f'--{name} is {value}; it must be more than 0')
    if is_set:
        return inspect_set.run(folder, arguments.json, arguments.sheet, arguments.clips or 24)
    try:
        found = look_for_videos(folder, bool(arguments.follow_links))
    except UserError as error:
        raise UserError(str(error).replace('config.data.path=', '')) from None
    frames, stride = arguments.frames or 16, arguments.stride or 1

    def row(name):
        return describe(folder, name, frames, stride, arguments.fps, not arguments.fast)

    with concurrent.futures.ThreadPoolExecutor(arguments.threads or os.cpu_count()) as pool, cancelled(pool):
        rows = list(pool.map(row, found.videos))
    totals = summary(rows)
    links_out = 0 if arguments.follow_links else sum(_leads_out(folder, name) for name in found.videos)
    if arguments.json:
        more = {'captions': found.side_counts(), 'passed_over': found.passed_over_counts(), 'links_out': links_out}
        print(json.dumps({'folder': folder, 'files': rows, 'totals': totals} | more))
        return
    print(table(rows))
    print(
        f'\n{totals["files"]} files: {totals["ok"]} ok, {totals["short"]} short, {totals["broken"]} broken; '
        f'{totals["frames"]} frames, {totals["seconds"]:.1f} s, {totals["bytes"] / 1e6:.1f} MB'
    )
    for title, counts in (('beside videos', found.side_counts()), ('passed over', found.passed_over_counts())):
        if counts:
            print(f'{title}: {printable(describe_counts(counts))}')
    if links_out:
        print(f'links out of the folder: {links_out}, which build takes with {FOLLOW}')


def _leads_out(folder, name):
    """Whether a file is one that build leaves where it is: behind a link out of the folder."""
    try:
        locate_file(folder, name)
    except ProblemError as problem:
        return problem.args[0] == 'link'
    return False


def describe(folder, name, frames, stride, fps, every_frame):
    """One file as a dict with the keys COLUMNS, DETAILS, `reason` and `bytes`; None where nothing is known."""
    path = os.path.join(folder, name)
    size = os.stat(path).st_size if os.path.exists(path) else 0  # a link may lead nowhere
    row = dict.fromkeys((*COLUMNS, *DETAILS)) | {'file': name, 'reason': None, 'bytes': size}
    try:
        video = decode.probe(path)
        row |= {'codec': video.codec, 'frames': video.frames, 'fps': round(video.fps, 3)}
        row |= {'size': [video.width, video.height], 'seconds': round(video.seconds, 3)}
        index = video.index
        row |= {'rotation': video.rotation, 'mirrored': index.orientation.mirrored}
        row |= {'pixel_aspect': video.pixel_aspect, 'start': round(video.start, 3)}
        row |= {'stream': index.stream, 'video_streams': index.streams}
        if every_frame:
            for _ in decode.stream(video):
                pass
    except decode.BrokenVideoError as error:
        return row | {'verdict': 'broken', 'reason': str(error)}
    have = clip_indices(video, 0, frames, stride, fps)[1]
    if have < frames:
        return row | {'verdict': 'short', 'reason': f'{have} of {frames} frames'}
    return row | {'verdict': 'ok', 'reason': _choice(row)}


def _choice(row):
    """Which video of a file is read, None where it has one."""
    if row['video_streams'] == 1:
        return None
    return f'stream {row["stream"]} of {row["video_streams"]} videos in it'


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
    if column == 'rotation' and row['mirrored']:
        return f'{value} mirrored'
    if column == 'size':
        return '{}x{}'.format(*value)
    return f'{value:.2f}' if isinstance(value, float) else printable(str(value))
