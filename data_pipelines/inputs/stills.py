"""Frames that lie in no video file: pictures in a folder, a video in an array, an example of a TFDS set.

Whatever is wrong with them is raised as BrokenVideoError.
"""

import abc
import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.limits import Limits
from vdm_jax.data.video.transforms import over_white
from vdm_jax.errors import UserError

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp')
FORMATS = ('JPEG', 'PNG', 'BMP', 'WEBP')  # no other decoder of Pillow's sees a file, whatever its name
NO_LIMITS = Limits()


class Stills(abc.ABC):
    """Base class. Subclasses are frozen dataclasses of plain values, so that they travel to workers.

    Attributes:
      path: Where the frames lie: a file or a folder.
      fps: Frames a second.
    """

    path: str
    fps: float

    @abc.abstractmethod
    def __len__(self) -> int:
        """Return the number of frames."""

    @abc.abstractmethod
    def frames(self, first: int = 0, limits: Limits = NO_LIMITS) -> Iterator[np.ndarray]:
        """Yield the frames from number `first` on, uint8 (H, W) or (H, W, 1 or 3)."""

    @property
    def files(self) -> list[str]:
        """Return the paths of the files that hold a frame each; none where frames are stored otherwise."""
        return []


@dataclasses.dataclass(frozen=True)
class ImageFolder(Stills):
    """The pictures `names` of the folder `path`, in this order."""

    path: str
    names: tuple[str, ...]
    fps: float

    def __len__(self) -> int:
        return len(self.names)

    def frames(self, first: int = 0, limits: Limits = NO_LIMITS) -> Iterator[np.ndarray]:
        for file in self.files[first:]:
            yield read_image(file, limits)

    @property
    def files(self) -> list[str]:
        return [os.path.join(self.path, name) for name in self.names]


@dataclasses.dataclass(frozen=True)
class NpyColumn(Stills):
    """Video `number` of an array on disk (.npy), uint8 (frames, videos, height, width)."""

    path: str
    number: int
    fps: float

    def __len__(self) -> int:
        return len(open_npy(self.path))

    def frames(self, first: int = 0, limits: Limits = NO_LIMITS) -> Iterator[np.ndarray]:
        yield from open_npy(self.path)[first:, self.number]


@dataclasses.dataclass(frozen=True)
class TfdsExample(Stills):
    """Feature `feature` of example `number` of a split that TFDS prepared, read without TensorFlow."""

    path: str
    split: str
    number: int
    feature: str
    fps: float

    def __len__(self) -> int:
        return len(self._images)

    def frames(self, first: int = 0, limits: Limits = NO_LIMITS) -> Iterator[np.ndarray]:
        yield from self._images[first:]

    @property
    def _images(self) -> Sequence[np.ndarray]:
        try:
            images: Sequence[np.ndarray] = open_tfds_split(self.path, self.split)[self.number][self.feature]
        except (RuntimeError, ValueError, KeyError, IndexError, OSError) as error:
            raise BrokenVideoError(f'{self.feature} of example {self.number}: {error}') from None
        return images


def read_image(path: str, limits: Limits = NO_LIMITS) -> np.ndarray:
    """Read one picture as uint8 (H, W, 3), upright, transparency over white."""
    from PIL import Image, ImageOps

    name = os.path.basename(path)
    try:
        check_is_file(path)
        with Image.open(path, formats=FORMATS) as file:
            # Before it is decoded: a small file may claim a huge picture.
            limits.check_size(file.width, file.height)
            # Pillow would cut such values off at 255.
            if file.mode[0] in 'IF':
                raise BrokenVideoError('more than 8 bits a channel')
            image = ImageOps.exif_transpose(file)
            if image.has_transparency_data:
                return np.asarray(over_white(np.asarray(image.convert('RGBA'))))
            return np.asarray(image.convert('RGB'))
    except (BrokenVideoError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # The text of an OSError repeats the path.
        reason = error.strerror if isinstance(error, OSError) else None
        raise BrokenVideoError(f'{name}: {reason or str(error) or type(error).__name__}') from None


def open_npy(path: str) -> np.ndarray:
    """Map the array (frames, videos, height, width) uint8 at path, without reading it; none with Python objects."""
    try:
        # Mapped, as a worker reads one video of thousands.
        array = np.load(path, mmap_mode='r', allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BrokenVideoError(str(error)) from None
    if not isinstance(array, np.ndarray):
        raise BrokenVideoError('several arrays, want uint8 (frames, videos, height, width)')
    if array.dtype != np.uint8 or array.ndim != 4:
        raise BrokenVideoError(f'{array.dtype} {array.shape}, want uint8 (frames, videos, height, width)')
    return array


# Every example of a split asks for it, and opening it reads all of the set's metadata.
@functools.lru_cache(maxsize=4)
def open_tfds_split(path: str, split: str) -> Sequence[Mapping[str, Any]]:
    """Open the examples of a split that TFDS prepared, once a process.

    Raises:
      UserError: the folder holds no prepared set, has no such split, or is no ArrayRecord.
    """
    from vdm_jax.data.tfds import open_builder

    try:
        prepared_set = open_builder(path)
    except UserError as error:
        raise UserError(str(error).replace('config.data.path=', '--source=')) from None
    if split not in prepared_set.info.splits:
        raise UserError(f'--split={split}: {path} has {", ".join(prepared_set.info.splits)}')
    try:
        examples: Sequence[Mapping[str, Any]] = prepared_set.as_data_source(split)
    except NotImplementedError:
        raise UserError(
            f"--source={path} is not stored as ArrayRecord; prepare it with file_format='array_record'"
        ) from None
    return examples


def identify(stills: Stills) -> dict[str, Any]:
    """Return plain values that differ for other pictures, wherever they lie: of files their names and sizes."""
    identity: dict[str, Any] = vars(stills) | {'path': None}
    if stills.files:
        identity['sizes'] = [_file_size(path) for path in stills.files]
    return identity


def check_is_file(path: str) -> None:
    """Raise BrokenVideoError for what is there and no file: opening a pipe would wait for its writer."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise BrokenVideoError('no ordinary file')


def _file_size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None
