"""The work on one input: from a file to its clips as records, and a reason for everything that is left out.

It depends on the item and the recipe alone, keeps one frame at a time, and never raises for what a file holds.
"""

import collections
import dataclasses
import errno
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator

import numpy as np

from data_pipelines.build.encode import Encoder
from data_pipelines.build.recipe import Recipe
from data_pipelines.curate import scores, shots
from data_pipelines.curate.clips import Clips, Span, spans
from data_pipelines.curate.letterbox import LetterboxDetector
from data_pipelines.inputs import frame_sources
from data_pipelines.inputs.listing import Item
from vdm_jax.data import filters
from vdm_jax.data.records import Caption, Record
from vdm_jax.data.transforms import cover, resize
from vdm_jax.data.video import decode
from vdm_jax.errors import UserError
from vdm_jax.versions import newer_dependencies, warn_of_newer

NEAR = 250  # frames: two clips closer than this are read in one go rather than from a keyframe of their own


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """One candidate: with its record, and the hashes of its frames, where it is kept; else with the reason.

    start, end: seconds of the file. scores: what was measured before it was dropped.
    """

    key: str
    start: float
    end: float
    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    record: Record | None = None
    hashes: bytes = b''
    reason: str = ''
    detail: str = ''


@dataclasses.dataclass(frozen=True)
class Input:
    """What became of an input as a whole: kept (a clip of it at least), dropped or broken, with the reason.

    bytes, sha256: of its file, None where it was not read.
    """

    fate: str
    reason: str = ''
    detail: str = ''
    bytes: int | None = None
    sha256: str | None = None


def work(item: Item, recipe: Recipe) -> Iterator[Clip | Input]:
    """Yields the clips of an input in the order of time, then its Input. A broken one has none, whatever came before.

    Raises: UserError where a library is missing; OSError where too many files are open.
    """
    about, reasons, kept = {}, [], 0
    try:
        if item.problem:
            reason, _, detail = item.problem.partition(': ')
            raise _BrokenError(reason, detail)
        if recipe.split and item.split != recipe.split:
            yield Input('dropped', 'split', f'its split is {item.split!r}')
            return
        about = _file(item)
        for clip in _clips(item, recipe):
            kept += clip.record is not None
            reasons += [clip.reason] if clip.reason else []
            yield clip
    except UserError:
        raise
    except Exception as error:  # whatever a file can provoke in the libraries beneath: the others go on
        if newer_dependencies(error):  # no fault of the file
            warn_of_newer(error)
            raise
        yield Input('broken', *_why_broken(error, recipe), **about)
    else:
        if kept:
            yield Input('kept', **about)
        else:
            yield dataclasses.replace(none_kept(reasons), **about)


def none_kept(reasons: Iterable[str]) -> Input:
    """An input all of whose clips were dropped, for these reasons: its own is that of most of them."""
    counts = collections.Counter(reasons)
    reason = min(counts, key=lambda reason: (-counts[reason], reason))
    each = ', '.join(f'{count} {reason}' for reason, count in sorted(counts.items()))
    return Input('dropped', reason, f'none kept of {counts.total()} clips: {each}')


class _BrokenError(decode.BrokenVideoError):
    """_BrokenError(reason, detail)."""


def _why_broken(error, recipe):
    """(reason, detail). Raises: OSError where this process, not the file, is to blame."""
    cause = error
    while cause is not None:
        if getattr(cause, 'errno', None) in (errno.EMFILE, errno.ENFILE):
            raise OSError(cause.errno, os.strerror(cause.errno))
        if isinstance(cause, MemoryError):
            return 'memory', f'it takes more than recipe.limits.memory={recipe.limits.memory} bytes, or than there are'
        cause = cause.__context__
    if isinstance(error, _BrokenError):
        return error.args
    if isinstance(error, decode.BrokenVideoError):
        return 'broken', str(error)
    return 'error', f'{type(error).__name__}: {error}'


def _file(item):
    try:
        size, found = 0, hashlib.sha256()
        for part in frame_sources.content(item):
            size += len(part)
            found.update(part)
        return {'bytes': size, 'sha256': found.hexdigest()}
    except OSError as error:
        raise _BrokenError('unreadable', error.strerror) from None


def _clips(item, recipe):
    video = frame_sources.probe(item, recipe.limits, recipe.clips.pixel_aspect == 'square')
    bars = LetterboxDetector(video.times) if recipe.clips.crop_black else None
    found = spans(video, _shots(video, *frames_between(item, video), recipe, bars), recipe.clips)
    frames = _streams(video, [span for span in found if not span.reason], recipe.clips.deinterlace)
    for number, span in enumerate(found):
        place = {'key': f'{item.name}#{number}', 'start': round(span.start, 6), 'end': round(span.end, 6)}
        if span.reason:
            yield Clip(**place, reason=span.reason, detail=_why(span, recipe.clips))
        else:
            box = bars.box(span.first, span.stop) if bars else None
            yield _clip(item, recipe, video, span, next(frames), box, place)


