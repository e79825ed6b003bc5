"""Process one input: from a file to its clips as records, and a reason for everything that is left out.

The work depends on the item and the recipe only, holds one frame at a time, and never raises for what a file holds.
"""

import collections
import dataclasses
import errno
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from data_pipelines.build.encoder import Encoder
from data_pipelines.build.recipe import Recipe
from data_pipelines.curate import scores, shots
from data_pipelines.curate.clips import ClipsConfig, Span, find_spans
from data_pipelines.curate.letterbox import Box, LetterboxDetector
from data_pipelines.inputs import frame_sources
from data_pipelines.inputs.item import Item
from vdm_jax.cli.versions import newer_dependencies, warn_of_newer
from vdm_jax.data.records import filters
from vdm_jax.data.records.schema import Caption, Record
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.decode import Video
from vdm_jax.data.video.transforms import cover, resize
from vdm_jax.errors import UserError

NEAR_FRAMES = 250  # two clips closer than this are read in one go rather than from a keyframe of their own

Frames = Iterator[tuple[int, np.ndarray]]  # (number, uint8 (H, W, 3) RGB)


@dataclasses.dataclass(frozen=True, eq=False)
class ClipOutcome:
    """What became of one candidate clip.

    Attributes:
      key: Its name, unique in a set.
      start: Second of the file.
      end: Second of the file.
      scores: What was measured, also of one that is dropped for it.
      record: Where it is kept.
      hashes: Of its frames, where it is kept.
      reason: Why it is dropped, '' where it is kept.
      detail: The reason in words.
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
class InputOutcome:
    """What became of an input.

    Attributes:
      fate: 'kept' (a clip of it at least), 'dropped' or 'broken'.
      reason: Why it is not kept.
      detail: The reason in words.
      bytes: Of its file, None where it was not read.
      sha256: Of its file, None where it was not read.
    """

    fate: str
    reason: str = ''
    detail: str = ''
    bytes: int | None = None
    sha256: str | None = None


class _BrokenInputError(BrokenVideoError):
    """Why an input is broken: _BrokenInputError(reason, detail)."""


def process_video(item: Item, recipe: Recipe) -> Iterator[ClipOutcome | InputOutcome]:
    """Yield the clips of an input in the order of time, then its InputOutcome.

    A broken one has no clips, whatever came before.

    Raises:
      UserError: a library is missing.
      OSError: too many files are open.
    """
    facts: dict[str, Any] = {}
    reasons: list[str] = []
    has_kept = False
    try:
        if item.problem:
            reason, _, detail = item.problem.partition(': ')
            raise _BrokenInputError(reason, detail)
        if recipe.split and item.split != recipe.split:
            yield InputOutcome('dropped', 'split', f'its split is {item.split!r}')
            return

        # Read once in full before it is decoded: the manifest names the bytes that clips were made of.
        facts = _read_file_facts(item)
        for clip in _process_clips(item, recipe):
            if clip.record is not None:
                has_kept = True
            if clip.reason:
                reasons.append(clip.reason)
            yield clip
    except UserError:
        raise
    # Whatever a file can provoke in the libraries beneath: the others go on.
    except Exception as error:
        if newer_dependencies(error):  # no fault of the file
            warn_of_newer(error)
            raise

        reason, detail = _explain_broken(error, recipe)
        yield InputOutcome('broken', reason, detail, **facts)
    else:
        outcome = InputOutcome('kept') if has_kept else summarize_dropped(reasons)
        yield dataclasses.replace(outcome, **facts)


def summarize_dropped(reasons: Iterable[str]) -> InputOutcome:
    """Return the outcome of an input all of whose clips were dropped, for these reasons: its own is the commonest."""
    counts = collections.Counter(reasons)
    reason = min(counts, key=lambda reason: (-counts[reason], reason))
    each = ', '.join(f'{count} {reason}' for reason, count in sorted(counts.items()))
    return InputOutcome('dropped', reason, f'none kept of {counts.total()} clips: {each}')


def _explain_broken(error: BaseException, recipe: Recipe) -> tuple[str, str]:
    """Return (reason, detail) of what an input provoked.

    Raises:
      OSError: this process, not the file, is to blame.
    """
    # Libraries raise errors of their own while they handle the first one.
    cause: BaseException | None = error
    while cause is not None:
        # Errors of FFmpeg have a number too, and are no OSErrors.
        number = getattr(cause, 'errno', None)
        if number in (errno.EMFILE, errno.ENFILE):
            raise OSError(number, os.strerror(number))
        if isinstance(cause, MemoryError):
            return 'memory', f'it takes more than recipe.limits.memory={recipe.limits.memory} bytes, or than there are'
        cause = cause.__context__

    if isinstance(error, _BrokenInputError):
        reason, detail = error.args
        return reason, detail
    if isinstance(error, BrokenVideoError):
        return 'broken', str(error)
    return 'error', f'{type(error).__name__}: {error}'


def _read_file_facts(item: Item) -> dict[str, Any]:
    """Read all bytes of an input; return their number and sha256."""
    try:
        size, sha256 = frame_sources.hash_bytes(item)
    except OSError as error:
        raise _BrokenInputError('unreadable', error.strerror) from None
    return {'bytes': size, 'sha256': sha256}


def _process_clips(item: Item, recipe: Recipe) -> Iterator[ClipOutcome]:
    """Yield what becomes of each candidate clip: a pass over the frames for shots, then one for the clips."""
    video = frame_sources.probe(item, recipe.limits, recipe.clips.pixel_aspect == 'square')
    letterbox = LetterboxDetector(video.times) if recipe.clips.crop_black else None
    first, stop = frames_between(item, video)
    shot_ranges = _find_shots(video, first, stop, recipe, letterbox)

    # Clips are decided before any of them is encoded: `most` needs all of them.
    candidates = find_spans(video, shot_ranges, recipe.clips)
    wanted = [span for span in candidates if not span.reason]
    streams = _stream_spans(video, wanted, recipe.clips.deinterlace)
    for number, span in enumerate(candidates):
        names: dict[str, Any] = {
            'key': f'{item.name}#{number}',
            'start': round(span.start, 6),
            'end': round(span.end, 6),
        }
        if span.reason:
            yield ClipOutcome(**names, reason=span.reason, detail=_explain_dropped(span, recipe.clips))
        else:
            box = letterbox.box(span.first, span.stop) if letterbox is not None else None
            yield _make_clip(item, recipe, video, span, next(streams), box, names)


def _find_shots(
    video: Video, first: int, stop: int, recipe: Recipe, letterbox: LetterboxDetector | None
) -> list[tuple[int, int]]:
    """Return (first, stop) of each shot; the letterbox detector sees the frames on the way."""
    if letterbox is None and recipe.shots.detector == 'none' and not recipe.shots.fades:
        return [(first, stop)]
    frames: Frames = frame_sources.stream(video, first, stop)
    if letterbox is not None:
        frames = letterbox.watch(frames)
    return shots.find_shots(frames, video.times, recipe.shots)


def frames_between(item: Item, video: Video) -> tuple[int, int]:
    """Return the frames (first, stop) of the item's window, which is in seconds of the file."""
    times = video.start + np.append(video.times, video.seconds)
    # Times of a list are rounded, so the frame that is nearest counts.
    half_frame = 0.5 / video.fps
    first = int(np.searchsorted(times, (item.start or 0) - half_frame))
    stop = video.frames
    if item.end is not None:
        stop = int(np.searchsorted(times[:-1], item.end - half_frame))
        if item.end - half_frame <= times[0] - 2 * half_frame:
            raise _BrokenInputError(
                'bad_times', f'it is to end at {item.end:g} s, and its video begins at {times[0]:.3f} s'
            )
    if first >= video.frames:
        raise _BrokenInputError('bad_times', f'it is to start at {item.start:g} s, and ends at {times[-1]:.3f} s')
    # A window that is shorter than a frame is that frame.
    return first, max(stop, first + 1)


