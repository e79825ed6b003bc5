"""Frames of an Item, whether they lie in a video file or are stills.

`probe` and `stream` are those of vdm_jax/data/video/decode.py for both. Whatever is wrong is raised as
BrokenVideoError.
"""

import dataclasses
import hashlib
from collections.abc import Generator, Iterator

import numpy as np

from data_pipelines.inputs.item import Item
from data_pipelines.inputs.stills import NO_LIMITS, Stills, check_is_file
from vdm_jax.data.video import decode
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.index import Index
from vdm_jax.data.video.limits import Limits

CHUNK_BYTES = 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class StillsVideo(decode.Video):
    """A Video of stills.

    Attributes:
      stills: Where its frames are read.
    """

    stills: Stills = dataclasses.field(kw_only=True)


def probe(item: Item, limits: Limits = NO_LIMITS, square: bool = True) -> decode.Video:
    """Return what is known of an Item's frames; of stills only the first is read.

    Args:
      item: The input.
      limits: What it may ask for.
      square: Whether pixels of a video file that are not square are made so.
    """
    if item.stills is None:
        return decode.probe(item.path, limits, square)

    count = len(item.stills)
    fps = item.stills.fps
    if not count:
        raise BrokenVideoError('it has no frame')
    if count > limits.frames:
        raise BrokenVideoError(f'more than {limits.frames} frames')
    if count / fps > limits.seconds:
        raise BrokenVideoError(f'{count / fps:.0f} seconds are more than {limits.seconds:g}')

    # All frames have to be as large as the first; `stream` checks that.
    height, width = next(_rgb_frames(item.stills, 0, limits)).shape[:2]
    # As of a file with one packet a frame at a fixed rate.
    index = Index('stills', 'stills', height, width, fps, 1 / fps, np.arange(count), count)
    return StillsVideo(item.stills.path, index, limits, stills=item.stills)


def stream(
    video: decode.Video, first: int = 0, stop: int | None = None, deinterlace: bool = False
) -> Generator[tuple[int, np.ndarray], None, None]:
    """Yield (number, frame uint8 (height, width, 3)) for first <= number < stop, as `decode.stream` does."""
    if not isinstance(video, StillsVideo):
        yield from decode.stream(video, first, stop, deinterlace)
        return

    numbers = range(first, video.frames if stop is None else stop)
    frames = _rgb_frames(video.stills, first, video.limits)
    # Where `stop` is given the numbers end before the frames.
    for number, frame in zip(numbers, frames, strict=False):
        if frame.shape[:2] != (video.height, video.width):
            raise BrokenVideoError(
                f'frame {number} is {frame.shape[1]}x{frame.shape[0]}, the first {video.width}x{video.height}'
            )
        yield number, frame


def stream_bytes(item: Item) -> Iterator[bytes]:
    """Yield the bytes that an Item consists of: of its file, of its pictures' files in order, or of its frames."""
    if item.stills is not None and not item.stills.files:
        for frame in item.stills.frames():
            yield np.ascontiguousarray(frame).tobytes()
        return

    for path in [item.path] if item.stills is None else item.stills.files:
        check_is_file(path)
        with open(path, 'rb') as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk


def hash_bytes(item: Item) -> tuple[int, str]:
    """Return how many bytes an Item consists of, and their sha256."""
    size = 0
    sha256 = hashlib.sha256()
    for chunk in stream_bytes(item):
        size += len(chunk)
        sha256.update(chunk)
    return size, sha256.hexdigest()


def _rgb_frames(stills: Stills, first: int, limits: Limits) -> Iterator[np.ndarray]:
    """Yield the frames from number `first` on, each checked and converted to uint8 (H, W, 3)."""
    for stored in stills.frames(first, limits):
        frame = np.asarray(stored)
        if frame.ndim == 2:
            frame = frame[..., None]
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] not in (1, 3) or 0 in frame.shape:
            raise BrokenVideoError(f'a frame is {frame.dtype} {frame.shape}, want uint8 (height, width, 1 or 3)')
        height, width = frame.shape[:2]
        limits.check_size(width, height)
        yield np.ascontiguousarray(np.broadcast_to(frame, (height, width, 3)))
