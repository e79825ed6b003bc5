"""A directory of records as a source of clips."""

import dataclasses
import functools
import hashlib
from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import numpy as np

from vdm_jax.config.frame_size import FrameSize, height_width
from vdm_jax.config.ranges import Ahead, Between, Fps, Frames, Mebibytes, Share, Stride, Threads
from vdm_jax.data.counters import Tally
from vdm_jax.data.latents.text_store import TextCache, empty_embedding
from vdm_jax.data.records import filters, selection
from vdm_jax.data.records.captions import choose_caption
from vdm_jax.data.records.schema import Record
from vdm_jax.data.records.shards import RecordSet
from vdm_jax.data.source import Clip, LatentInfo, Reader, Size
from vdm_jax.data.video import decode
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.extract_clip import CropMode, ReadPlan, Short, Start, extract_clip, place_clip, plan_clip
from vdm_jax.data.video.frame_cache import FrameCache
from vdm_jax.data.video.limits import Limits
from vdm_jax.data.video.probe_cache import ProbeCache
from vdm_jax.data.video_source import VideoSource
from vdm_jax.errors import UserError, escape_unprintable


@dataclasses.dataclass(frozen=True)
class Records(VideoSource):
    """Clips from the records in a directory that `python -m data_pipelines build` made (data/records/shards.py).

    In evaluation a clip begins where a training clip does, but at the first frame where that is random. Clips have as
    scalars their frames a second, and the scores of their records (nan where one has none). The text of a clip is one
    of the captions that hold for at least half of it, drawn by their weights, in evaluation the first; without one it
    has no text.

    A record that does not decode keeps its id, and the next one is read instead, so that the order does not depend on
    what one host could read. Latents (of all records, or of none) come uncut, as 'moments' float32 (T', H', W', 2C) in
    place of 'video'.

    Attributes:
      path: Of the directory.
      filters: On what is known of the records (data/records/filters.py), all of which they must meet.
      clips: How often each record is there, each time with a part of its own of the frames at which a clip may begin.
      label: 0 for all (none), the record's own (label), or its number among those that meet the filters (index).
      text: A directory that cache-text made, with an embedding of every caption; none: clips have no text.
      split: All records, or those of `held_out` of the videos that they were cut from, by a hash of the video's name
        (test), or the others (train): no video is in both.
      held_out: Share of the videos that are held out.
      max_broken: Share of the records that may be broken before the run stops.
      limits: What a record may ask for; one that asks for more is broken.
      cache_mb: If all videos that are taken, resized, fit in so many MiB, each is kept in memory, whole, once it is
        needed again; nothing but the speed depends on it.
      threads: Of the loader, which decode clips.
      prefetch: Clips that the loader draws ahead.
    """

    movable_fields: ClassVar[tuple[str, ...]] = (
        'path',
        'text',
        'max_broken',
        'limits',
        'cache_mb',
        *VideoSource.movable_fields,
    )

    path: str = ''
    frames: Frames = 16
    pixels: FrameSize = 64
    filters: tuple[str, ...] = ()
    stride: Stride = 1
    fps: Fps | None = None
    clips: Annotated[int, Between(1, 10_000)] = 1
    short: Short = 'hold'
    start: Start = 'random'
    crop: CropMode = 'center'
    flip: bool = False
    label: Literal['none', 'label', 'index'] = 'none'
    text: str | None = None
    split: Literal['all', 'train', 'test'] = 'all'
    held_out: Share = 0.1
    max_broken: Share = 0.1
    limits: Limits = Limits()
    cache_mb: Mebibytes = 512
    threads: Threads = 4
    prefetch: Ahead = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        # For its mistakes alone, which so are found with the config and before any file is opened.
        filters.parse(self.filters)

    @property
    def record_sets(self) -> tuple[str, ...]:
        """Its directory."""
        return (self.path,)

    def open(self) -> 'RecordsReader':
        """Return a reader of the directory."""
        return RecordsReader(self)


