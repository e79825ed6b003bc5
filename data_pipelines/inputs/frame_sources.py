"""What the frames of an Item are: a video file, or `Item.stills`, frames that are in none.

Stills are pictures in a folder, a video in an array, an example of a set that TFDS prepared; a set may bring its own.
They are a frozen dataclass of plain values, so that it travels to workers, with `path` (where it lies), `fps`, a length
and `frames(first)`, which yields them from that number on. `probe` and `stream` are those of
vdm_jax/data/video/decode.py for files and stills alike. Whatever is wrong comes out as BrokenVideoError.
"""

import dataclasses
import functools
import os
from collections.abc import Iterator

import numpy as np

from vdm_jax.data.transforms import over_white
from vdm_jax.data.video import decode
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.index import Index
from vdm_jax.errors import UserError

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')
FORMATS = ('JPEG', 'PNG', 'BMP', 'WEBP')  # no other decoder of Pillow's sees a file, whatever its name
CHUNK = 2**20  # bytes


@dataclasses.dataclass(frozen=True)
class Images:
    """The pictures `names` of a folder, in this order."""

    path: str
    names: tuple[str, ...]
    fps: float

    def __len__(self):
        return len(self.names)

    def frames(self, first=0, limits=decode.Limits()):  # noqa: B008, frozen
        for name in self.names[first:]:
            yield picture(os.path.join(self.path, name), limits)


@dataclasses.dataclass(frozen=True)
class Column:
    """Video `number` of an array on disk (.npy), uint8 (frames, videos, height, width)."""

    path: str
    number: int
    fps: float

    def __len__(self):
        return len(npy(self.path))

    def frames(self, first=0):
        yield from npy(self.path)[first:, self.number]


@dataclasses.dataclass(frozen=True)
class Example:
    """Feature `feature` of example `number` of a split that TFDS prepared, read without TensorFlow."""

    path: str
    split: str
    number: int
    feature: str
    fps: float

    def __len__(self):
        return len(self._images)

    def frames(self, first=0):
        yield from self._images[first:]

    @property
    def _images(self):
        try:
            return prepared(self.path, self.split)[self.number][self.feature]
        except (RuntimeError, ValueError, KeyError, IndexError, OSError) as error:
            raise BrokenVideoError(f'{self.feature} of example {self.number}: {error}') from None


def probe(item, limits=decode.Limits(), square=True) -> decode.Video:  # noqa: B008, frozen
    """What is known of an Item's frames; of stills only the first is read, and they are the Video's `path`.

    square: whether pixels of a video file that are not square are made so.
    """
    if item.stills is None:
        return decode.probe(item.path, limits, square)
    count, fps = len(item.stills), item.stills.fps
    if not 0 < count <= limits.frames:
        raise BrokenVideoError(f'more than {limits.frames} frames' if count else 'it has no frame')
    if count / fps > limits.seconds:
        raise BrokenVideoError(f'{count / fps:.0f} seconds are more than {limits.seconds:g}')
    height, width = next(_rgb(item.stills, 0, limits)).shape[:2]
    index = Index('stills', 'stills', height, width, fps, 1 / fps, np.arange(count), count)
    return decode.Video(item.stills, index, limits)


def stream(video, first=0, stop=None, deinterlace=False) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (number, frame uint8 (height, width, 3)) for first <= number < stop, as `decode.stream` does."""
    if isinstance(video.path, str | bytes):
        yield from decode.stream(video, first, stop, deinterlace)
        return
    numbers = range(first, video.frames if stop is None else stop)
    for number, frame in zip(numbers, _rgb(video.path, first, video.limits), strict=False):
        if frame.shape[:2] != (video.height, video.width):
            raise BrokenVideoError(
                f'frame {number} is {frame.shape[1]}x{frame.shape[0]}, the first {video.width}x{video.height}'
            )
        yield number, frame


def content(item) -> Iterator[bytes]:
    """The bytes that an Item is: of its file, of its pictures' files one after the other, or of its frames."""
    if item.stills is not None and not isinstance(item.stills, Images):
        for frame in item.stills.frames():
            yield np.ascontiguousarray(frame).tobytes()
        return
    paths = [item.path]
    if item.stills is not None:
        paths = [os.path.join(item.stills.path, name) for name in item.stills.names]
    for path in paths:
        _check_is_file(path)
        with open(path, 'rb') as file:
            while part := file.read(CHUNK):
                yield part


def identity(stills) -> dict:
    """Plain values that are others for other pictures, wherever they lie: files by name and size."""
    about = dataclasses.asdict(stills) | {'path': None}
    if isinstance(stills, Images):
        about['sizes'] = [_size(os.path.join(stills.path, name)) for name in stills.names]
    return about


def picture(path, limits=decode.Limits()) -> np.ndarray:  # noqa: B008, frozen
    """One picture as uint8 (H, W, 3), upright, transparency over white."""
    from PIL import Image, ImageOps

    name = os.path.basename(path)
    try:
        _check_is_file(path)
        with Image.open(path, formats=FORMATS) as image:
            limits.check_size(image.width, image.height)
            if image.mode[0] in 'IF':
                raise BrokenVideoError('more than 8 bits a channel')
            image = ImageOps.exif_transpose(image)
            if image.has_transparency_data:
                return over_white(np.asarray(image.convert('RGBA')))
            return np.asarray(image.convert('RGB'))
    except (BrokenVideoError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
        raise BrokenVideoError(f'{name}: {reason}') from None


def npy(path) -> np.ndarray:
    """The array at path, (frames, videos, height, width) uint8, mapped and not read; with Python objects it is none."""
    try:
        array = np.load(path, mmap_mode='r', allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BrokenVideoError(str(error)) from None
    if not isinstance(array, np.ndarray) or array.dtype != np.uint8 or array.ndim != 4:
        found = f'{array.dtype} {array.shape}' if isinstance(array, np.ndarray) else 'several arrays'
        raise BrokenVideoError(f'{found}, want uint8 (frames, videos, height, width)')
    return array


@functools.lru_cache(maxsize=4)
def prepared(path, split):
    """The examples of a split that TFDS prepared, a sequence of dicts; opened once a process.

    Raises: UserError for a folder that holds none, a split that is not there or no ArrayRecord.
    """
    from vdm_jax.data.tfds_source import builder

    try:
        found = builder(path)
    except UserError as error:
        raise UserError(str(error).replace('config.data.path=', '--source=')) from None
    if split not in found.info.splits:
        raise UserError(f'--split={split}: {path} has {", ".join(found.info.splits)}')
    try:
        return found.as_data_source(split)
    except NotImplementedError:
        raise UserError(
            f"--source={path} is not stored as ArrayRecord; prepare it with file_format='array_record'"
        ) from None


def _rgb(stills, first, limits):
    """The frames from number `first` on, each checked and made uint8 (H, W, 3)."""
    frames = stills.frames(first, limits) if isinstance(stills, Images) else stills.frames(first)
    for frame in frames:
        frame = np.asarray(frame)
        frame = frame[..., None] if frame.ndim == 2 else frame
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] not in (1, 3) or 0 in frame.shape:
            raise BrokenVideoError(f'a frame is {frame.dtype} {frame.shape}, want uint8 (height, width, 1 or 3)')
        limits.check_size(frame.shape[1], frame.shape[0])
        yield np.ascontiguousarray(np.broadcast_to(frame, (*frame.shape[:2], 3)))


def _check_is_file(path):
    """A pipe would be waited for."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise BrokenVideoError('no ordinary file')


def _size(path):
    try:
        return os.stat(path).st_size
    except OSError:
        return None
