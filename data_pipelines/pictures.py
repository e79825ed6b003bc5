"""Videos that are no video files: pictures in a folder, a row of an array, an example of a set that TFDS prepared.

Each says how many frames it has (`len`), how many a second (`fps`), where it lies (`path`) and yields them one by one
(`frames(first)`); `probe` and `stream` then do for it what those of vdm_jax/data/decode.py do for a file. All are plain
frozen dataclasses of names and numbers, so that they travel to workers; all raise BrokenVideoError for what they read.
"""

import dataclasses
import functools
import os

import numpy as np

from vdm_jax.data import decode
from vdm_jax.data.decode import BrokenVideoError
from vdm_jax.data.transforms import over_white
from vdm_jax.errors import UserError

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')
FORMATS = ('JPEG', 'PNG', 'BMP', 'WEBP')  # no other decoder of Pillow's sees a file, whatever its name


@dataclasses.dataclass(frozen=True)
class Images:
    """The pictures `names` of a folder, in this order."""

    path: str
    names: tuple[str, ...]
    fps: float

    def __len__(self):
        return len(self.names)

    def frames(self, first=0):
        for name in self.names[first:]:
            yield picture(os.path.join(self.path, name))


@dataclasses.dataclass(frozen=True)
class Column:
    """Video `number` of an array on disk (.npy), uint8 (frames, videos, height, width)."""

    path: str
    number: int
    fps: float

    def __len__(self):
        return len(self._array)

    def frames(self, first=0):
        yield from self._array[first:, self.number]

    @property
    def _array(self):
        return npy(self.path)


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
        yield from map(np.asarray, self._images[first:])

    @property
    def _images(self):
        try:
            value = prepared(self.path, self.split)[self.number][self.feature]
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            raise BrokenVideoError(f'{self.feature} of example {self.number}: {error}') from None
        value = value if isinstance(value, list) else np.asarray(value)
        return value if isinstance(value, list) or value.ndim == 4 else value[None]


def probe(pictures) -> decode.Video:
    """What is known of them without reading more than the first."""
    count = len(pictures)
    if not 0 < count <= decode.MAX_FRAMES:
        raise BrokenVideoError(f'{count} frames, want 1 to {decode.MAX_FRAMES}')
    height, width, _ = _rgb(next(iter(pictures.frames()))).shape
    times = np.arange(count) / pictures.fps
    return decode.Video(pictures.path, 'pictures', width, height, 0, pictures.fps, times, None, None)


def stream(pictures, video, first=0, stop=None):
    """Yields (number, frame uint8 (height, width, 3)) for first <= number < stop, one frame held at a time."""
    stop = video.frames if stop is None else stop
    for number, frame in zip(range(first, stop), pictures.frames(first), strict=False):
        frame = _rgb(frame)
        if frame.shape[:2] != (video.height, video.width):
            raise BrokenVideoError(
                f'frame {number} is {frame.shape[1]}x{frame.shape[0]}, the first {video.width}x{video.height}'
            )
        yield number, frame


def picture(path) -> np.ndarray:
    """One picture as uint8 (H, W, 3), upright, transparency over white."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > decode.MAX_FRAME_PIXELS:
                raise BrokenVideoError(
                    f'{os.path.basename(path)}: {image.width}x{image.height} is larger than '
                    f'{decode.MAX_FRAME_PIXELS} pixels'
                )
            if image.mode[0] in 'IF':
                raise BrokenVideoError(f'{os.path.basename(path)} has more than 8 bits a channel')
            image = ImageOps.exif_transpose(image)
            if image.has_transparency_data:
                return over_white(np.asarray(image.convert('RGBA')))
            return np.asarray(image.convert('RGB'))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BrokenVideoError(f'{os.path.basename(path)}: {str(error) or type(error).__name__}') from None


def npy(path) -> np.ndarray:
    """The array at path, (frames, videos, height, width) uint8, mapped and not read.

    Raises: BrokenVideoError for what is no such array (nor are Python objects in one).
    """
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


def _rgb(frame):
    frame = np.asarray(frame)
    frame = frame[..., None] if frame.ndim == 2 else frame
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] not in (1, 3) or 0 in frame.shape:
        raise BrokenVideoError(f'a frame is {frame.dtype} {frame.shape}, want uint8 (height, width, 1 or 3)')
    return np.ascontiguousarray(np.broadcast_to(frame, (*frame.shape[:2], 3)))
