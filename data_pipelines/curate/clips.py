"""Which frames of a video become clips: pieces of a wanted length, each inside one shot."""

import dataclasses
from typing import Literal

import numpy as np

from vdm_jax.data.video.extract_clip import clip_indices
from vdm_jax.errors import UserError

REPEATED = 0.9  # of the frames of a clip that have to differ where `fps` is set


@dataclasses.dataclass(frozen=True)
class Clips:
    """What is cut out of a shot, and how it is stored.

    seconds: of a clip; none: the whole shot. min_seconds: what is left of a shot counts as a clip from here on, and is
    dropped as too_short below. most: clips of one video, taken evenly over it; the others are dropped as not_taken.
    fps: frames a second, those nearest in time to a grid; none: every frame at its own time. A video with too few
    frames for it is dropped as low_fps, since a frame shown twice teaches stillness.
    pixel_aspect: pixels that are not square are made so, or stay as they are stored, and the clip's file says so.
    pixels: the short side is shrunk to this many, the aspect kept; none: as it is. crop_black: black bars at the edges
    are cut away. deinterlace: frames of an interlaced video are made whole.
    crf: of x264, 0 (lossless) to 51. gop: the most frames from one keyframe to the next, which is what reading from the
    middle costs.
    """

    seconds: float | None = 10.0
    min_seconds: float = 1.0
    most: int | None = None
    fps: float | None = None
    pixel_aspect: Literal['square', 'stored'] = 'square'
    pixels: int | None = None
    crop_black: bool = False
    deinterlace: bool = True
    crf: int = 18
    gop: int = 12

    def __post_init__(self):
        for name in ('seconds', 'most', 'fps', 'pixels', 'gop'):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UserError(f'recipe.clips.{name} is {value}; it must be more than 0')
        for name, most in (('fps', 1000), ('gop', 2**31 - 1)):
            if (value := getattr(self, name)) is not None and value > most:
                raise UserError(f'recipe.clips.{name} is {value}; it must be at most {most}')
        if self.pixels is not None and self.pixels % 2:
            raise UserError(f'recipe.clips.pixels is {self.pixels}; it must be even, as H.264 stores it')
        if self.min_seconds < 0 or self.seconds is not None and self.min_seconds > self.seconds:
            raise UserError(f'recipe.clips.min_seconds is {self.min_seconds}; want 0 to recipe.clips.seconds')
        if not 0 <= self.crf <= 51:
            raise UserError(f'recipe.clips.crf is {self.crf}; want 0 to 51')


@dataclasses.dataclass(frozen=True, eq=False)
class Span:
    """One piece of a video: the frames first <= number < stop, from second `start` to `end` of its file.

    numbers: those to store, int64 (T,), rising; a number may come twice. times: when each is shown, seconds from the
    first, float64 (T + 1,), the last that at which the clip ends. reason: why it is dropped, '' where it is not.
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
        """The mean."""
        return round(len(self.numbers) / float(self.times[-1]), 6)


def spans(video, shots, config: Clips) -> list[Span]:
    """The clips of a video (vdm_jax.data.video.decode.Video), those to drop among them, in the order of time.

    shots: (first, stop) frame numbers.
    """
    found = [span for first, stop in shots for span in _of_shot(video, first, stop, config)]
    if config.most is not None:
        good = [i for i, span in enumerate(found) if not span.reason]
        taken = np.linspace(0, len(good) - 1, min(config.most, len(good))).round().astype(int) if good else []
        left = set(good) - {good[i] for i in taken}
        found = [dataclasses.replace(span, reason='not_taken') if i in left else span for i, span in enumerate(found)]
    return found


def _of_shot(video, first, stop, config):
    while first < stop:
        until = stop
        if config.seconds is not None:
            until = min(stop, max(first + 1, _nearest(video.times, video.times[first] + config.seconds)))
        yield _span(video, first, until, config)
        first = until


def _span(video, first, stop, config):
    start = float(video.times[first])
    end = float(video.times[stop]) if stop < video.frames else video.seconds
    long_enough = end - start >= config.min_seconds - 0.5 / video.fps
    if config.fps is None:
        numbers, times = np.arange(first, stop), np.append(video.times[first:stop], end) - start
    else:
        count = max(round((end - start) * config.fps), 1)
        numbers = np.minimum(clip_indices(video, first, count, fps=config.fps)[0], stop - 1)
        times = np.arange(count + 1) / config.fps
    few = len(np.unique(numbers)) < REPEATED * len(numbers)
    reason = 'too_short' if not long_enough else 'low_fps' if few else ''
    return Span(first, stop, video.start + start, video.start + end, numbers, times, reason)


def _nearest(times, wanted) -> int:
    """The number of the frame nearest in time; that after the last where the end is nearer."""
    later = int(np.searchsorted(times, wanted))
    if later == len(times):
        step = times[-1] - times[-2] if len(times) > 1 else 0
        return later if wanted > times[-1] + step / 2 else later - 1
    return later if later == 0 or times[later] - wanted <= wanted - times[later - 1] else later - 1
