"""Clips of several lengths, sizes and aspects, each in the bucket that suits it best."""

import dataclasses
import functools
import hashlib
import re
from typing import Annotated, Literal

import numpy as np

from vdm_jax.data.bucket_order import BucketOrder
from vdm_jax.data.mixed_order import MixedOrder
from vdm_jax.data.order import Order
from vdm_jax.data.source import Source, ask, extents, held_out_of, identity_of
from vdm_jax.errors import UserError
from vdm_jax.frame_size import height_width, pixels_of
from vdm_jax.ranges import Batch, Distinct, Frames, NotEmpty, Pixels, Ranged, RangeError, Whole

STREAMS = 2**16  # orders of a bucket: more than a mixture has sources


@dataclasses.dataclass(frozen=True)
class Bucket(Ranged, where='config.data.buckets'):
    """Clips of so many frames, rows and columns of pixels, `batch` at a time (None: config.train.batch_size)."""

    frames: Frames
    height: Pixels
    width: Pixels
    batch: Batch | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.frames, self.height, self.width

    def __str__(self):
        return 'x'.join(map(str, self.shape)) + (f'@{self.batch}' if self.batch else '')


def read_bucket(text: str) -> Bucket:
    """The bucket of 'FRAMESxHEIGHTxWIDTH' or 'FRAMESxHEIGHTxWIDTH@BATCH'.

    Raises:
      UserError: it is written otherwise, or a number is out of its range.
    """
    found = re.fullmatch(r'(\d{1,9})x(\d{1,9}x\d{1,9})(?:@(\d{1,9}))?', text)
    if not found:
        raise UserError(f'config.data.buckets={text}: want FRAMESxHEIGHTxWIDTH or FRAMESxHEIGHTxWIDTH@BATCH')
    frames, picture, batch = found.groups()
    height, width = height_width(picture, f'config.data.buckets={text}: its size')
    try:
        return Bucket(int(frames), height, width, int(batch) if batch else None)
    except RangeError as error:
        raise UserError(f'config.data.buckets={text}: {error.mistake}') from None


