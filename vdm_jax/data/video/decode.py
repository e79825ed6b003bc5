"""Video files -> frames: what a file holds (`probe`), and exactly the frames asked for (`read`, `stream`).

A frame is what the decoder gives, in the order and at the time a player shows it, upright, its pixels square. Whatever
is wrong with a file comes out as BrokenVideoError; what it may ask for has `Limits`.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from vdm_jax.data.video import animation
from vdm_jax.data.video.broken import BrokenVideoError, no_picture
from vdm_jax.data.video.deinterlace import deinterlace_frames
from vdm_jax.data.video.index import Index
from vdm_jax.data.video.limits import Limits
from vdm_jax.data.video.picture import rgb
from vdm_jax.data.video.probe import index_of
from vdm_jax.data.video.reading import decode_numbers
from vdm_jax.data.video.transforms import resize


@dataclasses.dataclass(frozen=True, eq=False)
class Video:
    """A file and its index, opened whenever frames are read.

    Attributes:
      path: of the file, or the bytes in it.
      index: what it holds.
      limits: those it was probed with, which hold for reading it too.
      square: whether pixels that are not square are made so: then the width is that of square ones.
    """

    path: str | bytes
    index: Index
    limits: Limits = Limits()
    square: bool = True

    @property
    def codec(self) -> str:
        return self.index.codec

    @property
    def fps(self) -> float:
        """Frames a second, the mean where the rate varies."""
        return self.index.fps

    @property
    def frames(self) -> int:
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
    def _shape(self):
        width = self.index.width * (self.index.pixel_aspect if self.square else 1)
        return self.index.orientation.stored_size(self.index.height, max(round(width), 1))


def probe(path: str | bytes, limits: Limits = Limits(), square: bool = True) -> Video:  # noqa: B008, frozen
    """The Video at path, which may be the bytes of a file instead.

    Raises BrokenVideoError if nothing decodes, if it asks for more than `limits`, or if the file is cut off.
    """
    path = path if isinstance(path, bytes) else str(path)
    video = Video(path, index_of(path, limits), limits, square)
    limits.check_size(video.width, video.height)
    return video


def read(video: Video, indices: Iterable[int], height: int | None = None, width: int | None = None) -> np.ndarray:
    """The frames with these numbers, uint8 (len(indices), height, width, 3), RGB as shown, resized one by one.

    indices may repeat and come in any order. Raises BrokenVideoError if one of them does not decode, or if that takes
    more than limits.read_pixels.
    """
    orientation = video.index.orientation
    size = orientation.stored_size(height or video.height, width or video.width)
    wanted, places = np.unique(indices, return_inverse=True)
    if not len(wanted):
        return np.zeros((0, height or video.height, width or video.width, 3), np.uint8)
    pictures = _pictures(video, wanted, False, video.limits.read_pixels)
    return orientation.apply(np.stack([resize(picture, *size) for _, picture in pictures])[places])


def stream(
    video: Video, first: int = 0, stop: int | None = None, deinterlace: bool = False
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (number, frame uint8 (height, width, 3) RGB as shown) for first <= number < stop, a few frames held at a
    time.

    deinterlace: interlaced frames are made whole; any other is left as it is. Raises BrokenVideoError where a frame
    does not decode.
    """
    orientation = video.index.orientation
    size = orientation.stored_size(video.height, video.width)  # the first frame's; a later one may have another size
    numbers = range(first, video.frames if stop is None else stop)
    for number, picture in _pictures(video, numbers, deinterlace):
        yield number, np.ascontiguousarray(orientation.apply(resize(picture, *size)))


def _pictures(video, numbers, deinterlace, most=None):
    """Yields (number, uint8 (H, W, 3) RGB as it is stored) of frames with rising numbers; `most` pixels are decoded."""
    if isinstance(video.path, str | bytes) and video.index.container in animation.CONTAINERS:
        yield from _read_animation(video, numbers, most)
        return
    filters = deinterlace and video.index.interlaced and len(numbers) > 0
    # The filter also looks at the frame before, and at the one after.
    wanted = range(max(numbers[0] - 1, 0), min(numbers[-1] + 2, video.frames)) if filters else numbers
    frames = decode_numbers(video, wanted, most)
    for number, frame in deinterlace_frames(frames) if filters else frames:
        if numbers[0] <= number <= numbers[-1]:
            yield number, rgb(frame, video.index.crop)


def _read_animation(video, numbers, most):
    left = iter(numbers)
    due = next(left, None)
    if due is None:
        return
    for number, (picture, _) in enumerate(animation.frames(video.path, video.limits)):
        if most is not None and (most := most - picture.shape[0] * picture.shape[1]) < 0:
            raise BrokenVideoError(f'reading it decodes more than {video.limits.read_pixels} pixels')
        if number == due:
            yield number, picture
            due = next(left, None)
            if due is None:
                return
    raise no_picture(float(video.times[due]))