def _explain_dropped(span: Span, config: ClipsConfig) -> str:
    if span.reason == 'too_short':
        return f'{span.end - span.start:.3f} s of {config.min_seconds:g}'
    if span.reason == 'low_fps':
        return f'{len(np.unique(span.numbers))} frames where {config.fps:g} a second are {len(span.numbers)}'
    return f'{config.most} clips were taken of its video'


def _stream_spans(video: Video, wanted: Sequence[Span], deinterlace: bool) -> Iterator[Frames]:
    """Yield the frames of one span after the other, gone once the next is asked for.

    All are read in one go where they lie near each other: seeking in a long file costs more than a few frames.
    """
    stream = None
    position = 0
    for span in wanted:
        if stream is None or span.first - position > NEAR_FRAMES:
            if stream is not None:
                stream.close()
            stream = frame_sources.stream(video, span.first, wanted[-1].stop, deinterlace)
            position = span.first
        frames = itertools.islice(stream, span.first - position, span.stop - position)
        yield frames

        # The caller may stop early; the next span is counted from this one's end.
        collections.deque(frames, maxlen=0)
        position = span.stop


def _make_clip(
    item: Item, recipe: Recipe, video: Video, span: Span, frames: Frames, box: Box | None, names: dict[str, Any]
) -> ClipOutcome:
    """Encode and measure the frames of a span; return its record, or the reason it is dropped for."""
    config = recipe.clips
    encoder = None
    height = width = 0
    count = 0
    scorer = scores.ClipScorer(float(span.times[-1]))
    for number, source_frame in frames:
        # Frames that are not on the grid of clips.fps are passed over.
        if count == len(span.numbers) or number != span.numbers[count]:
            continue
        frame = _crop_and_shrink(source_frame, box, config.pixels)
        if encoder is None:
            height, width = frame.shape[:2]
            if min(height, width) < 2:
                return ClipOutcome(**names, reason='too_small', detail=f'{width}x{height} pixels')
            pixel_aspect = 1.0 if video.square else video.pixel_aspect
            encoder = Encoder(height, width, config.crf, config.gop, pixel_aspect)
        elif frame.shape[:2] != (height, width):
            raise BrokenVideoError(f'frame {number} has another size than those before it')

        # At a higher rate than the file's a frame comes more than once.
        while count < len(span.numbers) and span.numbers[count] == number:
            encoder.add(frame, span.times[count], span.times[count + 1])
            scorer.add(frame, float(span.times[count]))
            count += 1
    if encoder is None:
        raise BrokenVideoError(f'frame {span.numbers[0]} does not decode')

    # Only what is true of these seconds is scored and stored.
    captions = captions_within(item.captions, span.start, span.end)
    measured, hashes = scorer.finish()
    measured.update(scores.score_captions(captions))
    # No name is in both, which the recipe was checked for.
    measured.update(item.scores)
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
        **names,
    )
    reason, detail = _apply_filters(recipe.parsed_filters, record)
    if reason:
        return ClipOutcome(**names, scores=measured, reason=reason, detail=detail)
    return ClipOutcome(**names, scores=measured, record=record, hashes=hashes)