@dataclasses.dataclass(frozen=True)
class Bucketed(Ranged, where='config.data'):
    """The clips of `clips` (records, a folder of videos, a mixture of these), each in one of `buckets`.

    A clip goes to the bucket with the most frames that it can fill (at its source's stride and fps); among these to the
    one whose aspect is nearest to its own; among these to the one with most pixels that asks for no enlargement, or
    else the fewest. It is scaled, its aspect kept, until it covers the bucket, and what stands over is cut off. A clip
    too short for all of them is filled up to the fewest frames as its source says (`short=hold`), or left out (`drop`).
    Frames and pixels set in `clips` itself are not used.

    A batch is of one bucket. Buckets come as often as makes each clip be seen equally often, but at least once in 1000
    steps; in a mixture, as its weights say. The first bucket is what samples are made of.

    Raises: UserError, naming config.data.buckets, for a bucket that cannot fill a batch.
    """

    clips: Source
    buckets: Annotated[tuple[str, ...], NotEmpty(), Distinct()] = ('16x64x64',)
    short: Literal['hold', 'drop'] = 'hold'
    only: Whole | None = None  # the number of one bucket, all others left out

    lenient = False  # whether buckets without a full batch are passed over, as where little is held out

    def __post_init__(self):
        super().__post_init__()
        if self.only is not None and self.only >= len(self.buckets):
            raise UserError(f'config.data.only={self.only}: the buckets are called 0 to {len(self.buckets) - 1}')
        shapes = [bucket.shape for bucket in map(read_bucket, self.buckets)]
        for number, shape in enumerate(shapes):
            if shape in shapes[:number]:
                raise UserError(f'config.data.buckets={",".join(self.buckets)}: {self.buckets[number]} is there twice')
        if isinstance(self.clips, Bucketed):
            raise UserError('config.data.clips is in buckets itself; name the source of its clips')
        if hasattr(self.clips, 'scored'):
            raise UserError(
                f'config.data.clips is a {type(self.clips).__name__}, whose clips are of one shape; for images beside '
                'videos take a mixture with a set of single frames, and a bucket of one frame'
            )
        for source in getattr(self.clips, 'sources', (self.clips,)):
            if getattr(source, 'short', '') == 'drop':
                raise UserError(
                    f'config.data.clips: short=drop of a {type(source).__name__} leaves out what is shorter than its '
                    'own frames, whatever the buckets; leave it out there, and set config.data.short=drop'
                )

    @functools.cached_property
    def kinds(self) -> tuple[Bucket, ...]:
        return tuple(map(read_bucket, self.buckets))

    @functools.cached_property
    def extents(self) -> np.ndarray:
        """What each clip of `clips` has of frames, height and width: int64 (N, 3)."""
        return self._ask(extents)

    @functools.cached_property
    def bucket_of(self) -> np.ndarray:
        """The bucket of each clip of `clips`, -1 for none: int64 (N,)."""
        return assign(self.extents, [kind.shape for kind in self.kinds], self.short)

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """Which clips of `clips` these are: int64 (len(self),), ascending."""
        return np.flatnonzero(self.bucket_of >= 0 if self.only is None else self.bucket_of == self.only)

    def alone(self, bucket: int) -> 'Bucketed':
        """The clips of one bucket."""
        return dataclasses.replace(self, only=bucket)

    def within(self, ids) -> tuple[np.ndarray, np.ndarray]:
        """(the bucket of each of these clips, its number in that bucket `alone`), int64 each."""
        clips = self.ids[np.asarray(ids)]
        return self.bucket_of[clips], self._ranks[clips]

    @functools.cached_property
    def _ranks(self):
        ranks = np.zeros_like(self.bucket_of)
        for number in range(len(self.kinds)):
            mine = self.bucket_of == number
            ranks[mine] = np.arange(mine.sum())
        return ranks

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict:
        i = self.ids[i]
        return self._ask(lambda source: source.clip(int(i), self.kinds[self.bucket_of[i]].shape))

    def draw(self, i: int, rng: np.random.Generator) -> dict:
        i = self.ids[i]
        return self._ask(lambda source: source.draw(int(i), rng, self.kinds[self.bucket_of[i]].shape))

    def batch_sizes(self, batch: int) -> tuple[int, ...]:
        """Clips of a batch of each of `shapes`, where one that does not say it takes `batch`."""
        return tuple(kind.batch or batch for kind in self.kinds) if self.only is None else (batch,)

    def order(self, batch: int, seed: int = 0, shuffle: bool = True) -> BucketOrder | Order:
        """The order in which the clips are trained on.

        Raises:
          UserError: a bucket has fewer clips than its batch.
        """
        if not len(self):
            what, mend = ('held-out clip', 'hold out more, or ') if self.lenient else ('clip', '')
            raise UserError(
                f'config.data.buckets={",".join(map(str, self._kinds))}: no {what} is there; {mend}change them'
            )
        if self.only is not None:
            return self._order_among(np.arange(len(self)), batch, seed, shuffle, self.only)[0]
        orders, members, shares = [], [], []
        for number, size in enumerate(self.batch_sizes(batch)):
            mine, kind = np.flatnonzero(self.bucket_of[self.ids] == number), self.kinds[number]
            if not self.lenient and len(mine) < size:
                raise UserError(
                    f'config.data.buckets={self.buckets[number]}: {len(mine)} clips are not one batch of {size}; leave '
                    f'the bucket out, or give it a smaller batch ({"x".join(map(str, kind.shape))}@{len(mine) or 1})'
                )
            order, share = self._order_among(mine, size, seed, shuffle, number)
            orders.append(order)
            members.append(mine)
            shares.append(share / size)
        return BucketOrder(tuple(orders), tuple(members), tuple(shares), seed)

    def _order_among(self, mine, size, seed, shuffle, number):
        """(the order of one bucket's clips, its share of all that is drawn)."""
        if not len(mine):
            return None, 0.0
        stream = STREAMS * number
        if not hasattr(self.clips, 'among'):
            return Order(len(mine), size, seed, shuffle, stream), len(mine) / len(self.extents)
        sizes, weights = self.clips.among(self.ids[mine])
        mixed = MixedOrder(len(mine), size, seed, shuffle, stream, sizes=sizes, weights=weights, least=1)
        return mixed, sum(weights)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, H, W, C) of the clips that samples are like: those of the first bucket."""
        return self.shapes[0]

    @property
    def shapes(self) -> tuple[tuple[int, int, int, int], ...]:
        """(T, H, W, C) of the clips of each bucket."""
        return tuple((*kind.shape, self.clips.shape[3]) for kind in self._kinds)

    @property
    def frames(self) -> int:
        return self.shape[0]

    @property
    def pixels(self) -> int | str:
        return pixels_of(*self.shape[1:3])

    @property
    def threads(self) -> int:
        return self.clips.threads

    @property
    def prefetch(self) -> int:
        return self.clips.prefetch

    @property
    def num_classes(self) -> int:
        return self._ask(lambda source: source.num_classes)

    @property
    def scalars(self) -> tuple[str, ...]:
        return getattr(self.clips, 'scalars', ())

    @property
    def text_cache(self):
        return getattr(self.clips, 'text_cache', None)

    @property
    def drawn(self) -> int:
        return getattr(self.clips, 'drawn', 0)

    @property
    def told_of(self):
        return getattr(self.clips, 'told_of', None)

    @property
    def latents(self) -> tuple[str, dict]:
        return self._ask(lambda source: getattr(source, 'latents', ('', {})))

    @property
    def scored(self) -> 'Bucketed':
        """What samples are scored against: the clips of the first bucket."""
        return self.alone(self.only or 0)

    def test_split(self) -> 'Bucketed':
        held_out = held_out_of(self.clips)
        return self if held_out is self.clips else HeldOut(held_out, self.buckets, self.short, self.only)

    def identity(self) -> str:
        """What a run that goes on must find again: the clips, and which bucket each is in."""
        inner = self._ask(identity_of)
        table = hashlib.sha256(np.ascontiguousarray(self.bucket_of, '<i8').tobytes()).hexdigest()[:16]
        return f'{inner} in {len(self.kinds)} buckets {table}'

    def notes(self) -> list[str]:
        """What the source has to say, and what became of its clips, bucket by bucket: a line each."""
        lines, of = list(getattr(self.clips, 'notes', list)()), self.bucket_of
        for number, kind in enumerate(self.kinds):
            mine = self.extents[of == number]
            padded = int((mine[:, 0] < kind.frames).sum())
            enlarged = int((mine[:, 1:] < kind.shape[1:]).any(1).sum())
            lines.append(f'bucket {kind}: {len(mine)} clips, {padded} of them padded, {enlarged} enlarged')
        broken = int((self.extents[:, 0] == 0).sum())
        lines.append(f'in no bucket: {int((of < 0).sum())} of {len(of)} clips ({broken} of them broken)')
        return lines

    # What the source calls short is shorter than frames of its own, which nothing is cut to here.
    def counters(self) -> dict:
        found = getattr(self.clips, 'counters', dict)()
        return {name: n for name, n in found.items() if name.split('/')[-1] not in ('short_videos', 'short_records')}

    def names(self) -> dict:
        """The files that the source could not take as they are."""
        found = getattr(self.clips, 'names', dict)()
        return {kind: names for kind, names in found.items() if kind != 'short'}

    @property
    def _kinds(self):
        return self.kinds if self.only is None else (self.kinds[self.only],)

    def _ask(self, question):
        return ask('config.data.clips', lambda: question(self.clips))


class HeldOut(Bucketed):
    """What a source in buckets holds out."""

    lenient = True

    def test_split(self) -> 'HeldOut':
        return self


def assign(extents: np.ndarray, shapes: list[tuple[int, int, int]], short: str = 'hold') -> np.ndarray:
    """The number of the bucket, of these (T, H, W), for clips that have (frames, height, width), int64 (N, 3); -1 for
    none: int64 (N,). Bucketed says which one; of two that are alike in all that, it is the first.
    """
    frames, height, width = np.maximum(extents, 1).T[..., None]
    T, H, W = np.array(shapes).T
    fits = frames >= T if short == 'drop' else (frames >= T) | (T == T.min())
    off = np.abs(np.log(height / width) - np.log(H / W)).round(6)
    enlarged = np.maximum(H / height, W / width) > 1
    # The least of: does not fit, fewer frames, aspect, asks for enlargement, then pixels: most, or fewest.
    area = np.where(enlarged, 1, -1) * (H * W)
    rank = np.lexsort(np.broadcast_arrays(area, enlarged, off, -T, ~fits), axis=1)[:, 0]
    found = np.where(np.take_along_axis(fits, rank[:, None], 1)[:, 0], rank, -1)
    return np.where(extents[:, 0] > 0, found, -1).astype(np.int64)
