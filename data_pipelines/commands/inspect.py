"""Describe a folder of videos, file by file, or a set of records.

A directory with a manifest.json is a set: see inspect_set.py. Of a folder: each file's codec, frames, rate, size,
rotation, length and verdict, and the totals. Every frame is decoded (`--fast` reads headers and packets only), so that
damage in the middle of a file is found too.
"""

import argparse
import concurrent.futures
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from data_pipelines.commands import inspect_set
from data_pipelines.commands.verify import cancel_on_error
from data_pipelines.inputs.fields import ProblemError
from data_pipelines.inputs.locate import FOLLOW, locate_file
from vdm_jax.data.records.manifest import MANIFEST
from vdm_jax.data.video import decode
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.extract_clip import clip_indices
from vdm_jax.data.video.files import describe_counts
from vdm_jax.data.video_folder import look_for_videos
from vdm_jax.errors import UserError, escape_unprintable

COLUMNS = ('file', 'codec', 'frames', 'fps', 'size', 'rotation', 'seconds', 'verdict')
# In --json only: whether it is mirrored before it is turned, width over height of its pixels, seconds of the file at
# which its first frame is shown, the number of the stream that is read, and how many videos there are.
DETAILS = ('mirrored', 'pixel_aspect', 'start', 'stream', 'video_streams')
# Options of the one or the other.
VIDEO_OPTIONS = ('frames', 'stride', 'fps', 'fast', 'threads', 'follow_links')
RECORD_OPTIONS = ('sheet', 'clips')

Row = dict[str, Any]  # by COLUMNS, DETAILS, 'reason' and 'bytes'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
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


def run(arguments: argparse.Namespace) -> None:
    """Print the table or the JSON.

    Raises:
      UserError: the folder is missing or holds no videos, or an option is of the other kind of folder.
    """
    folder = arguments.folder
    is_set = os.path.exists(os.path.join(folder, MANIFEST))
    _check_options(arguments, is_set)
    if is_set:
        inspect_set.run(folder, arguments.json, arguments.sheet, arguments.clips or 24)
        return

    try:
        listing = look_for_videos(folder, bool(arguments.follow_links))
    except UserError as error:
        raise UserError(str(error).replace('config.data.path=', '')) from None

    def describe_file(name: str) -> Row:
        return describe(folder, name, arguments.frames or 16, arguments.stride or 1, arguments.fps, not arguments.fast)

    # Threads and not processes: decoding lets go of the GIL.
    with concurrent.futures.ThreadPoolExecutor(arguments.threads or os.cpu_count()) as pool, cancel_on_error(pool):
        rows = list(pool.map(describe_file, listing.videos))
    totals = summarize(rows)
    links_out = 0
    if not arguments.follow_links:
        links_out = sum(_leads_out(folder, name) for name in listing.videos)

    if arguments.json:
        values = {'folder': folder, 'files': rows, 'totals': totals}
        values |= {'captions': listing.side_counts(), 'passed_over': listing.passed_over_counts()}
        values |= {'links_out': links_out}
        print(json.dumps(values))
        return

    print(format_table(rows))
    print(
        f'\n{totals["files"]} files: {totals["ok"]} ok, {totals["short"]} short, {totals["broken"]} broken; '
        f'{totals["frames"]} frames, {totals["seconds"]:.1f} s, {totals["bytes"] / 1e6:.1f} MB'
    )
    for title, counts in (('beside videos', listing.side_counts()), ('passed over', listing.passed_over_counts())):
        if counts:
            print(f'{title}: {escape_unprintable(describe_counts(counts))}')
    if links_out:
        print(f'links out of the folder: {links_out}, which build takes with {FOLLOW}')


def _check_options(arguments: argparse.Namespace, is_set: bool) -> None:
    """Raise UserError for options of the other kind of folder, and for numbers that are not above 0."""
    kind = 'a set of records' if is_set else 'no set of records'
    others = VIDEO_OPTIONS if is_set else RECORD_OPTIONS
    for name in (*VIDEO_OPTIONS, *RECORD_OPTIONS):
        value = getattr(arguments, name)
        if value is None:
            continue
        if name in others:
            raise UserError(f'--{name.replace("_", "-")}: {arguments.folder} is {kind}; leave it out')
        if name != 'sheet' and value <= 0:
            raise UserError(f'--{name} is {value}; it must be more than 0')


def _leads_out(folder: str, name: str) -> bool:
    """Return whether a file is one that build leaves where it is: behind a link out of the folder."""
    try:
        locate_file(folder, name)
    except ProblemError as problem:
        return bool(problem.args[0] == 'link')
    return False


def describe(folder: str, name: str, frames: int, stride: int, fps: float | None, every_frame: bool) -> Row:
    """Return what is known of one file; None where nothing is."""
    path = os.path.join(folder, name)
    # A link may lead nowhere.
    size = os.stat(path).st_size if os.path.exists(path) else 0
    row: Row = dict.fromkeys((*COLUMNS, *DETAILS))
    row |= {'file': name, 'reason': None, 'bytes': size}
    try:
        video = decode.probe(path)
        row |= {
            'codec': video.codec,
            'frames': video.frames,
            'fps': round(video.fps, 3),
            'size': [video.width, video.height],
            'seconds': round(video.seconds, 3),
            'rotation': video.rotation,
            'mirrored': video.index.orientation.mirrored,
            'pixel_aspect': video.pixel_aspect,
            'start': round(video.start, 3),
            'stream': video.index.stream,
            'video_streams': video.index.streams,
        }
        if every_frame:
            for _ in decode.stream(video):
                pass
    except BrokenVideoError as error:
        return row | {'verdict': 'broken', 'reason': str(error)}

    # How many frames of a clip training would find in this file.
    frames_there = clip_indices(video, 0, frames, stride, fps)[1]
    if frames_there < frames:
        return row | {'verdict': 'short', 'reason': f'{frames_there} of {frames} frames'}
    return row | {'verdict': 'ok', 'reason': _format_stream(row)}


def _format_stream(row: Row) -> str | None:
    """Return which video of a file is read, None where it has one."""
    if row['video_streams'] == 1:
        return None
    return f'stream {row["stream"]} of {row["video_streams"]} videos in it'


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """Return totals over the rows; frames and seconds are those of files that are not broken."""
    readable = [row for row in rows if row['verdict'] != 'broken']
    counts = {verdict: sum(row['verdict'] == verdict for row in rows) for verdict in ('ok', 'short', 'broken')}
    return {
        'files': len(rows),
        **counts,
        'frames': sum(row['frames'] for row in readable),
        'seconds': round(sum(row['seconds'] for row in readable), 3),
        'bytes': sum(row['bytes'] for row in rows),
    }


def format_table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text under COLUMNS."""
    lines = [list(COLUMNS)]
    lines += [[_format_cell(row, column) for column in COLUMNS] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]

    def align(line: Sequence[str]) -> str:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        return '  '.join(cells).rstrip()

    return '\n'.join(map(align, lines))


def _format_cell(row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if value is None:
        return '-'
    if column == 'verdict' and row['reason']:
        return f'{value}: {row["reason"]}'
    if column == 'rotation' and row['mirrored']:
        return f'{value} mirrored'
    if column == 'size':
        width, height = value
        return f'{width}x{height}'
    return f'{value:.2f}' if isinstance(value, float) else escape_unprintable(str(value))