def _shots(video, first, stop, recipe, bars):
    """(first, stop) of each shot; `bars` sees the frames on the way."""
    if bars is None and recipe.shots.detector == 'none' and not recipe.shots.fades:
        return [(first, stop)]
    frames = frame_sources.stream(video, first, stop)
    return shots.find_shots(bars.watch(frames) if bars else frames, video.times, recipe.shots)


def frames_between(item, video):
    """The frames (first, stop) of the item's window, which is told in seconds of the file."""
    times = video.start + np.append(video.times, video.seconds)
    half = 0.5 / video.fps
    first = int(np.searchsorted(times, (item.start or 0) - half))
    stop = int(np.searchsorted(times[:-1], item.end - half)) if item.end is not None else video.frames
    if item.end is not None and item.end - half <= times[0] - 2 * half:
        raise _BrokenError('bad_times', f'it is to end at {item.end:g} s, and its video begins at {times[0]:.3f} s')
    if first >= video.frames:
        raise _BrokenError('bad_times', f'it is to start at {item.start:g} s, and ends at {times[-1]:.3f} s')
    return first, max(stop, first + 1)


def _why(span, config: Clips):
    if span.reason == 'too_short':
        return f'{span.end - span.start:.3f} s of {config.min_seconds:g}'
    if span.reason == 'low_fps':
        return f'{len(np.unique(span.numbers))} frames where {config.fps:g} a second are {len(span.numbers)}'
    return f'{config.most} clips were taken of its video'


def _streams(video, wanted: list[Span], deinterlace: bool):
    """The frames of one span after the other, gone once the next is asked for. All are read in one go where they lie
    near each other: finding a place in a long file costs more than a few frames.
    """
    stream, at = None, 0
    for span in wanted:
        if stream is None or span.first - at > NEAR:
            if stream is not None:
                stream.close()
            stream, at = frame_sources.stream(video, span.first, wanted[-1].stop, deinterlace), span.first
        frames = itertools.islice(stream, span.first - at, span.stop - at)
        yield frames
        collections.deque(frames, maxlen=0)  # those that nobody wanted
        at = span.stop


def _clip(item, recipe, video, span, frames, box, place):
    config, encoder, count = recipe.clips, None, 0
    measure = scores.ClipScorer(float(span.times[-1]))
    for number, frame in frames:
        if count == len(span.numbers) or number != span.numbers[count]:
            continue
        frame = _stored(frame, box, config.pixels)
        if encoder is None:
            height, width = frame.shape[:2]
            if min(height, width) < 2:
                return Clip(**place, reason='too_small', detail=f'{width}x{height} pixels')
            aspect = 1.0 if video.square else video.pixel_aspect
            encoder = Encoder(height, width, config.crf, config.gop, aspect)
        elif frame.shape[:2] != (height, width):
            raise decode.BrokenVideoError(f'frame {number} has another size than those before it')
        while count < len(span.numbers) and span.numbers[count] == number:
            encoder.add(frame, span.times[count], span.times[count + 1])
            measure.add(frame, float(span.times[count]))
            count += 1
    captions = captions_within(item.captions, span.start, span.end)
    measured, hashes = measure.finish()
    measured |= scores.score_captions(captions) | item.scores
    record = Record(
        frames=count,
        height=height,
        width=width,
        fps=span.fps,
        video=encoder.finish(),
        source=item.source,
        captions=captions,
        label=item.label,
        label_name=item.label_name,
        scores=measured,
        pixel_aspect=video.pixel_aspect,
        **place,
    )
    facts = {name: getattr(record, name) for name in filters.FACTS if hasattr(record, name)}
    facts |= measured | {'seconds': count / record.fps, 'captions': len(captions)}
    if failed := recipe.conditions.first_failing(facts):
        name = next(condition.name for condition in recipe.conditions.conditions if condition.text == failed)
        detail = f'{name} is {facts[name]}' if facts.get(name) is not None else f'it has no {name}'
        return Clip(**place, scores=measured, reason=failed, detail=detail)
    return Clip(**place, scores=measured, record=record, hashes=hashes)


def _stored(frame, box, pixels):
    """The frame as it is stored: cut to a box (top, bottom, left, right), shrunk to a short side of `pixels`, then
    without the last row or column where there is an odd number.
    """
    if box is not None:
        frame = frame[box[0] : box[1], box[2] : box[3]]
    if pixels is not None and min(frame.shape[:2]) > pixels:
        frame = resize(frame, *cover(*frame.shape[:2], pixels, pixels))
    height, width = frame.shape[:2]
    return frame[: height - height % 2, : width - width % 2]


def captions_within(captions: tuple[Caption, ...], start: float, end: float) -> tuple[Caption, ...]:
    """The captions of a file that are true of a clip of it, second `start` to `end`; timed ones in seconds of the clip,
    None where they reach its ends.
    """
    found = []
    for caption in captions:
        begins = start if caption.start is None else max(caption.start, start)
        ends = end if caption.end is None else min(caption.end, end)
        if begins < ends:
            first = None if begins == start else round(begins - start, 6)
            last = None if ends == end else round(ends - start, 6)
            found.append(dataclasses.replace(caption, start=first, end=last))
    return tuple(found)
