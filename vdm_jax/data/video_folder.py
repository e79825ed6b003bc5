"""Any folder of real videos as a source of clips."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import os
import zlib
from typing import Literal

import numpy as np

from vdm_jax.data.cut import clip_indices, clip_length, cut
from vdm_jax.data.frame_cache import FrameCache
from vdm_jax.data.tally import Tally
from vdm_jax.data.video import decode
from vdm_jax.data.video.files import EXTENSIONS, Folder, describe_counts, look
from vdm_jax.errors import UserError
from vdm_jax.frame_size import FrameSize, height_width, read_pixels
from vdm_jax.ranges import Ahead, Fps, Frames, Mebibytes, Ranged, Share, Stride, Threads


def video_files(path):
    """The videos in a folder and below, as sorted paths relative to it; hidden files and folders are skipped.

    Raises UserError if the folder is missing or holds none.
    """
    return list(look_for_videos(path).videos)


def look_for_videos(path, follow_links=False) -> Folder:
    """What lies in a folder that is to hold videos. Raises UserError if it is missing or holds none."""
    if not path:
        raise UserError('config.data.path is empty; set it to a folder of videos')
    if not os.path.isdir(path):
        what = 'a file, not a folder' if os.path.exists(path) else 'not there'
        raise UserError(f'config.data.path={path} is {what}; set it to a folder of videos')
    found = look(path, follow_links)
    if not found.videos:
        raise UserError(f'config.data.path={path} {no_video(found)}')
    return found


def no_video(found: Folder) -> str:
    """That a folder holds none, which endings videos have, and what lies there instead."""
    passed_over = describe_counts(found.passed_over_counts())
    instead = f'; passed over: {passed_over}' if passed_over else ''
    return f'holds no video ({", ".join(ending[1:] for ending in EXTENSIONS)}){instead}'


@dataclasses.dataclass(frozen=True)
class VideoFolder(Ranged, where='config.data'):
    """Clips of `frames` frames of `pixels` (a side, or HEIGHTxWIDTH), from the videos in the folder `path` and below.

    A training clip begins at a random frame, or always at the first (`start`), as memorising wants it.
    A video is resized, its aspect kept, to just cover `pixels`, and what stands over is cut off (`crop`), upright as
    players show it.
    `pixel_aspect`: pixels that are not square are made so, or taken as they are stored, as the loaders behind published
    numbers do. A clip takes every `stride`-th frame or, with `fps`, the frames nearest in time to a grid of `fps` a
    second (then every `stride`-th of those).
    `short`: what happens to a video too short for a clip: its last frame is held, it starts again (loop), or the video
    is left out (drop). `label`: 0 for all, the number of the file in the sorted folder, or of its first subfolder.
    `split`: all files, or `held_out` of them by a hash of their name (test), or the others (train).

    A video that does not decode keeps its place and the next one (in the sorted order, round the end) is read instead,
    so that the order does not hang on what one host could read; the run stops when more than `max_broken` of the files
    are broken, as are those that ask for more than `limits`. Both kinds are counted and named. If all videos, resized,
    fit in `cache_mb` (2**20 bytes), each is decoded whole and kept in memory once it is asked for again; nothing but
    the speed depends on it.
    """

    path: str = ''
    frames: Frames = 16
    pixels: FrameSize = 64
    stride: Stride = 1
    fps: Fps | None = None
    short: Literal['hold', 'loop', 'drop'] = 'hold'
    start: Literal['random', 'first'] = 'random'
    crop: Literal['center', 'random'] = 'center'
    flip: bool = False
    pixel_aspect: Literal['square', 'stored'] = 'square'
    label: Literal['none', 'index', 'folder'] = 'none'
    split: Literal['all', 'train', 'test'] = 'all'
    held_out: Share = 0.1
    max_broken: Share = 0.1
    limits: decode.Limits = decode.Limits()
    cache_mb: Mebibytes = 512
    threads: Threads = 4
    prefetch: Ahead = 16

    scalars = ('fps',)  # not a field: what the clips tell of themselves, frames a second

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, 'pixels', read_pixels(self.pixels))
        object.__setattr__(self, '_tally', Tally())
        object.__setattr__(self, '_short', {})

    def __len__(self):
        return len(self.index)

    def __getitem__(self, i):
        return self.clip(i)

    def clip(self, i, shape=None):
        """The clip of evaluations: from the first frame, the centre, not mirrored; of another `shape` (T, H, W)."""
        return self._clip(range(len(self))[i], None, shape)

    def draw(self, i, rng, shape=None):
        """The clip of training: from a random frame, with a random crop, mirrored at random, each where asked for."""
        return self._clip(i, rng.random(4), shape)

    def extents(self):
        """What each video has of frames (at stride and fps), height and width: int64 (N, 3), 0 of a broken one."""
        found = np.zeros((len(self.index), 3), np.int64)
        for row, (_, video) in zip(found, self.index, strict=True):
            if video is not None:
                row[:] = clip_length(video, self.stride, self.fps), video.height, video.width
        return found

    @property
    def shape(self):
        return self.frames, *height_width(self.pixels), 3

    @property
    def num_classes(self):
        """Labels run from 0 to this; 0 for label='none'."""
        return max(self._labels.values()) + 1 if self.label != 'none' else 0

    @functools.cached_property
    def index(self):
        """The clips' videos: a list of (name, Video, or None where the file is broken); read once, in threads."""
        names = [name for name in self._labels if self.split == 'all' or self.split == self._split_of(name)]
        if not names:
            raise UserError(f'config.data.split={self.split} leaves no video of {len(self._labels)} in {self.path}')
        with concurrent.futures.ThreadPoolExecutor(max(self.threads, 1)) as pool:
            videos = list(pool.map(self._probe, names))
        index, short = [], {}
        self._tally.known = {'videos': len(names)}
        for name, video in zip(names, videos, strict=True):
            if isinstance(video, decode.BrokenVideoError):
                self._broken(name, video)
            elif (have := clip_indices(video, 0, self.frames, self.stride, self.fps)[1]) < self.frames:
                short[name] = f'{name}: {have} of {self.frames} frames'
                if self.short == 'drop':
                    continue
            index.append((name, None if isinstance(video, decode.BrokenVideoError) else video))
        self._tally.known |= {'short_videos': len(short)}
        self._short.update(short)
        if not any(video for _, video in index):
            raise UserError(
                f'config.data.path={self.path}: no video of {len(names)} is left; '
                f'{len(short)} too short for {self.frames} frames and dropped, broken: '
                f'{self._tally.listed()}; lower config.data.frames or stride, or set short=hold'
            )
        return index

    @functools.cached_property
    def _cache(self):
        sizes = ((video.frames, video.height, video.width) for _, video in self.index if video)
        return FrameCache(sizes, self.shape[1:3], self.cache_mb * 2**20)

    def identity(self):
        """What a run that goes on must find again: how many clips, and of which files in which order."""
        names = '\n'.join(name for name, _ in self.index)
        return f'{len(self)} {hashlib.sha256(names.encode()).hexdigest()[:16]}'

    def counters(self):
        """Totals so far: files in this split, broken and short ones, and clips read from or held up by them."""
        return {'videos': 0, 'short_videos': 0} | self._tally.counters('broken_videos', 'replaced_clips', 'short_clips')

    def names(self):
        """Which files, each with the reason: {'broken': ['a.mp4: cut off: 3 of 9 frames'], 'short': [...]}."""
        return {'broken': self._tally.broken_lines(), 'short': list(self._short.values())}

    def notes(self):
        """What of the folder is no video, files with captions among it: a line, none where there is nothing else."""
        passed_over = describe_counts(self._folder.passed_over_counts(captions=True))
        return [f'passed over in {self.path}: {passed_over}'] if passed_over else []

    @functools.cached_property
    def _folder(self):
        return look_for_videos(self.path)

    @functools.cached_property
    def _labels(self):
        """{name: label} over the whole folder: the same for every split and every treatment of short videos."""
        names = self._folder.videos
        if self.label == 'index':
            return {name: i for i, name in enumerate(names)}
        if self.label == 'folder':
            folders = sorted({name.split('/')[0] for name in names if '/' in name})
            if stray := [name for name in names if '/' not in name]:
                raise UserError(f'config.data.label=folder, but {self.path}/{stray[0]} lies in no subfolder; move it')
            return {name: folders.index(name.split('/')[0]) for name in names}
        return dict.fromkeys(names, 0)

    def _split_of(self, name):
        return 'test' if zlib.crc32(name.encode()) / 2**32 < self.held_out else 'train'

    def _probe(self, name):
        try:
            return decode.probe(os.path.join(self.path, name), self.limits, self.pixel_aspect == 'square')
        except decode.BrokenVideoError as error:
            return error

    def _clip(self, i, chance, shape):
        for attempt in range(len(self.index)):
            name, video = self.index[(i + attempt) % len(self.index)]
            if video is None:
                continue
            try:
                # What is kept in memory is of one size: that of self.pixels.
                read = functools.partial(self._cache.read, name, video)
                clip, padded = cut(self, video, read, chance, shape)
            except decode.BrokenVideoError as error:
                self._broken(name, error)
                continue
            self._tally.add(replaced_clips=attempt > 0, short_clips=padded)
            fps = (self.fps or video.fps) / self.stride
            return {'video': clip, 'label': np.int32(self._labels[name]), 'scalars': {'fps': fps}}
        raise UserError(f'config.data.path={self.path}: no video decodes: {self._tally.listed()}')

    def _broken(self, name, reason):
        count, files = self._tally.broken(name, f'{name}: {reason}'), self._tally.known['videos']
        if count > self.max_broken * files:
            raise UserError(
                f'config.data.path={self.path}: {count} of {files} videos are broken, more than '
                f'config.data.max_broken={self.max_broken} allows: {self._tally.listed()}; mend or remove them, or '
                'raise max_broken'
            )
