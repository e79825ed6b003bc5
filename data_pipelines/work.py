"""The work on one input: from a file to its clips as records, and a reason for everything that is left out.

It depends on the item and the recipe alone, keeps one frame at a time, and never raises for what a file holds.
"""

import collections
import dataclasses
import hashlib
import itertools
from collections.abc import Iterator

import numpy as np

from data_pipelines import stills
from data_pipelines.clips import Clips, Span, spans
from data_pipelines.encode import Encoder
from data_pipelines.listing import Item
from data_pipelines.recipe import Recipe
from vdm_jax.data import decode, filters
from vdm_jax.data.records import Caption, Record
from vdm_jax.data.transforms import cover, resize
from vdm_jax.errors import UserError

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
    """Yields the clips of an input in the order of time, then its Input. A broken one has no clips, whatever came before.

    Raises: UserError where a library is missing.
    """
    about, reasons, kept = {}, collections.Counter(), 0
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
            reasons.update([clip.reason] if clip.reason else [])
            yield clip
    except UserError:
        raise
    except _BrokenError as error:
        yield Input('broken', *error.args, **about)
    except decode.BrokenVideoError as error:
        yield Input('broken', 'broken', str(error), **about)
    except Exception as error:  # whatever a file can provoke in the libraries beneath: the others go on
        yield Input('broken', 'error', f'{type(error).__name__}: {error}', **about)
    else:
        if kept:
            yield Input('kept', **about)
        else:
            reason = min(reasons, key=lambda reason: (-reasons[reason], reason))
            counts = ', '.join(f'{count} {reason}' for reason, count in sorted(reasons.items()))
            yield Input('dropped', reason, f'none kept of {reasons.total()} clips: {counts}', **about)


class _BrokenError(decode.BrokenVideoError):
    """_BrokenError(reason, detail)."""


def _file(item):
    try:
        size, found = 0, hashlib.sha256()
        for part in stills.content(item):
            size += len(part)
            found.update(part)
        return {'bytes': size, 'sha256': found.hexdigest()}
    except OSError as error:
        raise _BrokenError('unreadable', error.strerror) from None


def _clips(item, recipe):
    video = stills.probe(item, recipe.limits)
    first, stop = frames_between(item, video)
    shots = [(first, stop)]
    found = spans(video, shots, recipe.clips)
    keys = {id(span): f'{item.name}#{number}' for number, span in enumerate(found)}
    frames = _streams(video, [span for span in found if not span.reason])
    for span in found:
        place = {'key': keys[id(span)], 'start': round(span.start, 6), 'end': round(span.end, 6)}
        if span.reason:
            yield Clip(**place, reason=span.reason, detail=_why(span, recipe.clips))
        else:
            yield _clip(item, recipe, span, next(frames), place)


def frames_between(item, video):
    """The frames (first, stop) of the item's window."""
    times = np.append(video.times, video.seconds)
    half = 0.5 / video.fps
    first = int(np.searchsorted(times, (item.start or 0) - half))
    stop = int(np.searchsorted(times[:-1], item.end - half)) if item.end is not None else video.frames
    if first >= video.frames:
        raise _BrokenError('bad_times', f'it is to start at {item.start:g} s, and ends at {video.seconds:.3f} s')
    return first, max(stop, first + 1)


def _why(span, config: Clips):
    if span.reason == 'too_short':
        return f'{span.end - span.start:.3f} s of {config.min_seconds:g}'
    if span.reason == 'low_fps':
        return f'{len(np.unique(span.numbers))} frames where {config.fps:g} a second are {len(span.numbers)}'
    return f'{config.most} clips were taken of its video'


def _streams(video, wanted: list[Span]):
    """The frames of one span after the other; each has to be used up before the next. All are read in one go where they
    lie near each other: finding a place in a long file costs more than a few frames."""
    stream, at = None, 0
    for span in wanted:
        if stream is None or span.first - at > NEAR:
            if stream is not None:
                stream.close()
            stream, at = stills.stream(video, span.first, wanted[-1].stop), span.first
        yield itertools.islice(stream, span.first - at, span.stop - at)
        at = span.stop


def _clip(item, recipe, span, frames, place):
    config, encoder, count = recipe.clips, None, 0
    for number, frame in frames:
        if number != span.numbers[count]:
            continue
        frame = _stored(frame, config)
        height, width = frame.shape[:2]
        if min(height, width) < 2:
            return Clip(**place, reason='too_small', detail=f'{width}x{height} pixels')
        encoder = encoder or Encoder(height, width, config.crf, config.gop)
        while count < len(span.numbers) and span.numbers[count] == number:
            encoder.add(frame, span.times[count], span.times[count + 1])
            count += 1
        if count == len(span.numbers):
            break
    scores = dict(item.scores)
    captions = captions_within(item.captions, span.start, span.end)
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
        scores=scores,
        **place,
    )
    facts = {name: getattr(record, name) for name in filters.FACTS if hasattr(record, name)}
    facts |= scores | {'seconds': count / record.fps, 'captions': len(captions)}
    if failed := filters.parse(recipe.filters, 'recipe.filters').first_failing(facts):
        return Clip(**place, scores=scores, reason=failed, detail='')
    return Clip(**place, scores=scores, record=record)


def _stored(frame, config):
    """The frame as it is to be stored: shrunk, then without the last row or column where there is an odd number."""
    if config.pixels is not None and min(frame.shape[:2]) > config.pixels:
        frame = resize(frame, *cover(*frame.shape[:2], config.pixels, config.pixels))
    height, width = frame.shape[:2]
    return frame[: height - height % 2, : width - width % 2]


def captions_within(captions: tuple[Caption, ...], start: float, end: float) -> tuple[Caption, ...]:
    """The captions of a file that are true of a clip of it, start and end in seconds of the file; in seconds of the clip
    where they were timed, None where they reach its ends."""
    found = []
    for caption in captions:
        begins = start if caption.start is None else max(caption.start, start)
        ends = end if caption.end is None else min(caption.end, end)
        if begins < ends:
            first = None if begins == start else round(begins - start, 6)
            last = None if ends == end else round(ends - start, 6)
            found.append(dataclasses.replace(caption, start=first, end=last))
    return tuple(found)
