"""Any folder of real videos as a source of clips."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import os
import zlib
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np

from vdm_jax.config.frame_size import FrameSize, height_width
from vdm_jax.config.ranges import Ahead, Fps, Frames, Mebibytes, Share, Stride, Threads
from vdm_jax.data.counters import Tally
from vdm_jax.data.source import Clip, Reader, Size
from vdm_jax.data.video import decode
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.extract_clip import (
    CropMode,
    PixelAspect,
    ReadPlan,
    Short,
    clip_indices,
    clip_length,
    extract_clip,
    place_clip,
    plan_clip,
)
from vdm_jax.data.video.files import Folder, describe_counts, describe_no_video, list_folder
from vdm_jax.data.video.frame_cache import FrameCache
from vdm_jax.data.video.limits import Limits
from vdm_jax.data.video_source import VideoSource
from vdm_jax.errors import UserError


def look_for_videos(path: str, follow_links: bool = False) -> Folder:
    """Return what lies in a folder that is to hold videos.

    Raises:
      UserError: it is missing or holds none.
    """
    if not path:
        raise UserError('config.data.path is empty; set it to a folder of videos')
    if not os.path.isdir(path):
        problem = 'a file, not a folder' if os.path.exists(path) else 'not there'
        raise UserError(f'config.data.path={path} is {problem}; set it to a folder of videos')
    folder = list_folder(path, follow_links)
    if not folder.videos:
        raise UserError(f'config.data.path={path} {describe_no_video(folder)}')
    return folder


@dataclasses.dataclass(frozen=True)
class VideoFolder(VideoSource):
    """Clips from the videos in a folder and below, upright as players show them.

    A video that does not decode keeps its id, and the next one (in the sorted order, round the end) is read instead, so
    that the order does not depend on what one host could read. Broken and short videos are counted and named.

    Attributes:
      path: Of the folder.
      start: Where a training clip begins: at a random frame, or always at the first, as memorising needs it.
      pixel_aspect: Whether pixels that are not square are made so (square), or taken as they are stored, as the loaders
        behind published numbers do.
      label: 0 for all (none), the number of the file in the sorted folder (index), or of its first subfolder (folder).
      split: All files, or `held_out` of them by a hash of their name (test), or the others (train).
      held_out: Share of the videos that are held out.
      max_broken: Share of the videos that may be broken before the run stops.
      limits: What a video may ask for; one that asks for more is broken.
      cache_mb: If all videos, resized, fit in so many MiB, each is kept in memory, whole, once it is needed again;
        nothing but the speed depends on it.
      threads: Of the loader, which decode clips.
      prefetch: Clips that the loader draws ahead.
    """

    movable_fields: ClassVar[tuple[str, ...]] = (
        'path',
        'max_broken',
        'limits',
        'cache_mb',
        *VideoSource.movable_fields,
    )

    path: str = ''
    frames: Frames = 16
    pixels: FrameSize = 64
    stride: Stride = 1
    fps: Fps | None = None
    short: Short = 'hold'
    start: Literal['random', 'first'] = 'random'  # no center
    crop: CropMode = 'center'
    flip: bool = False
    pixel_aspect: PixelAspect = 'square'
    label: Literal['none', 'index', 'folder'] = 'none'
    split: Literal['all', 'train', 'test'] = 'all'
    held_out: Share = 0.1
    max_broken: Share = 0.1
    limits: Limits = Limits()
    cache_mb: Mebibytes = 512
    threads: Threads = 4
    prefetch: Ahead = 16

    def open(self) -> 'VideoFolderReader':
        """Return a reader of the folder."""
        return VideoFolderReader(self)


class VideoFolderReader(Reader):
    """The clips of a VideoFolder: what lies there, what is broken or short, frames kept in memory."""

    source: VideoFolder

    def __init__(self, source: VideoFolder):
        super().__init__(source)
        self._tally = Tally()
        self._short: dict[str, str] = {}
        self._options = source.clip_options

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> Clip:
        """Return the clip of evaluations: from the first frame, the centre, not mirrored."""
        return self._clip(range(len(self))[i], None, None)

    def draw(self, i: int, rng: np.random.Generator) -> Clip:
        """Draw the clip of training: from a random frame, with a random crop, mirrored, each as the config says."""
        return self._clip(i, rng.random(4), None)

    def extract(self, i: int, size: Size, rng: np.random.Generator | None = None) -> Clip:
        """Return either of them, cut to another size (T, H, W)."""
        return self._clip(range(len(self))[i], None if rng is None else rng.random(4), size)

    def extents(self) -> np.ndarray:
        """Return what each video has of frames (at stride and fps), height and width: int64 (N, 3), 0 if broken."""
        rows = np.zeros((len(self.index), 3), np.int64)
        for row, (_, video) in zip(rows, self.index, strict=True):
            if video is not None:
                length = clip_length(video, self.source.stride, self.source.fps)
                row[:] = length, video.height, video.width
        return rows

    @property
    def num_classes(self) -> int:
        """Number of classes; labels are in [0, num_classes). 0 for label='none'."""
        return max(self._labels.values()) + 1 if self.source.label != 'none' else 0

    @property
    def scalars(self) -> tuple[str, ...]:
        """Frames a second."""
        return ('fps',)

    @functools.cached_property
    def index(self) -> list[tuple[str, decode.Video | None]]:
        """The clips' videos: (name, Video, or None where the file is broken) of each; read once, in threads."""
        source = self.source
        names = [name for name in self._labels if source.split == 'all' or source.split == self._split_of(name)]
        if not names:
            raise UserError(f'config.data.split={source.split} leaves no video of {len(self._labels)} in {source.path}')
        # Threads are enough, as reading waits for the disk and PyAV lets go of the GIL; `map` keeps the order of the
        # names.
        with concurrent.futures.ThreadPoolExecutor(max(source.threads, 1)) as pool:
            videos = list(pool.map(self._probe, names))

        index: list[tuple[str, decode.Video | None]] = []
        short = {}
        self._tally.known = {'videos': len(names)}
        for name, video in zip(names, videos, strict=True):
            if isinstance(video, BrokenVideoError):
                self._note_broken(name, video)
                index.append((name, None))
                continue
            # Short ones are counted whatever becomes of them, so that a run which fills half of its clips up says so.
            have = clip_indices(video, 0, source.frames, source.stride, source.fps)[1]
            if have < source.frames:
                short[name] = f'{name}: {have} of {source.frames} frames'
                if source.short == 'drop':
                    continue
            index.append((name, video))

        self._tally.known |= {'short_videos': len(short)}
        self._short.update(short)
        if not any(video for _, video in index):
            raise UserError(
                f'config.data.path={source.path}: no video of {len(names)} is left; '
                f'{len(short)} too short for {source.frames} frames and dropped, broken: '
                f'{self._tally.summarize_broken()}; lower config.data.frames or stride, or set short=hold'
            )
        return index

    def identity(self) -> str:
        """Return how many clips there are, and of which files in which order."""
        # Of names and not of content: that would take reading the whole folder at every start.
        names = '\n'.join(name for name, _ in self.index)
        return f'{len(self)} {hashlib.sha256(names.encode()).hexdigest()[:16]}'

    def read_plans(self, i: int, rng: np.random.Generator, size: Size | None = None) -> list[ReadPlan]:
        """Return what `draw` or `extract` reads of a video."""
        options = self._options.with_size(size)
        placement = place_clip(options, rng.random(4))
        _, _, video = next(self._candidates(i))
        return [plan_clip(options, video, placement)]

    def without_cache(self) -> 'VideoFolderReader':
        """Return a reader of its own that keeps no frames in memory."""
        return dataclasses.replace(self.source, cache_mb=0).open()

    def counters(self) -> dict[str, int]:
        """Return totals so far: files in this split, broken and short ones, and clips read from or held up by them."""
        # Zeros until the folder was looked at: every line of the metrics has the same names.
        return {'videos': 0, 'short_videos': 0} | self._tally.counters('broken_videos', 'replaced_clips', 'short_clips')

    def problem_files(self) -> dict[str, list[str]]:
        """Return which files, each with the reason: {'broken': ['a.mp4: cut off: 3 of 9 frames'], 'short': [...]}."""
        return {'broken': self._tally.broken_lines(), 'short': list(self._short.values())}

    def notes(self) -> list[str]:
        """Return a line on what of the folder is no video, files with captions among it; none where all is."""
        passed_over = describe_counts(self._folder.passed_over_counts(captions=True))
        return [f'passed over in {self.source.path}: {passed_over}'] if passed_over else []

    @functools.cached_property
    def _folder(self) -> Folder:
        return look_for_videos(self.source.path)

    @functools.cached_property
    def _labels(self) -> dict[str, int]:
        """{name: label} over the whole folder: the same for every split and every treatment of short videos."""
        names = self._folder.videos
        if self.source.label == 'index':
            return {name: i for i, name in enumerate(names)}
        if self.source.label == 'folder':
            folders = sorted({name.split('/')[0] for name in names if '/' in name})
            stray = [name for name in names if '/' not in name]
            if stray:
                raise UserError(
                    f'config.data.label=folder, but {self.source.path}/{stray[0]} lies in no subfolder; move it'
                )
            return {name: folders.index(name.split('/')[0]) for name in names}
        return dict.fromkeys(names, 0)

    @functools.cached_property
    def _cache(self) -> FrameCache:
        sizes = ((video.frames, video.height, video.width) for _, video in self.index if video)
        return FrameCache(sizes, height_width(self.source.pixels), self.source.cache_mb * 2**20)

    def _split_of(self, name: str) -> str:
        # By the name alone: a video stays on its side when others come or go, and on every machine, as with hash() it
        # would not.
        return 'test' if zlib.crc32(name.encode()) / 2**32 < self.source.held_out else 'train'

    def _probe(self, name: str) -> decode.Video | BrokenVideoError:
        path = os.path.join(self.source.path, name)
        try:
            return decode.probe(path, self.source.limits, self.source.pixel_aspect == 'square')
        # Returned and not raised: the first broken file would end the map over all of them.
        except BrokenVideoError as error:
            return error

    def _clip(self, i: int, chance: np.ndarray | None, size: Size | None) -> Clip:
        options = self._options.with_size(size)
        # Once for all attempts, so that a replacement is cut by the same numbers.
        placement = place_clip(options, chance)

        for attempt, name, video in self._candidates(i):
            try:
                plan = plan_clip(options, video, placement)
                # What is kept in memory is of one size: that of the source's pixels.
                clip = extract_clip(plan, functools.partial(self._cache.read, name, video))
            except BrokenVideoError as error:
                self._note_broken(name, error)
                continue

            self._tally.add(replaced_clips=attempt > 0, short_clips=plan.padded)
            fps = (self.source.fps or video.fps) / self.source.stride
            return {'video': clip, 'label': np.int32(self._labels[name]), 'scalars': {'fps': fps}}

        raise AssertionError('candidates end with an error')

    def _candidates(self, i: int) -> Iterator[tuple[int, str, decode.Video]]:
        """Yield (attempt, name, video) of clip i and, if it is broken, of the next ones, wrapping around.

        Raises:
          UserError: all are broken.
        """
        for attempt in range(len(self.index)):
            name, video = self.index[(i + attempt) % len(self.index)]
            if video is not None:
                yield attempt, name, video
        raise UserError(f'config.data.path={self.source.path}: no video decodes: {self._tally.summarize_broken()}')

    def _note_broken(self, name: str, reason: BrokenVideoError) -> None:
        count = self._tally.note_broken(name, f'{name}: {reason}')
        files = self._tally.known['videos']
        if count > self.source.max_broken * files:
            reasons = self._tally.summarize_broken()
            raise UserError(
                f'config.data.path={self.source.path}: {count} of {files} videos are broken, more than '
                f'config.data.max_broken={self.source.max_broken} allows: {reasons}; mend or remove them, '
                'or raise max_broken'
            )
