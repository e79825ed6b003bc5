"""From a whole video to one clip of it: which frames, which part of the picture, mirrored or not."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import numpy as np

from vdm_jax.data.video import transforms

# What the keys of config.data may say; ranges of the others are in ranges.py.
Short = Literal['hold', 'loop', 'drop']
Start = Literal['random', 'first', 'center']
CropMode = Literal['center', 'random']
PixelAspect = Literal['square', 'stored']

# (frame numbers, height, width) -> frames uint8 (T, height, width, C).
ReadFrames = Callable[[np.ndarray, int, int], np.ndarray]


class VideoLike(Protocol):
    """What a clip is cut from. With fps its `times` and `seconds` are needed too: see decode.Video."""

    @property
    def frames(self) -> int:
        """How many there are."""

    @property
    def height(self) -> int:
        """Of a frame, in pixels."""

    @property
    def width(self) -> int:
        """Of a frame, in pixels."""


@dataclasses.dataclass(frozen=True)
class ClipOptions:
    """How clips are cut from videos.

    Attributes:
      size: (T, H, W) of a clip.
      stride: Take every so many-th frame.
      fps: Take the frames nearest in time to a grid of so many a second; None: take them by their numbers.
      short: What fills a clip that its video is too short for: the last frame held, or the video again (loop). Whether
        such a video is there at all (drop) its source decides.
      start: Where a training clip begins; where that is random, a clip of evaluation begins at the first frame.
      crop: Which part of the picture a training clip shows; a clip of evaluation shows the centre.
      flip: Whether half of the training clips are mirrored.
    """

    size: tuple[int, int, int]
    stride: int = 1
    fps: float | None = None
    short: Short = 'hold'
    start: Start = 'random'
    crop: CropMode = 'center'
    flip: bool = False

    def with_size(self, size: tuple[int, int, int] | None) -> 'ClipOptions':
        """Return the same for clips of another size (T, H, W); None: of their own."""
        return self if size is None else dataclasses.replace(self, size=size)


@dataclasses.dataclass(frozen=True)
class Placement:
    """Which clip of a video it is.

    Attributes:
      start: Where it begins, as a share of the frames at which it may, in [0, 1).
      corner: (down, right), shares of the room for its picture, in [0, 1); None for the centre.
      mirrored: Whether it is mirrored from left to right.
    """

    start: float = 0.0
    corner: tuple[float, float] | None = None
    mirrored: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class ReadPlan:
    """What is read of a video for one clip, and what becomes of it.

    Attributes:
      video: A decode.Video, or other frames.
      numbers: Of its frames, int64 (T,); a frame may come twice.
      height: What frames are scaled to, in pixels.
      width: The same.
      picture: (H, W) of the clip, cut from the scaled frames.
      placement: Where it is cut from them.
      padded: Whether the video is too short for it.
    """

    video: Any
    numbers: np.ndarray
    height: int
    width: int
    picture: tuple[int, int]
    placement: Placement
    padded: bool


def place_clip(options: ClipOptions, chance: Sequence[float] | np.ndarray | None) -> Placement:
    """Return where in its video a clip lies.

    Args:
      options: What may be drawn.
      chance: Four numbers in [0, 1) for a training clip's start, place (down, right) and mirroring, each used only
        where the options ask for it, so that one option does not move another's; None for the clip of evaluation.
    """
    start = 0.5 if options.start == 'center' else 0.0
    if chance is None:
        return Placement(start)
    if options.start == 'random':
        start = chance[0]
    corner = (chance[1], chance[2]) if options.crop == 'random' else None
    return Placement(start, corner, options.flip and chance[3] < 0.5)


def plan_clip(options: ClipOptions, video: VideoLike, placement: Placement) -> ReadPlan:
    """Return what to read of a video for the clip that lies there."""
    frames, *picture = options.size
    start = int(placement.start * clip_starts(video, frames, options.stride, options.fps))
    numbers, have = clip_indices(video, start, frames, options.stride, options.fps)

    if have < frames:
        fill = np.arange(frames)
        source_frames = fill % have if options.short == 'loop' else np.minimum(fill, have - 1)
        numbers = numbers[source_frames]

    height, width = transforms.cover(video.height, video.width, *picture)
    return ReadPlan(video, numbers, height, width, (picture[0], picture[1]), placement, have < frames)


def extract_clip(plan: ReadPlan, read: ReadFrames) -> np.ndarray:
    """Read the clip of a plan: uint8 (T, H, W, C)."""
    clip = read(plan.numbers, plan.height, plan.width)
    clip = transforms.crop(clip, *plan.picture, plan.placement.corner)
    if plan.placement.mirrored:
        clip = transforms.flip(clip)
    return np.ascontiguousarray(clip)


def clip_indices(
    video: Any, start: int, count: int, stride: int = 1, fps: float | None = None
) -> tuple[np.ndarray, int]:
    """Return the clip that begins at frame `start`: frame numbers int64 (count,), and how many the video has of them.

    With fps, frame k of the clip is the frame nearest to k * stride / fps seconds after `start`.
    """
    if fps is None:
        indices = start + stride * np.arange(count)
        return indices, int(np.sum(indices < video.frames))
    wanted = video.times[start] + np.arange(count) * (stride / fps)
    later = np.clip(np.searchsorted(video.times, wanted), 0, video.frames - 1)
    earlier = np.maximum(later - 1, 0)

    # Of two frames that are equally near the earlier one is taken, whatever rounding makes of it.
    late = video.times[later] - wanted < wanted - video.times[earlier] - 1e-6
    return np.where(late | (later == 0), later, earlier), int(np.sum(wanted < _end(video)))


def clip_starts(video: Any, count: int, stride: int = 1, fps: float | None = None) -> int:
    """Return at how many frames a whole clip may begin (at least 1: a short video begins at its first)."""
    if fps is None:
        return max(int(video.frames) - stride * (count - 1), 1)
    return max(int(np.searchsorted(video.times, _end(video) - (count - 1) * (stride / fps))), 1)


def clip_length(video: Any, stride: int = 1, fps: float | None = None) -> int:
    """Return how many frames the longest clip has that needs no filling up."""
    if fps is None:
        return -(-int(video.frames) // stride)
    # A clip that fits exactly is not lost to the last bit of a product.
    return int(np.ceil((_end(video) - video.times[0]) * fps / stride - 1e-6))


def _end(video: Any) -> float:
    """Return the second at which the last frame is half over: what lies beyond is no longer nearest to a frame."""
    return float((video.times[-1] + video.seconds) / 2)
