"""Several sources as one, each with its share of every batch's places."""

import dataclasses
import functools
from typing import Annotated, Literal

import numpy as np

from vdm_jax.data.mixed_order import MixedOrder
from vdm_jax.data.source import Source, ask, extents, held_out_of, identity_of
from vdm_jax.data.text_cache import TextCache, no_text
from vdm_jax.errors import UserError
from vdm_jax.frame_size import pixels_of
from vdm_jax.ranges import Above0, Ahead, NotEmpty, Ranged, Threads


@dataclasses.dataclass(frozen=True)
class Mixture(Ranged, where='config.data'):
    """config.data of a mixture, and the source itself: the clips of `sources`, one source after the other.

    How often each is drawn from is decided by `weights` (in proportion; all alike where there are none) and not by how
    many clips it has: see MixedOrder. All must make clips of one shape.

    labels: 'apart' gives every source classes of its own, after those of the sources before it (a source without
    classes is one class: what is learned is which source); 'shared' leaves labels as they are, so that class 3 of one
    is class 3 of all; 'none' drops them.

    Raises: UserError, naming the items of config.data.sources.
    """

    sources: Annotated[tuple[Source, ...], NotEmpty()] = ()
    weights: tuple[Annotated[float, Above0(1e-9, 1e9)], ...] = ()
    labels: Literal['apart', 'shared', 'none'] = 'apart'
    threads: Threads = 4  # of the loader; those of the sources are not used
    prefetch: Ahead = 16  # clips the loader keeps ready

    def __post_init__(self):
        super().__post_init__()
        if self.weights and len(self.weights) != len(self.sources):
            raise UserError(f'config.data.weights={self.weights}: want one for each of {len(self.sources)} sources')
        for number, source in enumerate(self.sources):
            if isinstance(source, Mixture):
                raise UserError(f'config.data.sources.{number} is itself a mixture; list its sources here instead')
            if hasattr(source, 'alone'):
                raise UserError(
                    f'config.data.sources.{number} is in buckets; make the mixture config.data.clips of bucketed'
                )
            if hasattr(source, 'scored'):
                raise UserError(
                    f'config.data.sources.{number} has images beside its clips, which a mixture has not; '
                    'make the mixture config.data.clips of joint_images instead'
                )
            if source.shape != self.shape:
                raise UserError(
                    f'config.data.sources.0 makes clips of {self.shape} (frames, height, width, channels) and '
                    f'config.data.sources.{number} of {source.shape}: set frames and pixels alike'
                )

    @property
    def frames(self) -> int:
        return self.shape[0]

    @property
    def pixels(self) -> int | str:
        return pixels_of(*self.shape[1:3])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.sources[0].shape

    @property
    def num_classes(self) -> int:
        if self.labels == 'none':
            return 0
        return max(self._own_classes) if self.labels == 'shared' else int(self._classes[-1])

    @property
    def scalars(self) -> tuple[str, ...]:
        """What the clips of every source tell of themselves."""
        first, *others = [getattr(source, 'scalars', ()) for source in self.sources]
        return tuple(name for name in first if all(name in told for told in others))

    @functools.cached_property
    def text_cache(self) -> TextCache | None:
        """The embeddings of a source whose clips have text, None where none has; all are of one encoder."""
        caches = [getattr(source, 'text_cache', None) for source in self.sources]
        self._one('the encoder of texts', [cache.fingerprint if cache else '' for cache in caches])
        return next(filter(None, caches), None)

    @functools.cached_property
    def drawn(self) -> int:
        """Numbers that what `told_of` tells of a clip hangs on: its source's number, and the source's own."""
        most = max(getattr(source, 'drawn', 0) for source in self.sources)
        return 1 + most if most else 0

    @property
    def told_of(self):
        """What a source tells of a clip with these clip['drawn'], by a generator; None where none tells anything."""
        return self._told_of if self.drawn else None

    def _told_of(self, drawn, rng):
        source = self.sources[int(drawn[0])]
        own = getattr(source, 'drawn', 0)
        text = no_text(self.text_cache.shape) if self.text_cache else {}
        return text | (source.told_of(drawn[1 : 1 + own], rng) if own else {})

    @property
    def latents(self) -> tuple[str, dict]:
        """(sha256 of the codec that made the latents, their shapes by those of the clips), as Records have it."""
        found = [
            self._ask(number, lambda source: getattr(source, 'latents', ('', {})))
            for number in range(len(self.sources))
        ]
        self._one('the codec of latents', [codec or 'none' for codec, _ in found])
        return found[0][0], {clip: shape for _, shapes in found for clip, shape in shapes.items()}

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def __getitem__(self, i: int) -> dict:
        """Clip i as evaluation sees it."""
        return self._clip(range(len(self))[i], lambda source, own: source[own])

    def draw(self, i: int, rng: np.random.Generator, *shape) -> dict:
        """Clip i as training sees it."""
        return self._clip(i, lambda source, own: source.draw(own, rng, *shape))

    def clip(self, i: int, shape: tuple[int, int, int]) -> dict:
        """Clip i as evaluation sees it, of (T, H, W)."""
        return self._clip(i, lambda source, own: source.clip(own, shape))

    def extents(self) -> np.ndarray:
        """What each clip has of frames, height and width: int64 (N, 3)."""
        return np.concatenate([self._ask(number, extents) for number in range(len(self.sources))])

    def order(self, batch: int, seed: int = 0, shuffle: bool = True) -> MixedOrder:
        """The order in which the clips are trained on."""
        return MixedOrder(len(self), batch, seed, shuffle, sizes=self._sizes, weights=self._shares)

    def among(self, ids: np.ndarray) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Of some of the clips (ids, ascending): how many each source has, and the sources' shares of all that is
        drawn, where every clip is drawn as often as in the whole mixture. Sources without any are left out.
        """
        counts = np.diff(np.searchsorted(ids, self._firsts))
        shares = np.array(self._shares) / sum(self._shares) * counts / self._sizes
        return tuple(counts[counts > 0].tolist()), tuple(shares[counts > 0].tolist())

    def test_split(self) -> 'Mixture':
        """The mixture of the test splits of those sources that have one, weighted alike; all of it where none has."""
        splits = [held_out_of(source) for source in self.sources]
        numbers = tuple(number for number, split in enumerate(splits) if split is not self.sources[number])
        if not numbers:
            return self

        def pick(items):
            return tuple(items[number] for number in numbers) if items else ()

        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields |= {'sources': pick(splits), 'weights': pick(self.weights)}
        return HeldOut(**fields, whole=self, numbers=numbers)

    def identity(self) -> str:
        """What a run that goes on must find again: what it is for each source, in turn."""
        return ' + '.join(self._ask(number, identity_of) for number in range(len(self.sources)))

    def counters(self) -> dict:
        """The sources' own, each under the source's number."""
        own = [getattr(source, 'counters', dict)() for source in self.sources]
        each = zip(self._numbers, own, strict=True)
        return {f'{number}/{name}': value for number, counted in each for name, value in counted.items()}

    def names(self) -> dict:
        """The sources' own, each name after the source's number."""
        found = {}
        for number, source in zip(self._numbers, self.sources, strict=True):
            for kind, names in getattr(source, 'names', dict)().items():
                found.setdefault(kind, []).extend(f'{number}: {name}' for name in names)
        return found

    def notes(self) -> list[str]:
        """Lines that the sources have to say when a run starts, each after the source's number."""
        lines = zip(self._numbers, (getattr(source, 'notes', list)() for source in self.sources), strict=True)
        return [f'{number}: {line}' for number, own in lines for line in own]

    def _clip(self, i, take):
        number = int(np.searchsorted(self._firsts, i, 'right')) - 1
        clip = self._ask(number, lambda source: take(source, i - int(self._firsts[number])))
        shift = {'apart': clip['label'] + self._classes[number], 'shared': clip['label'], 'none': 0}
        told = {'scalars': {name: clip['scalars'][name] for name in self.scalars}} if self.scalars else {}
        text = no_text(self.text_cache.shape) if self.text_cache else {}
        taken = {name: clip[name] for name in ('video', 'moments', *text) if name in clip}
        if self.drawn:
            own = clip.get('drawn', ())
            told['drawn'] = np.array([number, *own, *[0.0] * (self.drawn - 1 - len(own))])
        return text | taken | {'label': np.int32(shift[self.labels])} | told

    def _ask(self, number, question):
        """question(source), with the source named where it finds a mistake."""
        return ask(f'config.data.sources.{self._numbers[number]}', lambda: question(self.sources[number]))

    @property
    def _numbers(self):
        """Each source's number in the config."""
        return range(len(self.sources))

    @property
    def _shares(self):
        return self.weights or (1.0,) * len(self.sources)

    def _one(self, what: str, found: list[str]) -> None:
        """Raises: UserError where the sources found several, '' of one that has none."""
        if len(kinds := {value: number for number, value in zip(self._numbers, found, strict=True) if value}) > 1:
            (a, first), (b, second), *_ = kinds.items()
            raise UserError(f'config.data.sources: {what} is {a} of item {first} and {b} of item {second}; take one')

    @functools.cached_property
    def _sizes(self):
        return tuple(self._ask(number, len) for number in range(len(self.sources)))

    @functools.cached_property
    def _firsts(self):
        """The id of each source's first clip, and the number of all: int64 (sources + 1,)."""
        return np.cumsum((0, *self._sizes))

    @functools.cached_property
    def _classes(self):
        """Each source's first class, and the number of all."""
        return np.cumsum([0, *(max(classes, 1) for classes in self._own_classes)])

    @functools.cached_property
    def _own_classes(self):
        return tuple(self._ask(number, lambda source: source.num_classes) for number in range(len(self.sources)))


@dataclasses.dataclass(frozen=True)
class HeldOut(Mixture):
    """What a mixture holds out: the test splits of the sources of `whole` with these `numbers`, and its labels."""

    whole: Mixture | None = None
    numbers: tuple[int, ...] = ()

    @property
    def num_classes(self) -> int:
        return self.whole.num_classes

    def test_split(self) -> 'HeldOut':
        return self

    @property
    def _numbers(self):
        return self.numbers

    @functools.cached_property
    def _classes(self):
        return self.whole._classes[list(self.numbers)]
