"""Several sources as one, each with its share of every batch."""

import contextlib
import dataclasses
import functools
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np

from vdm_jax.config.ranges import Above0, Ahead, NotEmpty, Threads
from vdm_jax.data.latents.text_store import TextCache, empty_embedding
from vdm_jax.data.order.mixed import MixedOrder
from vdm_jax.data.order.order import Order
from vdm_jax.data.source import Clip, LatentInfo, Reader, Shape, Size, Source, mistakes_at
from vdm_jax.data.video.extract_clip import ReadPlan
from vdm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Mixture(Source):
    """The clips of several sources, one source after the other.

    How often each is drawn from is decided by weights and not by how many clips it has: see MixedOrder. All must make
    clips of one shape.

    Attributes:
      sources: Whose clips are taken.
      weights: How often each is drawn from, in proportion; none of them: as often as the others.
      labels: What becomes of labels. Each source has classes of its own, after those of the sources before it, where
        one without classes is one class (apart); labels stay as they are, so that class 3 of one is class 3 of all
        (shared); or there are none (none).
      threads: Of the loader; those of the sources are not used.
      prefetch: Clips that the loader draws ahead.

    Raises:
      UserError: sources cannot be mixed; it names the items of config.data.sources.
    """

    sources: Annotated[tuple[Source, ...], NotEmpty()] = ()
    weights: tuple[Annotated[float, Above0(1e-9, 1e9)], ...] = ()
    labels: Literal['apart', 'shared', 'none'] = 'apart'
    threads: Threads = 4
    prefetch: Ahead = 16

    own_order: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights and len(self.weights) != len(self.sources):
            raise UserError(f'config.data.weights={self.weights}: want one for each of {len(self.sources)} sources')

        for number, source in enumerate(self.sources):
            # Of what goes with mixtures in another way, the message says which.
            if isinstance(source, Mixture):
                raise UserError(f'config.data.sources.{number} is itself a mixture; list its sources here instead')
            if source.bucketed:
                raise UserError(
                    f'config.data.sources.{number} is in buckets; make the mixture config.data.clips of bucketed'
                )
            if source.joins_images:
                raise UserError(
                    f'config.data.sources.{number} has images beside its clips, which a mixture has not; '
                    'make the mixture config.data.clips of joint_images instead'
                )

            # Clips of a batch are stacked.
            if source.shape != self.shape:
                raise UserError(
                    f'config.data.sources.0 makes clips of {self.shape} (frames, height, width, channels) and '
                    f'config.data.sources.{number} of {source.shape}: set frames and pixels alike'
                )

    @property
    def shape(self) -> Shape:
        """(T, H, W, C) of all clips."""
        return self.sources[0].shape

    @property
    def clip_fps(self) -> float | None:
        """Frames a second on which all sources agree, None where they do not."""
        rates = {source.clip_fps for source in self.sources}
        return rates.pop() if len(rates) == 1 else None

    @property
    def parts(self) -> tuple[Source, ...]:
        """The sources."""
        return self.sources

    def with_pixels(self, pixels: int | str) -> 'Mixture':
        """Return the same clips with frames of `pixels`."""
        return dataclasses.replace(self, sources=tuple(source.with_pixels(pixels) for source in self.sources))

    def open(self) -> 'MixtureReader':
        """Return a reader of all sources."""
        return MixtureReader(self, [source.open() for source in self.sources])


