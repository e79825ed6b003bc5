"""A directory of records as a source of clips."""

import dataclasses
import functools
import hashlib
from typing import Annotated, Literal

import numpy as np

from vdm_jax.data import filters, record_index
from vdm_jax.data.captions import caption_of
from vdm_jax.data.cut import cut
from vdm_jax.data.frame_cache import FrameCache
from vdm_jax.data.record_set import RecordSet
from vdm_jax.data.records import Record
from vdm_jax.data.tally import Tally
from vdm_jax.data.text_cache import TextCache, no_text
from vdm_jax.data.timelines import Timelines
from vdm_jax.data.video import decode
from vdm_jax.errors import UserError, printable
from vdm_jax.frame_size import FrameSize, height_width, read_pixels
from vdm_jax.ranges import Ahead, Between, Fps, Frames, Mebibytes, Ranged, Share, Stride, Threads


@dataclasses.dataclass(frozen=True)
class Records(Ranged, where='config.data'):
    """Clips of `frames` frames of `pixels` (a side, or HEIGHTxWIDTH), from the records in the directory `path`
    (data/record_set.py).

    filters: conditions on what is known of the records (data/filters.py), all of which they must meet. split: all of
    them, or those of `held_out` of the videos that they were cut from, by a hash of the video's name (test), or the
    others (train), so that no video is in both.

    A training clip begins at a `start` that is random, first or center, and so does that of evaluation, where random is
    first. Each record is there `clips` times, each time with a part of its own of the places where a clip may begin.
    stride, fps, short, crop and flip are those of video_folder. label: 0 for all, the record's own, or its number among
    those that meet the filters. Clips tell their frames a second, and the scores of their records (nan where one has
    none).
    text: a directory that cache-text made, with an embedding of every caption; none: clips have no text. A clip is told
    one of the captions that hold for at least half of it, by their weights, in evaluation the first; without one it has
    no text.

    A record that does not decode, or asks for more than `limits`, keeps its place and the next one is read instead; the
    run stops when more than `max_broken` of them are broken. Latents (of all records, or of none) are given whole, as
    'moments' float32 (T', H', W', 2C) in place of 'video'. If all videos that are taken, resized, fit in `cache_mb`
    (2**20 bytes), each is decoded whole and kept in memory once it is asked for again; nothing but the speed depends on
    it.
    """

    path: str = ''
    frames: Frames = 16
    pixels: FrameSize = 64
    filters: tuple[str, ...] = ()
    stride: Stride = 1
    fps: Fps | None = None
    clips: Annotated[int, Between(1, 10_000)] = 1
    short: Literal['hold', 'loop', 'drop'] = 'hold'
    start: Literal['random', 'first', 'center'] = 'random'
    crop: Literal['center', 'random'] = 'center'
    flip: bool = False
    label: Literal['none', 'label', 'index'] = 'none'
    text: str | None = None
    split: Literal['all', 'train', 'test'] = 'all'
    held_out: Share = 0.1
    max_broken: Share = 0.1
    limits: decode.Limits = decode.Limits()
    cache_mb: Mebibytes = 512
    threads: Threads = 4
    prefetch: Ahead = 16

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, 'pixels', read_pixels(self.pixels))
        filters.parse(self.filters)
        object.__setattr__(self, '_tally', Tally())
        object.__setattr__(self, '_timelines', Timelines(self.limits))

    def __len__(self) -> int:
        return len(self.index) * self.clips

    def __getitem__(self, i: int) -> dict:
        return self.clip(i)

    def clip(self, i: int, shape: tuple[int, int, int] | None = None) -> dict:
        """The clip of evaluations: the centre, not mirrored; of another `shape` (T, H, W)."""
        return self._clip(range(len(self))[i], None, shape)

    def draw(self, i: int, rng: np.random.Generator, shape: tuple[int, int, int] | None = None) -> dict:
        """The clip of training: from a random frame, with a random crop, mirrored at random, each where asked for."""
        return self._clip(i, rng, shape)

    def extents(self) -> np.ndarray:
        """What each clip has of frames (at stride and fps), height and width: int64 (N, 3)."""
        sizes = record_index.lengths(self), *map(self.records.column, ('height', 'width'))
        return np.stack(sizes, 1)[self.index].astype(np.int64).repeat(self.clips, 0)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.frames, *height_width(self.pixels), 3

    @property
    def num_classes(self) -> int:
        """Labels run from 0 to this, whatever the split; 0 for label='none'."""
        return int(self._labels.max()) + 1 if self.label != 'none' else 0

    @property
    def scalars(self) -> tuple[str, ...]:
        """What the clips tell of themselves."""
        return tuple(dict.fromkeys(('fps', *self.records.scores)))

    @functools.cached_property
    def text_cache(self) -> TextCache | None:
        """The embeddings of its captions, None for clips without text."""
        return TextCache(self.text) if self.text else None

    @functools.cached_property
    def latents(self) -> tuple[str, dict[tuple, tuple]]:
        """(sha256 of the codec's weights that made its latents, {(T, H, W) of its clips: (T', H', W', 2C)}); ('', {})
        of videos.
        """
        return record_index.latents_of(self, self.index)

    @functools.cached_property
    def records(self) -> RecordSet:
        """All records of the directory."""
        if not self.path:
            raise UserError('config.data.path is empty; set it to a directory of records (data_pipelines build)')
        return RecordSet(self.path, f'config.data.path={self.path}')

    @functools.cached_property
    def index(self) -> np.ndarray:
        """The numbers of the records that are taken, ascending."""
        index, self._tally.known = record_index.choose(self)
        if self.text_cache:
            record_index.check_captions(self, index)
        return index

    drawn = 3  # numbers that the text of a clip hangs on: of its record, and the seconds where it begins and ends

    def told_of(self, drawn: np.ndarray, rng: np.random.Generator) -> dict:
        """The text of a clip with these clip['drawn']: that of `draw` with such an rng."""
        rng.random(4)  # how the clip is cut
        return self._text(drawn, rng)

    def identity(self) -> str:
        """What a run that goes on must find again: how many clips, and of which records."""
        names, hashes = (self.records.column(name)[self.index] for name in ('key', 'sha256'))
        lines = '\n'.join(f'{name} {sha256}' for name, sha256 in zip(names, hashes, strict=True))
        return f'{len(self)} {hashlib.sha256(lines.encode()).hexdigest()[:16]}'

    def counters(self) -> dict[str, int]:
        """Records that are taken, were filtered out, are short; and so far broken ones, clips read in place of those,
        clips filled up, and clips without text.
        """
        return self._tally.counters(
            'broken_records', 'replaced_clips', 'short_clips', *(['clips_without_text'] if self.text else [])
        )

    def notes(self) -> list[str]:
        """Lines on files in which damage would go unnoticed."""
        return self.records.notes() + (self.text_cache.notes() if self.text_cache else [])

    def names(self) -> dict[str, list[str]]:
        """Which records are broken, each with the reason."""
        return {'broken': self._tally.broken_lines()}

    def _clip(self, i, rng, shape):
        chance = None if rng is None else rng.random(4)
        for attempt in range(len(self.index)):
            number = int(self.index[(i // self.clips + attempt) % len(self.index)])
            try:
                record = self.records[number]
            except UserError as error:  # it names the record
                self._broken(number, str(error).removeprefix(f'{self.records.where}: '))
                continue
            try:
                picture, window, padded = self._picture(number, record, i % self.clips, chance, shape)
            except decode.BrokenVideoError as error:
                self._broken(number, f'record {number} ({printable(record.key)}): {error}')
                continue
            self._tally.add(replaced_clips=attempt > 0, short_clips=padded)
            drawn = np.array([number, *window])
            scalars = {name: record.scores.get(name, np.nan) for name in self.records.scores}
            scalars |= {'fps': (self.fps or record.fps) / self.stride}
            told = {'label': np.int32(self._labels[number]), 'scalars': scalars}
            return picture | told | self._text(drawn, rng) | {'drawn': drawn}
        raise UserError(f'config.data.path={self.path}: no record can be read: {self._tally.listed()}')

    def _picture(self, number: int, record: Record, part: int, chance, shape):
        """({'video'} or {'moments'}, the seconds of the record from which to which it is of, whether it was filled up);
        the clip begins in the given part of `clips`.
        """
        if record.latents is not None:
            return {'moments': np.asarray(record.latents, np.float32)}, (0.0, record.frames / record.fps), False
        video, taken = self._timelines.video(number, record.video), []

        def read(indices, height, width):
            taken.append(indices)
            return self._cache.read(number, video, indices, height, width)

        within, rest = {'center': 0.5}.get(self.start, 0.0), (0.0, 0.0, 1.0)
        if chance is not None:
            within, rest = chance[0] if self.start == 'random' else within, chance[1:]
        how = self._how[chance is not None]
        clip, padded = cut(how, video, read, ((part + within) / self.clips, *rest), shape)
        times = video.times[taken[0]]
        return {'video': clip}, (float(times.min()), float(times.max()) + 1 / video.fps), padded

    def _text(self, drawn, rng) -> dict:
        if not self.text_cache:
            return {}
        number, *window = drawn.tolist()
        caption = caption_of(self.records.captions(int(number)), window, rng)
        self._tally.add(clips_without_text=caption is None)
        return no_text(self.text_cache.shape) if caption is None else self.text_cache[caption.text]

    @functools.cached_property
    def _cache(self):
        sizes = (self.records.column(name)[self.index].tolist() for name in ('frames', 'height', 'width'))
        return FrameCache(zip(*sizes, strict=True), self.shape[1:3], self.cache_mb * 2**20)

    @functools.cached_property
    def _how(self):
        """Itself as `cut` takes it, which is told where to start: in evaluation, in training."""
        training = dataclasses.replace(self, start='random')
        return dataclasses.replace(training, crop='center', flip=False), training

    @functools.cached_property
    def _labels(self):
        return record_index.labels_of(self)

    def _broken(self, number, reason):
        count = self._tally.broken(number, reason)
        if count > self.max_broken * len(self.index):
            raise UserError(
                f'config.data.path={self.path}: {count} of {len(self.index)} records are broken, more than '
                f'config.data.max_broken={self.max_broken} allows: {self._tally.listed()}; build the set anew without '
                'them, or raise max_broken'
            )