def _apply_filters(parsed_filters: filters.Filters, record: Record) -> tuple[str, str]:
    """Return the first filter that a clip does not meet and what it has instead; ('', '') where it meets all."""
    facts: dict[str, Any] = {
        name: getattr(record, name) for name in filters.FACTS if name not in ('seconds', 'captions')
    }
    facts |= record.scores
    facts['seconds'] = record.frames / record.fps
    facts['captions'] = len(record.captions)

    failed = parsed_filters.first_failing(facts)
    if not failed:
        return '', ''
    # The detail has the value that failed, for whoever tunes the recipe.
    name = next(each.name for each in parsed_filters.filters if each.text == failed)
    if facts.get(name) is None:
        return failed, f'it has no {name}'
    return failed, f'{name} is {facts[name]}'


def _crop_and_shrink(frame: np.ndarray, box: Box | None, pixels: int | None) -> np.ndarray:
    """Return the frame as it is stored: cropped to a box, then shrunk to a short side of `pixels`.

    The last row or column goes where there is an odd number, which H.264 does not store.
    """
    if box is not None:
        top, bottom, left, right = box
        frame = frame[top:bottom, left:right]
    if pixels is not None and min(frame.shape[:2]) > pixels:
        height, width = frame.shape[:2]
        frame = resize(frame, *cover(height, width, pixels, pixels))
    height, width = frame.shape[:2]
    return frame[: height - height % 2, : width - width % 2]


def captions_within(captions: tuple[Caption, ...], start: float, end: float) -> tuple[Caption, ...]:
    """Return the captions of a file that are true of a clip of it, second `start` to `end`.

    Times of theirs become seconds of the clip, None where they reach its ends.
    """
    within = []
    for caption in captions:
        begins = start if caption.start is None else max(caption.start, start)
        ends = end if caption.end is None else min(caption.end, end)
        if begins < ends:
            clip_start = None if begins == start else round(begins - start, 6)
            clip_end = None if ends == end else round(ends - start, 6)
            within.append(dataclasses.replace(caption, start=clip_start, end=clip_end))
    return tuple(within)
