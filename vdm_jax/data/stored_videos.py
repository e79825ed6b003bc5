"""Videos on disk, each a file or a row of an array: how many frames there are, and any of them."""

from __future__ import annotations

import abc
import functools
import os
from typing import Any

import numpy as np

from vdm_jax.data.npy import DamageError, RowFile
from vdm_jax.data.video import decode, transforms
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.files import list_folder

ARRAYS = ('.npy', '.npz', '.safetensors')
NAME = 'videos'  # of an array among several in a file


class StoredVideo(abc.ABC):
    """A video on disk.

    Attributes:
      name: What messages call it.
      stamp: Bytes of its file, and when that was changed last.
      frames: How many there are.
      height: Of a frame.
      width: Of a frame.
    """

    name: str
    stamp: str
    frames: int
    height: int
    width: int

    @abc.abstractmethod
    def read(self, numbers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return these frames, resized to cover `size` and cut: uint8 (T, H, W, 3).

        Raises:
          BrokenVideoError: A frame does not decode.
          DamageError: An array ends too early.
        """


class VideoFile(StoredVideo):
    """A video that is decoded."""

    def __init__(self, path: str, name: str):
        self.name = name
        self.stamp = stamp_file(path)
        try:
            self._video = decode.probe(path)
        except BrokenVideoError as error:
            raise BrokenVideoError(f'{name}: {error}') from None
        self.frames = self._video.frames
        self.height = self._video.height
        self.width = self._video.width

    def read(self, numbers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Decode frames."""
        height, width = transforms.cover(self.height, self.width, *size)
        return transforms.crop(decode.read(self._video, numbers, height, width), *size, None)


class ArrayVideo(StoredVideo):
    """A video of an array."""

    def __init__(self, array: VideoArray, number: int):
        self._array = array
        self._number = number
        self.name = f'video {number} of {array.name}'
        self.stamp = array.stamp
        self.frames, self.height, self.width, _ = array.shape[1:]

    def read(self, numbers: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Read frames; grey ones become three equal channels."""
        frames = np.stack([self._array.read_frame(self._number, int(number)) for number in numbers])
        if frames.shape[-1] == 1:
            frames = np.repeat(frames, 3, axis=-1)
        if frames.shape[1:3] == size:
            return frames
        height, width = transforms.cover(self.height, self.width, *size)
        resized = np.stack([transforms.resize(frame, height, width) for frame in frames])
        return transforms.crop(resized, *size, None)


class VideoArray(abc.ABC):
    """Videos in one array on disk, uint8 (N, T, H, W, C).

    Attributes:
      name: Of the file.
      stamp: As a StoredVideo has it.
      shape: Of the array.
    """

    def __init__(self, name: str, stamp: str, dtype: Any, shape: tuple[int, ...]):
        """Check that it holds videos.

        Raises:
          DamageError: It does not.
        """
        self.name = name
        self.stamp = stamp
        # One video is a set of one.
        self.shape = (1, *shape) if len(shape) == 4 else shape
        if len(self.shape) != 5 or self.shape[-1] not in (1, 3) or 0 in self.shape or np.dtype(dtype) != np.uint8:
            raise DamageError(
                f'{name} holds {np.dtype(dtype)} {tuple(shape)}; want uint8 (N, T, H, W, C) from 0 to 255, with 3 '
                'channels or 1'
            )

    @abc.abstractmethod
    def read_frame(self, video: int, frame: int) -> np.ndarray:
        """Return a frame, uint8 (H, W, C)."""


class NpyVideos(VideoArray):
    """A .npy file, read frame by frame."""

    def __init__(self, path: str, name: str):
        try:
            self._file = RowFile(path)
        except DamageError as error:
            raise DamageError(f'{name}: {error}') from None
        super().__init__(name, stamp_file(path), self._file.dtype, self._file.shape)

    def read_frame(self, video: int, frame: int) -> np.ndarray:
        """Read a frame."""
        content = np.empty(self.shape[2:], np.uint8)
        self._file.read((video * self.shape[1] + frame) * content.nbytes, content.reshape(-1).data)
        return content


class LoadedVideos(VideoArray):
    """An array that its format can only give as a whole: that of an .npz or of safetensors."""

    def __init__(self, path: str, name: str):
        self._path = path
        stamp = stamp_file(path)
        array = load_array(path, name, stamp)
        super().__init__(name, stamp, array.dtype, array.shape)

    def read_frame(self, video: int, frame: int) -> np.ndarray:
        """Return a frame."""
        array = load_array(self._path, self.name, self.stamp)
        read: np.ndarray = array.reshape(self.shape)[video, frame]
        return read


def stamp_file(path: str) -> str:
    """Return the bytes of a file and when it was changed last, by which another one in its place is noticed."""
    about = os.stat(path)
    return f'{about.st_size} {about.st_mtime_ns}'


# Two: of a folder of thousands no more are in memory.
@functools.lru_cache(maxsize=2)
def load_array(path: str, name: str, stamp: str) -> np.ndarray:
    """Return the one array of an .npz or safetensors file, or the one called `videos`.

    Args:
      path: Of the file.
      name: What messages call it.
      stamp: Of the file.

    Raises:
      DamageError: There is no such one, or the file is damaged.
    """
    try:
        if path.lower().endswith('.npz'):
            with np.load(path, allow_pickle=False) as arrays:
                names = list(arrays)
                chosen = choose_name(names, name)
                return np.asarray(arrays[chosen])
        from safetensors import safe_open

        with safe_open(path, framework='numpy') as tensors:
            return np.asarray(tensors.get_tensor(choose_name(list(tensors.keys()), name)))
    except DamageError:
        raise
    except Exception as error:  # a damaged file has errors of every kind
        raise DamageError(f'{name}: cannot be read ({type(error).__name__})') from None


def choose_name(names: list[str], file: str) -> str:
    """Return the name of the array of videos among those in a file.

    Raises:
      DamageError: It is unclear which one that is.
    """
    if len(names) == 1:
        return names[0]
    if NAME in names:
        return NAME
    listed = ', '.join(sorted(names)[:5]) or 'none'
    raise DamageError(f'{file}: holds arrays {listed}; want one, or one named {NAME}')


def list_videos(path: str) -> list[StoredVideo]:
    """Return the videos of a folder and below, or of a file, sorted by name.

    Raises:
      BrokenVideoError: One does not decode.
      DamageError: An array is none of videos.
    """
    if not os.path.isdir(path):
        return open_file(path, os.path.basename(path)) if os.path.exists(path) else []
    folder = list_folder(path)
    for name, reason in folder.unreadable.items():
        raise DamageError(f'{name or "it"} cannot be read ({reason})')
    for name in folder.links:
        raise DamageError(f'{name} is a link to a folder; want folders and files themselves')
    names = [*folder.videos, *list_arrays(path)]
    return [video for name in sorted(names) for video in open_file(os.path.join(path, name), name)]


def holds_videos(path: str) -> bool:
    """Return whether something is a folder, or a file of videos that is not damaged."""
    try:
        return os.path.isdir(path) or bool(list_videos(path))
    except (BrokenVideoError, DamageError):
        return False


def list_arrays(path: str) -> list[str]:
    """Return the files of arrays in a folder and below, relative to it; hidden ones are passed over, as of videos."""
    names = []
    for root, folders, files in os.walk(path):
        folders[:] = [folder for folder in folders if not folder.startswith('.')]
        arrays = [file for file in files if file.lower().endswith(ARRAYS) and not file.startswith('.')]
        names += [os.path.relpath(os.path.join(root, file), path) for file in arrays]
    return names


def open_file(path: str, name: str) -> list[StoredVideo]:
    """Return the videos of one file: one, or as many as its array holds."""
    ending = os.path.splitext(path)[1].lower()
    if ending not in ARRAYS:
        return [VideoFile(path, name)]
    array = NpyVideos(path, name) if ending == '.npy' else LoadedVideos(path, name)
    return [ArrayVideo(array, number) for number in range(array.shape[0])]
