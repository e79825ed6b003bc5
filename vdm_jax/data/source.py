"""Sources of clips: what a config says of one (`Source`), and what is opened from it (`Reader`).

Everything that a source can do is declared here with a default; a source overrides what it does otherwise. Nobody
asks whether a source *has* something: whoever needs a capability calls it.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from vdm_jax.config.frame_size import format_pixels
from vdm_jax.config.ranges import Ranged
from vdm_jax.data.order.order import Order
from vdm_jax.errors import UserError, with_key

if TYPE_CHECKING:
    from vdm_jax.data.latents.text_store import TextCache
    from vdm_jax.data.order.buckets import BucketOrder
    from vdm_jax.data.video.extract_clip import ReadPlan

# One clip by the names of its arrays: 'video' uint8 (T, H, W, C) or 'moments' float32 (T', H', W', 2C), 'label' int32
# in [0, num_classes), and what the reader declares beside these: 'scalars', 'text' and 'text_mask', 'draws', 'images'.
Clip = dict[str, Any]
Shape = tuple[int, int, int, int]  # (T, H, W, C)
Size = tuple[int, int, int]  # (T, H, W)


@dataclasses.dataclass(frozen=True)
class LatentInfo:
    """Which latents a source holds in place of its videos.

    Attributes:
      codec: sha256 of the codec's weights that made them.
      shapes: (T', H', W', 2C) of the moments by (T, H, W) of clips.
    """

    codec: str
    shapes: Mapping[Size, Shape]


@dataclasses.dataclass(frozen=True)
class Source(Ranged, abc.ABC, where='config.data'):
    """What config.data says of the clips: frozen, stateless, and known without opening a file.

    Each source is a frozen dataclass whose fields are the keys of the config group. Only `shape` and `open` have to be
    implemented.
    """

    # Whether its clips come in an order of their own, which is lost where another source decides the order.
    own_order: ClassVar[bool] = False
    # Whether its clips are in buckets, each with a shape of its own.
    bucketed: ClassVar[bool] = False
    # Whether single images come beside its clips.
    joins_images: ClassVar[bool] = False
    # Fields that change no clip: where files lie, how they are read, and the texts beside clips.
    movable_fields: ClassVar[tuple[str, ...]] = ('threads', 'prefetch')

    @property
    @abc.abstractmethod
    def shape(self) -> Shape:
        """(T, H, W, C) of its clips; of a source in buckets, of those that samples are like."""

    @abc.abstractmethod
    def open(self) -> Reader:
        """Return a new reader of its clips, which opens files when they are first needed."""

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """(T, H, W, C) of the clips of each of its buckets; the first is that of samples."""
        return (self.shape,)

    @property
    def bucket_numbers(self) -> tuple[int, ...]:
        """The numbers of the buckets whose clips are taken, in the order of `shapes`."""
        return tuple(range(len(self.shapes)))

    @property
    def bucket_names(self) -> tuple[str, ...]:
        """What each of its buckets is called: FRAMESxHEIGHTxWIDTH."""
        return tuple('x'.join(map(str, shape[:3])) for shape in self.shapes)

    @property
    def frames(self) -> int:
        """Frames of a clip."""
        return self.shape[0]

    @property
    def pixels(self) -> int | str:
        """Size of a frame as configs say it: the side of a square, or HEIGHTxWIDTH."""
        return format_pixels(*self.shape[1:3])

    @property
    def threads(self) -> int:
        """Threads of the loader that draw clips; 0: the loader's own."""
        return 0

    @property
    def prefetch(self) -> int:
        """Clips that the loader draws ahead."""
        return 0

    @property
    def split(self) -> str | None:
        """Which part of its clips it takes: all, train or test; None where it has no parts of its own."""
        return None

    @property
    def clip_fps(self) -> float | None:
        """Frames a second of all its clips, None where they differ or the config does not say it."""
        return None

    @property
    def drops_short(self) -> bool:
        """Whether it leaves out videos that are shorter than its own `frames`."""
        return False

    @property
    def images_per_clip(self) -> int:
        """How many single images come beside each clip."""
        return 0

    @property
    def parts(self) -> tuple[Source, ...]:
        """The sources within it."""
        return ()

    @property
    def movable_keys(self) -> frozenset[str]:
        """Its keys that change no clip, those of the sources within it included."""
        return frozenset(self.movable_fields).union(*(part.movable_keys for part in self.parts))

    @property
    def record_sets(self) -> tuple[str, ...]:
        """The directories of records that it reads, those of the sources within it included."""
        return tuple(path for part in self.parts for path in part.record_sets)

    def batch_sizes(self, batch: int) -> tuple[int, ...]:
        """Return the clips of a batch of each of `shapes`: `batch` unless a bucket says otherwise."""
        return (batch,)

    def for_bucket(self, bucket: int) -> Source:
        """Return the source of the clips of one bucket."""
        del bucket
        return self

    def with_pixels(self, pixels: int | str) -> Source:
        """Return the same clips with frames of `pixels`, of the first bucket alone where there are several."""
        return with_fields(self, pixels=pixels)


class Reader(abc.ABC):
    """An opened source: the sequence of its clips, and the files, caches and counters behind it.

    Opening is free: files are opened, and mistakes in them found, when they are first needed. Many threads may draw
    from one reader. `__len__`, `__getitem__`, `draw` and `identity` have to be implemented.
    """

    source: Source  # the config that it was opened from

    def __init__(self, source: Source):
        self.source = source

    @abc.abstractmethod
    def __len__(self) -> int:
        """How many clips there are."""

    @abc.abstractmethod
    def __getitem__(self, i: int) -> Clip:
        """Clip i as evaluation sees it, the same every time."""

    @abc.abstractmethod
    def draw(self, i: int, rng: np.random.Generator) -> Clip:
        """Draw clip i as training sees it: start frame, crop and flip from rng."""

    @abc.abstractmethod
    def identity(self) -> str:
        """Return what a run that goes on must find again: how many clips there are, and which, such as a hash of names.

        By their number alone, a run would take any other clips for its own.
        """

    # What is known of all clips.

    @property
    def shape(self) -> Shape:
        """(T, H, W, C) of its clips, as its source has it."""
        return self.source.shape

    @property
    def num_classes(self) -> int:
        """Number of classes; labels are in [0, num_classes). 0 where clips have none."""
        return 0

    @property
    def scalars(self) -> tuple[str, ...]:
        """Names of the numbers in clip['scalars'], a dict."""
        return ()

    @property
    def text(self) -> TextCache | None:
        """The embeddings of its captions: clips then have 'text' float32 (S, D) and 'text_mask' bool (S,)."""
        return None

    @property
    def latents(self) -> LatentInfo | None:
        """Which latents it holds: clips then have 'moments' in place of 'video'."""
        return None

    @property
    def num_draws(self) -> int:
        """Numbers in clip['draws'], float64: what was drawn for a clip and its conditions hang on."""
        return 0

    def conditions_of(self, draws: np.ndarray, rng: np.random.Generator) -> Clip:
        """Return the conditions, such as the caption, of a clip with these `draws`, as `draw` with such an rng does."""
        del draws, rng
        return {}

    @property
    def title(self) -> str:
        """What results on its clips are called."""
        return type(self.source).__name__.lower()

    # Which clips come when.

    def order(self, batch: int, seed: int = 0, shuffle: bool = True) -> Order | BucketOrder:
        """Return the order in which its clips are trained on."""
        return Order(len(self), batch, seed, shuffle)

    def order_among(self, ids: np.ndarray, batch: int, seed: int, shuffle: bool, stream: int) -> tuple[Order, float]:
        """Return the order of some of its clips (ids, ascending), and their share of all that is drawn.

        It is an order over 0 ... len(ids) - 1, in which every clip is drawn as often as among all of them.
        """
        return Order(len(ids), batch, seed, shuffle, stream), len(ids) / len(self)

    def held_out(self) -> Reader:
        """Return the reader of the held-out part; itself where training takes all of it."""
        if self.source.split != 'train':
            return self
        return with_fields(self.source, split='test').open()

    @property
    def reference(self) -> Reader:
        """The clips that samples are held against: all of them have the shape of samples."""
        return self

    def for_bucket(self, bucket: int) -> Reader:
        """Return the reader of the clips of one bucket, with files and counters in common."""
        del bucket
        return self

    def locate_in_buckets(self, ids: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the bucket of each of these clips, and its number in `for_bucket`: int64 each."""
        ids = np.asarray(ids, np.int64)
        return np.zeros_like(ids), ids

    # Clips that can be cut to several shapes.

    def extents(self) -> np.ndarray:
        """Return what each clip has of frames, height and width: int64 (N, 3), 0 of a broken one.

        Raises:
          UserError: its clips come in one shape.
        """
        # Buckets ask for extents before anything else, so this is where a user learns of it; `extract` is never reached
        # then.
        raise UserError(
            f'config.data: clips of a {type(self.source).__name__} come in one shape, and buckets ask for several; '
            'take records or video_folder'
        )

    def extract(self, i: int, size: Size, rng: np.random.Generator | None = None) -> Clip:
        """Return clip i cut to `size` (T, H, W): as training sees it where there is an rng, else as evaluation does."""
        raise NotImplementedError(f'clips of a {type(self.source).__name__} come in one shape: see extents')

    # How the loader reads it.

    @property
    def loading(self) -> Literal['clips', 'batches', 'constant']:
        """How batches are made: clip by clip with `draw`, by `gather`, or once, the same for every step."""
        return 'clips'

    def gather(
        self, ids: np.ndarray, positions: np.ndarray, seed: int, scalars: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Return a whole batch: for each of `ids` what `draw` gives at that position of the run, with these scalars."""
        raise NotImplementedError(f'batches of a {type(self.source).__name__} are loaded as {self.loading}')

    def read_plans(self, i: int, rng: np.random.Generator, size: Size | None = None) -> list[ReadPlan]:
        """Return what `draw`, or `extract` to this size, reads of video files with such an rng; [] where of none."""
        del i, rng, size
        return []

    def without_cache(self) -> Reader:
        """Return a reader of the same clips that keeps no frames in memory."""
        return self

    # What a run has to say of it.

    def counters(self) -> dict[str, int]:
        """Return what was counted so far, by name."""
        return {}

    def problem_files(self) -> dict[str, list[str]]:
        """Return which files could not be taken as they are, each with the reason, by kind."""
        return {}

    def notes(self) -> list[str]:
        """Return the lines to print when a run starts."""
        return []


class StatelessSource(Source, Reader):
    """A source that makes its clips on the fly and has nothing to open: it is its own reader."""

    @property
    # A property, since a frozen dataclass cannot set the attribute that Reader.__init__ sets.
    def source(self) -> Self:  # type: ignore[override]
        """Itself."""
        return self

    def open(self) -> Self:
        """Return itself."""
        return self

    def for_bucket(self, bucket: int) -> Self:
        """Return itself: its clips are of one shape."""
        del bucket
        return self

    def identity(self) -> str:
        """Return how many clips there are: which they are follows from the config."""
        return str(len(self))


class WrappingSource(Source):
    """A source around another one, `clips`, a field of it: its clips are read by the same threads, at the same rate."""

    clips: Source

    @property
    def threads(self) -> int:
        """Those of the clips."""
        return self.clips.threads

    @property
    def prefetch(self) -> int:
        """That of the clips."""
        return self.clips.prefetch

    @property
    def clip_fps(self) -> float | None:
        """That of the clips."""
        return self.clips.clip_fps


def with_fields(source: Source, **values: Any) -> Source:
    """Return the source with other values of these fields."""
    return dataclasses.replace(source, **values)


def stack_clips(clips: Sequence[Clip]) -> dict[str, np.ndarray]:
    """Return clips as one batch, each of their arrays stacked by its name; all have the same arrays."""
    return {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}


@contextlib.contextmanager
def mistakes_at(where: str) -> Iterator[None]:
    """Say of a user's mistake found meanwhile that it is at `where`, a key of the config."""
    try:
        yield
    except UserError as error:
        raise with_key(error, where) from None