class MixtureReader(Reader):
    """The clips of a Mixture: those of its readers, one reader after the other.

    Args:
      source: The config.
      readers: Of its sources.
      numbers: Of these in the config, by which messages and counters name them; None: 0, 1, ….
      complete: The mixture that this is the held-out part of, whose classes it has.
    """

    source: Mixture

    def __init__(
        self,
        source: Mixture,
        readers: Sequence[Reader],
        numbers: Sequence[int] | None = None,
        complete: 'MixtureReader | None' = None,
    ):
        super().__init__(source)
        self.readers = tuple(readers)
        self._numbers = tuple(range(len(readers)) if numbers is None else numbers)
        self._complete = complete

    @property
    def num_classes(self) -> int:
        """Those of all sources, as `labels` says; of a held-out part, those of the complete mixture."""
        if self._complete is not None:
            return self._complete.num_classes
        if self.source.labels == 'none':
            return 0
        return max(self._own_classes) if self.source.labels == 'shared' else int(self._first_classes[-1])

    @property
    def scalars(self) -> tuple[str, ...]:
        """Those that the clips of every source have."""
        first, *others = [reader.scalars for reader in self.readers]
        return tuple(name for name in first if all(name in names for names in others))

    @functools.cached_property
    def text(self) -> TextCache | None:
        """The embeddings of a source whose clips have text, None where none has; all are of one encoder."""
        caches = [reader.text for reader in self.readers]
        self._check_agree('the encoder of texts', [cache.fingerprint if cache else '' for cache in caches])
        return next((cache for cache in caches if cache), None)

    @functools.cached_property
    def num_draws(self) -> int:
        """The number of a clip's source, and what its source draws."""
        most = max(reader.num_draws for reader in self.readers)
        return 1 + most if most else 0  # the mixture adds nothing where no source draws anything

    def conditions_of(self, draws: np.ndarray, rng: np.random.Generator) -> Clip:
        """Return what the clip's source says of it, and no text where it has none."""
        reader = self.readers[int(draws[0])]
        text = empty_embedding(self.text.shape) if self.text else {}
        return text | reader.conditions_of(draws[1 : 1 + reader.num_draws], rng)

    @property
    def latents(self) -> LatentInfo | None:
        """Those that all sources hold, by the shapes of their clips; None of videos."""
        infos = []
        for number, reader in enumerate(self.readers):
            with self._at(number):
                infos.append(reader.latents)
        self._check_agree('the codec of latents', [info.codec if info else 'none' for info in infos])

        of_latents = [info for info in infos if info]
        if not of_latents:
            return None
        shapes: dict[Size, Shape] = {}
        for info in of_latents:
            shapes |= info.shapes
        return LatentInfo(of_latents[0].codec, shapes)

    def __len__(self) -> int:
        return int(self._first_ids[-1])

    def __getitem__(self, i: int) -> Clip:
        # A range takes negative numbers and refuses those beyond the end, as sequences do.
        number, own = self._locate(range(len(self))[i])
        with self._at(number):
            clip = self.readers[number][own]
        return self._as_mixed(number, clip)

    def draw(self, i: int, rng: np.random.Generator) -> Clip:
        number, own = self._locate(i)
        with self._at(number):
            clip = self.readers[number].draw(own, rng)
        return self._as_mixed(number, clip)

    def extract(self, i: int, size: Size, rng: np.random.Generator | None = None) -> Clip:
        number, own = self._locate(i)
        with self._at(number):
            clip = self.readers[number].extract(own, size, rng)
        return self._as_mixed(number, clip)

    def read_plans(self, i: int, rng: np.random.Generator, size: Size | None = None) -> list[ReadPlan]:
        number, own = self._locate(i)
        with self._at(number):
            return self.readers[number].read_plans(own, rng, size)

    def extents(self) -> np.ndarray:
        """Return what each clip has of frames, height and width: int64 (N, 3)."""
        extents = []
        for number, reader in enumerate(self.readers):
            with self._at(number):
                extents.append(reader.extents())
        return np.concatenate(extents)

    def order(self, batch: int, seed: int = 0, shuffle: bool = True) -> MixedOrder:
        return MixedOrder(len(self), batch, seed, shuffle, sizes=self._sizes, weights=self._shares)

    def order_among(self, ids: np.ndarray, batch: int, seed: int, shuffle: bool, stream: int) -> tuple[Order, float]:
        """Return the order of some of the clips, in which those of each source keep their share."""
        # The ids ascend, so those of one source lie side by side.
        counts = np.diff(np.searchsorted(ids, self._first_ids))
        shares = np.array(self._shares) / sum(self._shares) * counts / self._sizes

        # Sources without any of these clips have no part in their order.
        sizes = tuple(counts[counts > 0].tolist())
        weights = tuple(shares[counts > 0].tolist())
        # least=1, as a small part of a bucket is no mistake of the weights, which MixedOrder would refuse.
        order = MixedOrder(len(ids), batch, seed, shuffle, stream, sizes=sizes, weights=weights, least=1)
        return order, sum(weights)

    def held_out(self) -> Reader:
        """Return the held-out parts of those sources that have one, weighted alike; itself where none has."""
        if self._complete is not None:
            return self
        # Sources without a held-out part are left out: their clips are all trained on.
        parts = [reader.held_out() for reader in self.readers]
        numbers = [number for number, part in enumerate(parts) if part is not self.readers[number]]
        if not numbers:
            return self
        readers = [parts[number] for number in numbers]
        weights = tuple(self.source.weights[number] for number in numbers) if self.source.weights else ()
        source = dataclasses.replace(self.source, sources=tuple(reader.source for reader in readers), weights=weights)
        return MixtureReader(source, readers, numbers, complete=self)

    def without_cache(self) -> Reader:
        """Return a reader of the same clips, of which no source keeps frames in memory."""
        readers = [reader.without_cache() for reader in self.readers]
        source = dataclasses.replace(self.source, sources=tuple(reader.source for reader in readers))
        return MixtureReader(source, readers, self._numbers, self._complete)

    def identity(self) -> str:
        """Return the identity of each source, in turn."""
        identities = []
        for number, reader in enumerate(self.readers):
            with self._at(number):
                identities.append(reader.identity())
        return ' + '.join(identities)

    def counters(self) -> dict[str, int]:
        """Return the sources' own, each under the source's number."""
        each = zip(self._numbers, self.readers, strict=True)
        return {f'{number}/{name}': value for number, reader in each for name, value in reader.counters().items()}

    def problem_files(self) -> dict[str, list[str]]:
        """Return the sources' own, each name after the source's number."""
        names: dict[str, list[str]] = {}
        for number, reader in zip(self._numbers, self.readers, strict=True):
            for kind, own in reader.problem_files().items():
                names.setdefault(kind, []).extend(f'{number}: {name}' for name in own)
        return names

    def notes(self) -> list[str]:
        """Return the lines of each source, each after the source's number."""
        each = zip(self._numbers, self.readers, strict=True)
        return [f'{number}: {line}' for number, reader in each for line in reader.notes()]

    def _locate(self, i: int) -> tuple[int, int]:
        """Return which reader clip i is of, and its number there."""
        number = int(np.searchsorted(self._first_ids, i, 'right')) - 1
        return number, i - int(self._first_ids[number])

    def _as_mixed(self, number: int, clip: Clip) -> Clip:
        """Return what all clips of the mixture have of a reader's clip, its label among those of the mixture."""
        label = 0
        if self.source.labels == 'shared':
            label = clip['label']
        elif self.source.labels == 'apart':
            label = clip['label'] + self._first_classes[number]

        # Arrays that some sources alone have are left out, and texts filled in: clips of a batch are stacked.
        text = empty_embedding(self.text.shape) if self.text else {}
        arrays = {name: clip[name] for name in ('video', 'moments', *text) if name in clip}
        mixed = text | arrays | {'label': np.int32(label)}
        if self.scalars:
            mixed['scalars'] = {name: clip['scalars'][name] for name in self.scalars}
        if self.num_draws:
            # Filled up with zeros: all clips of a batch have as many.
            own = clip.get('draws', ())
            mixed['draws'] = np.array([number, *own, *[0.0] * (self.num_draws - 1 - len(own))])
        return mixed

    def _at(self, number: int) -> contextlib.AbstractContextManager[None]:
        """Name the source of a reader in its mistakes."""
        return mistakes_at(f'config.data.sources.{self._numbers[number]}')

    def _check_agree(self, what: str, values: Sequence[str]) -> None:
        """Check that sources have the same value, where they have one.

        Raises:
          UserError: they have several.
        """
        numbers = {value: number for number, value in zip(self._numbers, values, strict=True) if value}
        if len(numbers) > 1:
            (a, first), (b, second), *_ = numbers.items()
            raise UserError(f'config.data.sources: {what} is {a} of item {first} and {b} of item {second}; take one')

    @property
    def _shares(self) -> tuple[float, ...]:
        return self.source.weights or (1.0,) * len(self.readers)

    @functools.cached_property
    def _sizes(self) -> tuple[int, ...]:
        sizes = []
        for number, reader in enumerate(self.readers):
            with self._at(number):
                sizes.append(len(reader))
        return tuple(sizes)

    @functools.cached_property
    def _first_ids(self) -> np.ndarray:
        """The id of each reader's first clip, and the number of all: int64 (readers + 1,)."""
        return np.cumsum((0, *self._sizes))

    @functools.cached_property
    def _first_classes(self) -> np.ndarray:
        """Each reader's first class; of a complete mixture also the number of all."""
        if self._complete is not None:
            return self._complete._first_classes[list(self._numbers)]
        return np.cumsum([0, *(max(classes, 1) for classes in self._own_classes)])

    @functools.cached_property
    def _own_classes(self) -> tuple[int, ...]:
        classes = []
        for number, reader in enumerate(self.readers):
            with self._at(number):
                classes.append(reader.num_classes)
        return tuple(classes)
