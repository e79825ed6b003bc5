"""Anybody's videos as clips to be scored: a folder or a file of videos, or arrays of them.

An array is a .npy or .npz file, or one of safetensors, uint8 (N, T, H, W, C) of several videos or (T, H, W, C) of one;
an .npz or safetensors file holds one array, or one named `videos`. In a folder videos and arrays may lie together.
Unlike a folder that is trained on, nothing is passed over here: a file that does not decode is an error.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from typing import ClassVar, Literal

import numpy as np

from vdm_jax.config.frame_size import FrameSize, height_width, read_pixels
from vdm_jax.config.ranges import Frames, Stride
from vdm_jax.data.npy import DamageError
from vdm_jax.data.source import Clip, Reader, Shape, Source
from vdm_jax.data.stored_videos import ARRAYS, StoredVideo, list_videos
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.files import EXTENSIONS, describe_no_video, list_folder
from vdm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class VideoSet(Source):
    """Clips of `frames` frames, cut from videos one after the other.

    Attributes:
      path: Of a folder, a video, or a file of arrays.
      frames: Frames of a clip.
      stride: A clip takes every so many-th frame.
      cut: The first clip of each video (first), or as many as follow one another without overlap (all).
      resize: Size of a frame: a video is resized, its aspect kept, to just cover it, and the rest is cut off. None: as
        the videos are, which then must all have one size.
      option: What messages call the path.
    """

    path: str
    frames: Frames = 16
    stride: Stride = 1
    cut: Literal['first', 'all'] = 'first'
    resize: FrameSize | None = None
    option: str = '--real'

    movable_fields: ClassVar[tuple[str, ...]] = ('path', 'option')

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resize is not None:
            object.__setattr__(self, 'resize', read_pixels(self.resize))

    @property
    def shape(self) -> Shape:
        """(T, H, W, C) of a clip; only a reader knows it where `resize` is None."""
        if self.resize is None:
            raise ValueError('the size of the videos is known once they are opened')
        return self.frames, *height_width(self.resize), 3

    def open(self) -> VideoSetReader:
        """Return a reader of the videos."""
        return VideoSetReader(self)


class VideoSetReader(Reader):
    """The clips of a VideoSet.

    Raises:
      UserError: nothing is there, a file does not decode or is no array of videos, one is too short, or they are of
        several sizes; each when clips are first asked for.
    """

    source: VideoSet

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, i: int) -> Clip:
        video, start = self._clips[range(len(self))[i]]
        return self._read(video, start)

    def draw(self, i: int, rng: np.random.Generator) -> Clip:
        """Return clip i from a random frame of its video."""
        video, _ = self._clips[range(len(self))[i]]
        return self._read(video, int(rng.integers(video.frames - self._span + 1)))

    def _read(self, video: StoredVideo, start: int) -> Clip:
        numbers = start + self.source.stride * np.arange(self.source.frames)
        try:
            return {'video': video.read(numbers, self._size), 'label': np.int32(0)}
        except (BrokenVideoError, DamageError) as error:
            raise UserError(f'{self._label}: {video.name}: {error}') from None

    @property
    def shape(self) -> Shape:
        """(T, H, W, C) of its clips."""
        return self.source.frames, *self._size, 3

    def identity(self) -> str:
        """Return how many clips there are, and of which files, as these are now, in which order."""
        names = '\n'.join(f'{video.name} {video.stamp} {start}' for video, start in self._clips)
        return f'{len(self)} {hashlib.sha256(names.encode()).hexdigest()[:16]}'

    @property
    def title(self) -> str:
        """What results on its clips are called."""
        return 'videos'

    @property
    def _label(self) -> str:
        return f'{self.source.option}={self.source.path}'

    @property
    def _span(self) -> int:
        """From the first frame of a clip to after its last, in frames of a video."""
        return self.source.stride * (self.source.frames - 1) + 1

    @functools.cached_property
    def _videos(self) -> list[StoredVideo]:
        try:
            videos = list_videos(self.source.path)
        except (BrokenVideoError, DamageError) as error:
            raise UserError(f'{self._label}: {error}') from None
        if not videos:
            raise UserError(f'{self._label}: {self._describe_absence()}')
        return videos

    def _describe_absence(self) -> str:
        endings = (*EXTENSIONS, *ARRAYS)
        if os.path.isdir(self.source.path):
            return describe_no_video(list_folder(self.source.path), endings)
        there = 'holds no video' if os.path.exists(self.source.path) else 'is not there; want videos'
        return f'{there} ({", ".join(ending[1:] for ending in endings)})'

    @functools.cached_property
    def _size(self) -> tuple[int, int]:
        """Height and width of a frame."""
        if self.source.resize is not None:
            return height_width(self.source.resize)
        sizes = {(video.height, video.width): video.name for video in self._videos}
        if len(sizes) > 1:
            (first, one), (second, other) = list(sizes.items())[:2]
            raise UserError(
                f'{self._label}: {len(sizes)} sizes of frames, such as {first[0]}x{first[1]} of {one} and '
                f'{second[0]}x{second[1]} of {other}; want one, or --size=HEIGHTxWIDTH to bring them to'
            )
        return next(iter(sizes))

    @functools.cached_property
    def _clips(self) -> list[tuple[StoredVideo, int]]:
        """The video of each clip, and the frame at which it begins."""
        clips = []
        for video in self._videos:
            if video.frames < self._span:
                raise UserError(
                    f'{self._label}: {video.name} has {video.frames} frames; want {self._span} or more, for clips of '
                    f'{self.source.frames} frames'
                    + (f' at stride {self.source.stride}' if self.source.stride > 1 else '')
                )
            count = video.frames // self._span if self.source.cut == 'all' else 1
            clips += [(video, number * self._span) for number in range(count)]
        return clips