class RecordsReader(Reader):
    """The clips of Records: its table and shards, what is broken of them, frames kept in memory."""

    source: Records

    def __init__(self, source: Records):
        super().__init__(source)
        self._tally = Tally()
        self._probe_cache = ProbeCache(source.limits)
        self._options = source.clip_options

    def __len__(self) -> int:
        return len(self.index) * self.source.clips

    def __getitem__(self, i: int) -> Clip:
        """Return the clip of evaluations: the centre, not mirrored."""
        return self._clip(range(len(self))[i], None, None)

    def draw(self, i: int, rng: np.random.Generator) -> Clip:
        """Draw the clip of training: from a random frame, with a random crop, mirrored, each as the config says."""
        return self._clip(i, rng, None)

    def extract(self, i: int, size: Size, rng: np.random.Generator | None = None) -> Clip:
        """Return either of them, cut to another size (T, H, W)."""
        return self._clip(range(len(self))[i], rng, size)

    def extents(self) -> np.ndarray:
        """Return what each clip has of frames (at stride and fps), height and width: int64 (N, 3)."""
        frames = selection.clip_lengths(self.source, self.records)
        height = self.records.column('height')
        width = self.records.column('width')
        extents = np.stack([frames, height, width], 1)[self.index]
        # The clips of a record follow one another, as `_candidates` numbers them.
        return np.repeat(extents.astype(np.int64), self.source.clips, axis=0)

    @property
    def num_classes(self) -> int:
        """Number of classes, whatever the split; labels are in [0, num_classes). 0 for label='none'."""
        return int(self._labels.max()) + 1 if self.source.label != 'none' else 0

    @property
    def scalars(self) -> tuple[str, ...]:
        """Frames a second, and the scores of the records."""
        return tuple(dict.fromkeys(('fps', *self.records.scores)))

    @functools.cached_property
    def text(self) -> TextCache | None:
        """The embeddings of its captions, None for clips without text."""
        return TextCache(self.source.text) if self.source.text else None

    @functools.cached_property
    def latents(self) -> LatentInfo | None:
        """Those that its records hold, None of videos."""
        return selection.find_latents(self.source, self.records, self.index)

    @functools.cached_property
    def records(self) -> RecordSet:
        """All records of the directory."""
        path = self.source.path
        if not path:
            raise UserError('config.data.path is empty; set it to a directory of records (data_pipelines build)')
        return RecordSet(path, f'config.data.path={path}')

    @functools.cached_property
    def index(self) -> np.ndarray:
        """The numbers of the records that are taken, ascending."""
        index, self._tally.known = selection.select_records(self.source, self.records)
        if self.text:
            selection.check_captions(self.source, self.records, self.text, index)
        return index

    @property
    def num_draws(self) -> int:
        """Which record a clip is of, and the seconds where it begins and ends: its text depends on these."""
        return 3

    def conditions_of(self, draws: np.ndarray, rng: np.random.Generator) -> Clip:
        """Return the text of a clip with these clip['draws']: that of `draw` with such an rng."""
        # As `draw` does for how the clip is cut, before it draws a caption.
        rng.random(4)
        return self._text_of(draws, rng)

    def identity(self) -> str:
        """Return how many clips there are, and of which records."""
        # By content too: a set that was built anew may have other clips under the same keys.
        keys = self.records.column('key')[self.index]
        hashes = self.records.column('sha256')[self.index]
        lines = '\n'.join(f'{key} {sha256}' for key, sha256 in zip(keys, hashes, strict=True))
        return f'{len(self)} {hashlib.sha256(lines.encode()).hexdigest()[:16]}'

    def read_plans(self, i: int, rng: np.random.Generator, size: Size | None = None) -> list[ReadPlan]:
        """Return what `draw` or `extract` reads of a video; nothing of latents."""
        chance = rng.random(4)
        _, _, _, video = next(self._candidates(i))
        return [] if video is None else [self._plan(video, i % self.source.clips, chance, size)]

    def without_cache(self) -> 'RecordsReader':
        """Return a reader of its own that keeps no frames in memory."""
        return dataclasses.replace(self.source, cache_mb=0).open()

    def counters(self) -> dict[str, int]:
        """Return how many records are taken, were filtered out, are short.

        And so far: broken ones, clips read in place of those, clips filled up, and clips without text.
        """
        without_text = ['clips_without_text'] if self.source.text else []
        return self._tally.counters('broken_records', 'replaced_clips', 'short_clips', *without_text)

    def notes(self) -> list[str]:
        """Return lines on files in which damage would go unnoticed."""
        return self.records.notes() + (self.text.notes() if self.text else [])

    def problem_files(self) -> dict[str, list[str]]:
        """Return which records are broken, each with the reason."""
        return {'broken': self._tally.broken_lines()}

    def _clip(self, i: int, rng: np.random.Generator | None, size: Size | None) -> Clip:
        # Always four numbers: no option moves what is drawn for another.
        chance = None if rng is None else rng.random(4)

        for attempt, number, record, video in self._candidates(i):
            try:
                picture, window, padded = self._picture(number, record, video, i % self.source.clips, chance, size)
            except BrokenVideoError as error:
                self._note_broken(number, f'record {number} ({escape_unprintable(record.key)}): {error}')
                continue

            self._tally.add(replaced_clips=attempt > 0, short_clips=padded)
            # All that the text hangs on: a cache of latents stores it, to draw captions anew.
            draws = np.array([number, *window])
            scalars = {name: record.scores.get(name, np.nan) for name in self.records.scores}
            scalars['fps'] = (self.source.fps or record.fps) / self.source.stride
            label = np.int32(self._labels[number])
            return picture | {'label': label, 'scalars': scalars} | self._text_of(draws, rng) | {'draws': draws}

        raise AssertionError('candidates end with an error')

    def _candidates(self, i: int) -> Iterator[tuple[int, int, Record, decode.Video | None]]:
        """Yield the record of clip i and, if it is broken, the next ones, wrapping around.

        Each is (attempt, its number, itself, its video or None of latents).

        Raises:
          UserError: all are broken, or more than may be.
        """
        for attempt in range(len(self.index)):
            number = int(self.index[(i // self.source.clips + attempt) % len(self.index)])
            try:
                record = self.records[number]
            except UserError as error:  # it names the record
                self._note_broken(number, str(error).removeprefix(f'{self.records.where}: '))
                continue

            video = None
            try:
                if record.latents is None:
                    video = self._probe_cache.video(number, record.video)
            except BrokenVideoError as error:
                self._note_broken(number, f'record {number} ({escape_unprintable(record.key)}): {error}')
                continue
            yield attempt, number, record, video

        raise UserError(f'config.data.path={self.source.path}: no record can be read: {self._tally.summarize_broken()}')

    def _plan(self, video: decode.Video, part: int, chance: np.ndarray | None, size: Size | None) -> ReadPlan:
        """Return what is read of a video for a clip that begins in the given part of `clips`."""
        options = self._options.with_size(size)
        placement = place_clip(options, chance)
        # Each part has an equal share of the frames at which a clip may begin.
        start = (part + placement.start) / self.source.clips
        return plan_clip(options, video, dataclasses.replace(placement, start=start))

    def _picture(
        self,
        number: int,
        record: Record,
        video: decode.Video | None,
        part: int,
        chance: np.ndarray | None,
        size: Size | None,
    ) -> tuple[Clip, tuple[float, float], bool]:
        """Return a clip's pixels or latents, the seconds of the record that it shows, and whether it was filled up."""
        if video is None:
            # A set may hold float16; networks are given float32.
            return {'moments': np.asarray(record.latents, np.float32)}, (0.0, record.frames / record.fps), False

        plan = self._plan(video, part, chance, size)
        read = functools.partial(self._cache.read, number, video)
        clip = extract_clip(plan, read)
        # The window ends when the last frame does.
        times = video.times[plan.numbers]
        window = float(times.min()), float(times.max()) + 1 / video.fps
        return {'video': clip}, window, plan.padded

    def _text_of(self, draws: np.ndarray, rng: np.random.Generator | None) -> Clip:
        if not self.text:
            return {}
        number, first, stop = draws.tolist()
        caption = choose_caption(self.records.captions(int(number)), (first, stop), rng)
        self._tally.add(clips_without_text=caption is None)
        return empty_embedding(self.text.shape) if caption is None else self.text[caption.text]

    @functools.cached_property
    def _cache(self) -> FrameCache:
        columns = [self.records.column(name)[self.index].tolist() for name in ('frames', 'height', 'width')]
        picture = height_width(self.source.pixels)
        return FrameCache(zip(*columns, strict=True), picture, self.source.cache_mb * 2**20)

    @functools.cached_property
    def _labels(self) -> np.ndarray:
        labels = selection.read_labels(self.source, self.records)
        if self.source.label == 'label':
            selection.check_labels(self.source, labels[self.index])
        return labels

    def _note_broken(self, number: int, reason: str) -> None:
        count = self._tally.note_broken(number, reason)
        if count > self.source.max_broken * len(self.index):
            reasons = self._tally.summarize_broken()
            raise UserError(
                f'config.data.path={self.source.path}: {count} of {len(self.index)} records are broken, more than '
                f'config.data.max_broken={self.source.max_broken} allows: {reasons}; build the set anew '
                'without them, or raise max_broken'
            )
