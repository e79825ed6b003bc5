"""Clip selection: which frames of a video become clips, pieces of a wanted length, each inside one shot."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Annotated, Literal

import numpy as np

from vdm_jax.config.ranges import Above0, AtLeast, Between, Count, MultipleOf, Ranged
from vdm_jax.data.video.decode import Video
from vdm_jax.data.video.extract_clip import clip_indices

DISTINCT_SHARE = 0.9  # of the frames of a clip that have to differ where `fps` is set


@dataclasses.dataclass(frozen=True)
class ClipsConfig(Ranged, where='recipe.clips'):
    """The recipe group recipe.clips: what is cut out of a shot, and how it is stored.

    Attributes:
      seconds: Of a clip; none: the whole shot.
      min_seconds: What is left of a shot counts as a clip from here on, and is dropped as too_short below.
      most: Clips of one video, taken evenly over it; the others are dropped as not_taken.
      fps: Frames a second, those nearest in time to a grid; none: every frame at its own time. A video with too few
        frames for it is dropped as low_fps, since a frame shown twice teaches stillness.
      pixel_aspect: Pixels that are not square are made so, or stay as they are stored, and the clip's file says so.
      pixels: The short side is shrunk to this many, the aspect kept; none: as it is.
      crop_black: Whether black bars at the edges are cut away.
      deinterlace: Whether the two fields of an interlaced frame are made one.
      crf: Quality of x264, 0 (lossless) to 51.
      gop: The most frames from one keyframe to the next, which is what reading from the middle costs.
    """

    seconds: Annotated[float, Above0(high=1e9)] | None = 10.0
    min_seconds: Annotated[float, AtLeast(0, 1e9)] = 1.0
    most: Count | None = None
    fps: Annotated[float, Above0(high=1000)] | None = None
    pixel_aspect: Literal['square', 'stored'] = 'square'
    pixels: Annotated[int, AtLeast(1), MultipleOf(2)] | None = None  # even, as H.264 stores it
    crop_black: bool = False
    deinterlace: bool = True
    crf: Annotated[int, Between(0, 51)] = 18
    gop: Count = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.seconds is not None and self.min_seconds > self.seconds:
            self.refuse('min_seconds', f'want recipe.clips.seconds={self.seconds} or less')


@dataclasses.dataclass(frozen=True, eq=False)
class Span:
    """One piece of a video: the frames first <= number < stop.

    Attributes:
      first: Its first frame.
      stop: The frame behind its last.
      start: Second of the file that it begins at.
      end: Second of the file that it ends at.
      numbers: The frames to store, int64 (T,), rising; a number may come twice.
      times: When each is shown, seconds from the first, float64 (T + 1,), the last that at which the clip ends.
      reason: Why it is dropped, '' where it is not.
    """

    first: int
    stop: int
    start: float
    end: float
    numbers: np.ndarray
    times: np.ndarray
    reason: str = ''

    @property
    def fps(self) -> float:
        """Return the mean of frames a second."""
        return round(len(self.numbers) / float(self.times[-1]), 6)


def find_spans(video: Video, shots: Iterable[tuple[int, int]], config: ClipsConfig) -> list[Span]:
    """Return the clips of a video, those to drop among them, in the order of time.

    Args:
      video: The video.
      shots: (first, stop) frame numbers.
      config: What is cut out of them.
    """
    spans = [span for first, stop in shots for span in _split_shot(video, first, stop, config)]
    if config.most is None:
        return spans

    # Dropped ones take no place of those that may be kept.
    usable = [number for number, span in enumerate(spans) if not span.reason]
    if not usable:
        return spans
    ranks = np.linspace(0, len(usable) - 1, min(config.most, len(usable))).round().astype(int)
    passed_over = set(usable) - {usable[rank] for rank in ranks}
    for number in passed_over:
        spans[number] = dataclasses.replace(spans[number], reason='not_taken')
    return spans


def _split_shot(video: Video, first: int, stop: int, config: ClipsConfig) -> Iterator[Span]:
    while first < stop:
        span_stop = stop
        if config.seconds is not None:
            nearest = _nearest_frame(video.times, video.times[first] + config.seconds)
            # At least a frame, as one may be shown for longer than a clip is to last.
            span_stop = min(stop, max(first + 1, nearest))
        yield _make_span(video, first, span_stop, config)
        first = span_stop


def _make_span(video: Video, first: int, stop: int, config: ClipsConfig) -> Span:
    start = float(video.times[first])
    end = float(video.times[stop]) if stop < video.frames else video.seconds
    if config.fps is None:
        numbers = np.arange(first, stop)
        times = np.append(video.times[first:stop], end) - start
    else:
        count = max(round((end - start) * config.fps), 1)
        grid_numbers, _ = clip_indices(video, first, count, fps=config.fps)
        # The grid may end behind the shot, by half a frame.
        numbers = np.minimum(grid_numbers, stop - 1)
        times = np.arange(count + 1) / config.fps

    reason = ''
    # Half a frame of tolerance, as times of frames are rounded.
    if end - start < config.min_seconds - 0.5 / video.fps:
        reason = 'too_short'
    elif len(np.unique(numbers)) < DISTINCT_SHARE * len(numbers):
        reason = 'low_fps'
    return Span(first, stop, video.start + start, video.start + end, numbers, times, reason)


def _nearest_frame(times: np.ndarray, second: float) -> int:
    """Return the number of the frame nearest in time; that behind the last where the end is nearer."""
    later = int(np.searchsorted(times, second))
    if later == len(times):
        step = times[-1] - times[-2] if len(times) > 1 else 0
        return later if second > times[-1] + step / 2 else later - 1
    if later == 0 or times[later] - second <= second - times[later - 1]:
        return later
    return later - 1
