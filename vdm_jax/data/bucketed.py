"""Clips of several lengths, sizes and aspects, each in the bucket that suits it best."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, NoReturn

import numpy as np

from vdm_jax.config.frame_size import height_width
from vdm_jax.config.ranges import Distinct, NotEmpty, Whole
from vdm_jax.data.bucket import Bucket, assign, read_bucket
from vdm_jax.data.latents.text_store import TextCache
from vdm_jax.data.order.buckets import BucketOrder
from vdm_jax.data.order.order import Order
from vdm_jax.data.source import Clip, LatentInfo, Reader, Shape, Size, Source, WrappingSource, mistakes_at
from vdm_jax.data.video.extract_clip import ReadPlan
from vdm_jax.errors import UserError

CLIPS = 'config.data.clips'  # where mistakes of the source within are
# Bucket k takes the streams of random numbers from STREAMS * k on, one a source: more than a mixture has sources, so
# that no two buckets share one.
STREAMS = 2**16


@dataclasses.dataclass(frozen=True)
class Bucketed(WrappingSource):
    """The clips of another source, each in one of several buckets.

    A clip goes to the bucket with the most frames that it can fill (at its source's stride and fps); among these to the
    one whose aspect is nearest to its own; among these to the one with most pixels that needs no enlargement, or
    else the fewest. It is scaled, its aspect kept, until it covers the bucket, and what stands over is cut off. A clip
    too short for all of them is filled up to the fewest frames as its source says (`short=hold`), or left out (`drop`).
    Frames and pixels set in `clips` itself are not used.

    A batch is of one bucket. Buckets come as often as makes each clip be seen equally often, but at least once in 1000
    steps; in a mixture, as its weights say. The first bucket is what samples are made of.

    Attributes:
      clips: The source: records, a folder of videos, or a mixture of these.
      buckets: FRAMESxHEIGHTxWIDTH or FRAMESxHEIGHTxWIDTH@BATCH of each; without @BATCH it is config.train.batch_size.
      short: What happens to a clip too short for all of them: it is filled up to the fewest frames (hold), or left out
        (drop).
      only: The number of one bucket, all others left out; none: all.

    Raises:
      UserError: a bucket cannot be read, or is there twice, or the clips are of one shape.
    """

    clips: Source
    buckets: Annotated[tuple[str, ...], NotEmpty(), Distinct()] = ('16x64x64',)
    short: Literal['hold', 'drop'] = 'hold'
    only: Whole | None = None

    own_order: ClassVar[bool] = True
    bucketed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.only is not None and self.only >= len(self.buckets):
            raise UserError(f'config.data.only={self.only}: the buckets are called 0 to {len(self.buckets) - 1}')

        # By size: 16x64x64 and 16x64x64@8 are one bucket, though their texts differ.
        sizes = [bucket.size for bucket in self.all_buckets]
        for number, size in enumerate(sizes):
            if size in sizes[:number]:
                raise UserError(f'config.data.buckets={",".join(self.buckets)}: {self.buckets[number]} is there twice')

        if self.clips.bucketed:
            raise UserError('config.data.clips is in buckets itself; name the source of its clips')
        if self.clips.joins_images:
            raise UserError(
                f'config.data.clips is a {type(self.clips).__name__}, whose clips are of one shape; for images beside '
                'videos take a mixture with a set of single frames, and a bucket of one frame'
            )

        # Also of the sources of a mixture, which itself leaves nothing out.
        for source in self.clips.parts or (self.clips,):
            if source.drops_short:
                raise UserError(
                    f'config.data.clips: short=drop of a {type(source).__name__} leaves out what is shorter than its '
                    'own frames, whatever the buckets; leave it out there, and set config.data.short=drop'
                )

    @property
    def all_buckets(self) -> tuple[Bucket, ...]:
        """All buckets, also where the clips of one alone are taken."""
        return tuple(map(read_bucket, self.buckets))

    @property
    def taken_buckets(self) -> tuple[Bucket, ...]:
        """The buckets whose clips are taken."""
        return self.all_buckets if self.only is None else (self.all_buckets[self.only],)

    @property
    def shape(self) -> Shape:
        """(T, H, W, C) of the clips that samples are like: those of the first bucket."""
        return self.shapes[0]

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(T, H, W, C) of the clips of each bucket."""
        return tuple((*bucket.size, self.clips.shape[3]) for bucket in self.taken_buckets)

    @property
    def bucket_numbers(self) -> tuple[int, ...]:
        """The numbers of the buckets whose clips are taken."""
        return tuple(range(len(self.all_buckets))) if self.only is None else (self.only,)

    @property
    def bucket_names(self) -> tuple[str, ...]:
        """What each bucket is called, with its batch size where it has one."""
        return tuple(map(str, self.taken_buckets))

    @property
    def parts(self) -> tuple[Source, ...]:
        """The source of the clips."""
        return (self.clips,)

    def batch_sizes(self, batch: int) -> tuple[int, ...]:
        """Return the clips of a batch of each of `shapes`, where one that does not say it takes `batch`."""
        return tuple(bucket.batch or batch for bucket in self.all_buckets) if self.only is None else (batch,)

    def for_bucket(self, bucket: int) -> 'Bucketed':
        """Return the clips of one bucket."""
        return dataclasses.replace(self, only=bucket)

    def with_pixels(self, pixels: int | str) -> 'Bucketed':
        """Return the clips of the first bucket with frames of `pixels`."""
        height, width = height_width(pixels)
        bucket = dataclasses.replace(self.taken_buckets[0], height=height, width=width)
        return dataclasses.replace(self, buckets=(str(bucket),), only=None)

    def open(self) -> 'BucketedReader':
        """Return a reader, which puts clips in buckets when it is first asked for one."""
        return BucketedReader(self, self.clips.open())


class BucketedReader(Reader):
    """The clips of a Bucketed, and which bucket each of them is in.

    Args:
      source: The config.
      clips: The reader of its clips.
      lenient: Whether buckets without a full batch are passed over, as where little is held out.
    """

    source: Bucketed

    def __init__(self, source: Bucketed, clips: Reader, lenient: bool = False):
        super().__init__(source)
        self.clips = clips
        self._lenient = lenient
        # Read once: the property parses its texts anew each time, and every clip asks for its bucket's size.
        self._all_buckets = source.all_buckets
        self._readers: dict[int, BucketedReader] = {}

    @functools.cached_property
    def clip_extents(self) -> np.ndarray:
        """What each clip of `clips` has of frames, height and width: int64 (N, 3)."""
        with mistakes_at(CLIPS):
            return self.clips.extents()

    @functools.cached_property
    def bucket_of(self) -> np.ndarray:
        """The bucket of each clip of `clips`, -1 for none: int64 (N,)."""
        return assign(self.clip_extents, [bucket.size for bucket in self._all_buckets], self.source.short)

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """Which clips of `clips` these are: int64 (len(self),), ascending."""
        only = self.source.only
        return np.flatnonzero(self.bucket_of >= 0 if only is None else self.bucket_of == only)

    def for_bucket(self, bucket: int) -> 'BucketedReader':
        """Return the reader of the clips of one bucket: the same one every time."""
        if bucket not in self._readers:
            self._readers[bucket] = BucketedReader(self.source.for_bucket(bucket), self.clips, self._lenient)
        return self._readers[bucket]

    def locate_in_buckets(self, ids: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the bucket of each of these clips, and its number in `for_bucket`: int64 each."""
        clips = self.ids[np.asarray(ids)]
        return self.bucket_of[clips], self._ranks[clips]

    @functools.cached_property
    def _ranks(self) -> np.ndarray:
        ranks = np.zeros_like(self.bucket_of)
        for number in range(len(self._all_buckets)):
            mine = self.bucket_of == number
            ranks[mine] = np.arange(mine.sum())
        return ranks

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Clip:
        return self._clip(i, None)

    def draw(self, i: int, rng: np.random.Generator) -> Clip:
        return self._clip(i, rng)

    def _clip(self, i: int, rng: np.random.Generator | None) -> Clip:
        number = int(self.ids[i])
        size = self._all_buckets[self.bucket_of[number]].size
        with mistakes_at(CLIPS):
            return self.clips.extract(number, size, rng)

    def order(self, batch: int, seed: int = 0, shuffle: bool = True) -> BucketOrder | Order:
        """Return the order in which the clips are trained on.

        Raises:
          UserError: a bucket has fewer clips than its batch.
        """
        if not len(self):
            names = ','.join(self.source.bucket_names)
            kind = 'held-out clip' if self._lenient else 'clip'
            advice = 'hold out more, or change them' if self._lenient else 'change them'
            raise UserError(f'config.data.buckets={names}: no {kind} is there; {advice}')
        if self.source.only is not None:
            # By its number among all buckets, so that its clips come as they do in the order over all of them.
            order, _ = self._bucket_order(np.arange(len(self)), batch, seed, shuffle, self.source.only)
            return order

        orders: list[Order | None] = []
        members = []
        shares = []
        for number, size in enumerate(self.source.batch_sizes(batch)):
            mine = np.flatnonzero(self.bucket_of[self.ids] == number)
            if not self._lenient and len(mine) < size:
                self._raise_too_few(number, len(mine), size)
            bucket_order = None
            share = 0.0
            if len(mine):
                bucket_order, share = self._bucket_order(mine, size, seed, shuffle, number)
            orders.append(bucket_order)
            members.append(mine)
            shares.append(share / size)  # of batches, where the order has the share of clips
        return BucketOrder(tuple(orders), tuple(members), tuple(shares), seed)

    def _raise_too_few(self, number: int, count: int, batch: int) -> NoReturn:
        """Say that a bucket has too few clips for a batch."""
        size = 'x'.join(map(str, self._all_buckets[number].size))
        raise UserError(
            f'config.data.buckets={self.source.buckets[number]}: {count} clips are not one batch of {batch};'
            f' leave the bucket out, or give it a smaller batch ({size}@{count or 1})'
        )

    def _bucket_order(self, mine: np.ndarray, size: int, seed: int, shuffle: bool, number: int) -> tuple[Order, float]:
        """Return the order of one bucket's clips, and its share of all that is drawn."""
        return self.clips.order_among(self.ids[mine], size, seed, shuffle, STREAMS * number)

    @property
    def num_classes(self) -> int:
        """Those of the clips."""
        with mistakes_at(CLIPS):
            return self.clips.num_classes

    @property
    def scalars(self) -> tuple[str, ...]:
        """Those of the clips."""
        return self.clips.scalars

    @property
    def text(self) -> TextCache | None:
        """That of the clips."""
        return self.clips.text

    @property
    def num_draws(self) -> int:
        """Those of the clips."""
        return self.clips.num_draws

    def conditions_of(self, draws: np.ndarray, rng: np.random.Generator) -> Clip:
        return self.clips.conditions_of(draws, rng)

    @property
    def latents(self) -> LatentInfo | None:
        """Those of the clips."""
        with mistakes_at(CLIPS):
            return self.clips.latents

    @property
    def reference(self) -> Reader:
        """The clips of the first bucket."""
        return self.for_bucket(self.source.only or 0)

    def held_out(self) -> Reader:
        """Return the held-out clips, each in its bucket, of which some may be empty."""
        clips = self.clips.held_out()
        # What is held out holds nothing out itself.
        if self._lenient or clips is self.clips:
            return self
        return self._with_clips(clips, lenient=True)

    def without_cache(self) -> Reader:
        """Return a reader of the same clips, of which no frames are kept in memory."""
        return self._with_clips(self.clips.without_cache(), self._lenient)

    def _with_clips(self, clips: Reader, lenient: bool) -> 'BucketedReader':
        return BucketedReader(dataclasses.replace(self.source, clips=clips.source), clips, lenient)

    def identity(self) -> str:
        """Return the identity of the clips, and which bucket each is in."""
        with mistakes_at(CLIPS):
            identity = self.clips.identity()
        # A file of the same name may have another length or size by now, and so another bucket. The byte order is
        # fixed, as a run may go on on another machine.
        table = hashlib.sha256(np.ascontiguousarray(self.bucket_of, '<i8').tobytes()).hexdigest()[:16]
        return f'{identity} in {len(self._all_buckets)} buckets {table}'

    def read_plans(self, i: int, rng: np.random.Generator, size: Size | None = None) -> list[ReadPlan]:
        del size  # that of its bucket
        number = int(self.ids[i])
        with mistakes_at(CLIPS):
            return self.clips.read_plans(number, rng, self._all_buckets[self.bucket_of[number]].size)

    def notes(self) -> list[str]:
        """Return the lines of the clips, and what became of these, bucket by bucket: a line each."""
        lines = list(self.clips.notes())
        for number, bucket in enumerate(self._all_buckets):
            mine = self.clip_extents[self.bucket_of == number]
            padded = int((mine[:, 0] < bucket.frames).sum())
            enlarged = int((mine[:, 1:] < bucket.size[1:]).any(1).sum())
            lines.append(f'bucket {bucket}: {len(mine)} clips, {padded} of them padded, {enlarged} enlarged')
        broken = int((self.clip_extents[:, 0] == 0).sum())
        outside = int((self.bucket_of < 0).sum())
        lines.append(f'in no bucket: {outside} of {len(self.bucket_of)} clips ({broken} of them broken)')
        return lines

    # What the source calls short is shorter than frames of its own, which nothing is cut to here.

    def counters(self) -> dict[str, int]:
        """Return what the clips' source counts, but for short videos and records."""
        counts = self.clips.counters()
        return {name: n for name, n in counts.items() if name.split('/')[-1] not in ('short_videos', 'short_records')}

    def problem_files(self) -> dict[str, list[str]]:
        """Return the files that the clips' source could not take as they are, but for short ones."""
        return {kind: names for kind, names in self.clips.problem_files().items() if kind != 'short'}
