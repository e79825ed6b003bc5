"""Decode video files: what a file holds (`probe`), and exactly the frames that are wanted (`read`, `stream`).

A frame is what the decoder outputs, in the order and at the time a player shows it, upright, its pixels square.
Whatever is wrong with a file is raised as BrokenVideoError; `Limits` bound what it may ask for.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vdm_jax.data.video import animation
from vdm_jax.data.video.broken import BrokenVideoError, no_picture
from vdm_jax.data.video.deinterlace import deinterlace_frames
from vdm_jax.data.video.index import Index
from vdm_jax.data.video.limits import Limits
from vdm_jax.data.video.picture import to_rgb
from vdm_jax.data.video.probe import read_index
from vdm_jax.data.video.seek import decode_at
from vdm_jax.data.video.transforms import resize

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


@dataclasses.dataclass(frozen=True, eq=False)
class Video:
    """A file and its index, opened whenever frames are read.

    Attributes:
      path: Of the file, or the bytes in it.
      index: What it holds.
      limits: Those it was probed with, which hold for reading it too.
      square: Whether pixels that are not square are made so: then the width is that of square ones.
    """

    path: str | bytes
    index: Index
    limits: Limits = Limits()
    square: bool = True

    @property
    def codec(self) -> str:
        """FFmpeg's name of the format."""
        return self.index.codec

    @property
    def fps(self) -> float:
        """Frames a second, the mean where the rate varies."""
        return self.index.fps

    @property
    def frames(self) -> int:
        """How many there are."""
        return self.index.frames

    @property
    def times(self) -> np.ndarray:
        """Seconds of each frame from the first, float64 (frames,)."""
        return self.index.times

    @property
    def start(self) -> float:
        """Seconds of the file at which the first frame is shown."""
        return self.index.start

    @property
    def seconds(self) -> float:
        """From the start of the first frame to the end of the last."""
        return self.index.seconds

    @property
    def height(self) -> int:
        """Of the picture as it is shown, in pixels."""
        return self._shape[0]

    @property
    def width(self) -> int:
        """Of the picture as it is shown, in pixels."""
        return self._shape[1]

    @property
    def rotation(self) -> int:
        """Degrees counterclockwise that the stored picture is turned by to be shown."""
        return self.index.orientation.rotation

    @property
    def interlaced(self) -> bool:
        """Whether the lines of a frame may belong to two moments."""
        return self.index.interlaced

    @property
    def pixel_aspect(self) -> float:
        """Width over height of a pixel of the file, as it is shown."""
        aspect = self.index.pixel_aspect
        return 1 / aspect if self.index.orientation.transpose else aspect

    @property
    def _shape(self) -> tuple[int, int]:
        """(height, width) of the picture as it is shown."""
        width = self.index.width * (self.index.pixel_aspect if self.square else 1)
        return self.index.orientation.stored_size(self.index.height, max(round(width), 1))


def probe(path: str | bytes, limits: Limits = Limits(), square: bool = True) -> Video:  # noqa: B008, frozen
    """Return the Video at a path, which may be the bytes of a file instead.

    Raises:
      BrokenVideoError: Nothing decodes, it asks for more than `limits`, or the file is cut off.
    """
    path = path if isinstance(path, bytes) else str(path)
    video = Video(path, read_index(path, limits), limits, square)
    limits.check_size(video.width, video.height)
    return video


def read(
    video: Video, indices: Sequence[int] | np.ndarray, height: int | None = None, width: int | None = None
) -> np.ndarray:
    """Read the frames with these numbers, uint8 (len(indices), height, width, 3), RGB as shown, resized one by one.

    Args:
      video: What `probe` returned.
      indices: May repeat and come in any order.
      height: Of the frames; None: the video's.
      width: Of the frames; None: the video's.

    Raises:
      BrokenVideoError: One of them does not decode, or that takes more than limits.read_pixels.
    """
    height = height or video.height
    width = width or video.width
    # Each frame is decoded once and in the order of the file, however often and in whatever order it is wanted.
    numbers, positions = np.unique(np.asarray(indices), return_inverse=True)
    if not len(numbers):
        return np.zeros((0, height, width, 3), np.uint8)

    # Pictures are resized as they are stored: to turn them afterwards costs nothing.
    orientation = video.index.orientation
    stored_size = orientation.stored_size(height, width)
    pictures = _decode_pictures(video, numbers, False, video.limits.read_pixels)
    frames = np.stack([resize(picture, *stored_size) for _, picture in pictures])
    return orientation.apply(frames[positions])


def stream(
    video: Video, first: int = 0, stop: int | None = None, deinterlace: bool = False
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number, frame) for first <= number < stop, with a few frames in memory at a time.

    A frame is uint8 (height, width, 3), RGB as shown.

    Args:
      video: What `probe` returned.
      first: Number of the first frame.
      stop: Number after that of the last frame; None: how many the video has.
      deinterlace: Whether interlaced frames become frames of one moment; any other is left as it is.

    Raises:
      BrokenVideoError: A frame does not decode.
    """
    orientation = video.index.orientation
    # The size of the first frame; a later one may have another.
    stored_size = orientation.stored_size(video.height, video.width)
    numbers = range(first, video.frames if stop is None else stop)
    for number, picture in _decode_pictures(video, numbers, deinterlace):
        yield number, np.ascontiguousarray(orientation.apply(resize(picture, *stored_size)))


def _decode_pictures(
    video: Video, numbers: Sequence[int] | np.ndarray, deinterlace: bool, max_pixels: int | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number, uint8 (H, W, 3) RGB as it is stored) of frames with rising numbers.

    max_pixels: How many may be decoded for them; None: any number.
    """
    if video.index.container in animation.CONTAINERS:
        yield from _read_animation(video, numbers, max_pixels)
        return

    frames: Iterable[tuple[int, VideoFrame]]
    if deinterlace and video.index.interlaced and len(numbers) > 0:
        # The filter also looks at the frame before, and at the one after.
        with_neighbours = range(max(numbers[0] - 1, 0), min(numbers[-1] + 2, video.frames))
        frames = deinterlace_frames(decode_at(video, with_neighbours, max_pixels))
    else:
        frames = decode_at(video, numbers, max_pixels)
    for number, frame in frames:
        if numbers[0] <= number <= numbers[-1]:
            yield number, to_rgb(frame, video.index.crop)


def _read_animation(
    video: Video, numbers: Sequence[int] | np.ndarray, max_pixels: int | None
) -> Iterator[tuple[int, np.ndarray]]:
    remaining = iter(numbers)
    wanted = next(remaining, None)
    if wanted is None:
        return

    pixels = 0
    for number, (picture, _) in enumerate(animation.read_frames(video.path, video.limits)):
        # Frames before the wanted one count as well: an animation is decoded from its start.
        pixels += picture.shape[0] * picture.shape[1]
        if max_pixels is not None and pixels > max_pixels:
            raise BrokenVideoError(f'reading it decodes more than {video.limits.read_pixels} pixels')

        # No frame behind the last one wanted is decoded.
        if number == wanted:
            yield number, picture
            wanted = next(remaining, None)
            if wanted is None:
                return
    raise no_picture(float(video.times[wanted]))
