"""Clips with single images beside them, for training on both at once."""

import dataclasses
import functools
from typing import Annotated

import numpy as np

from vdm_jax.data.order import order_of
from vdm_jax.data.source import Source, ask, held_out_of, identity_of
from vdm_jax.errors import UserError
from vdm_jax.ranges import Between, Ranged


@dataclasses.dataclass(frozen=True)
class JointImages(Ranged, where='config.data'):
    """Every clip of `clips` with `count` images drawn from `images`, a source of its own (VDM, Ho et al. 2022, sec.
    4.2).

    An image is one frame, drawn at random, of a clip drawn at random; sets of images are clips of one frame. An item
    has 'images' uint8 (count, H, W, C) and 'image_label' int32 (count,) beside what `clips` gives; labels of both
    sources are taken as one numbering, and where one of them alone has classes, the other's are num_classes: no label.
    Scalars are those of the clips. In evaluation a clip's images are always the same. config.diffusion.image_weight
    says what they count.

    Raises: UserError for images of another height, width or number of channels than the clips, a
    source of images with an order of its own (a mixture), which would be lost, or clips that have images already.
    """

    clips: Source
    images: Source
    count: Annotated[int, Between(0, 1024)] = 8

    def __post_init__(self):
        super().__post_init__()
        if hasattr(self.images, 'order'):
            kind = type(self.images).__name__
            raise UserError(f'config.data.images is a {kind}, whose weights or images would be lost; name one source')
        if hasattr(self.clips, 'alone'):
            raise UserError(
                'config.data.clips is in buckets, whose clips are of several shapes; for images beside them give '
                'bucketed a mixture with a set of single frames, and a bucket of one frame'
            )
        if hasattr(self.clips, 'scored'):
            raise UserError('config.data.clips has images beside its clips already; name the source of its clips')
        clip, image = self.clips.shape[1:], self.images.shape[1:]
        if clip != image:
            raise UserError(f'config.data.images: height, width and channels are {image}, those of the clips {clip}')

    def __len__(self) -> int:
        return self._ask('clips', len)

    def __getitem__(self, i: int) -> dict:
        size = self._ask('images', len)
        chosen = [self._ask('images', lambda s, k=k: s[(i * self.count + k) % size]) for k in range(self.count)]
        clip = self._ask('clips', lambda source: source[i])
        return self._beside(clip, [(each['video'][0], each['label']) for each in chosen])

    def draw(self, i: int, rng: np.random.Generator) -> dict:
        clip, chosen = self._ask('clips', lambda source: source.draw(i, rng)), []
        for j in rng.integers(self._ask('images', len), size=self.count):
            each = self._ask('images', lambda source, j=j: source.draw(int(j), rng))
            chosen.append((each['video'][rng.integers(len(each['video']))], each['label']))
        return self._beside(clip, chosen)

    def _beside(self, clip: dict, chosen: list) -> dict:
        images = np.zeros((self.count, *self.clips.shape[1:]), np.uint8)
        for k, (image, _) in enumerate(chosen):
            images[k] = image
        own, theirs = self._classes
        labels = [label if theirs else self.num_classes for _, label in chosen]
        label = clip['label'] if own else np.int32(self.num_classes)
        return clip | {'label': label, 'images': images, 'image_label': np.array(labels, np.int32)}

    def _ask(self, part: str, question):
        """question(source), with the part named where it finds a mistake."""
        return ask(f'config.data.{part}', lambda: question(getattr(self, part)))

    @functools.cached_property
    def _classes(self) -> tuple[int, int]:
        """How many classes the clips have, and the images."""
        return tuple(self._ask(part, lambda source: source.num_classes) for part in ('clips', 'images'))

    @property
    def scored(self) -> Source:
        """What samples are scored against: the clips."""
        return self.clips

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.clips.shape

    @property
    def num_classes(self) -> int:
        return max(self._classes)

    @property
    def scalars(self) -> tuple[str, ...]:
        return getattr(self.clips, 'scalars', ())

    @property
    def frames(self) -> int:
        return self.clips.frames

    @property
    def pixels(self) -> int | str:
        return self.clips.pixels

    @property
    def threads(self) -> int:
        return self.clips.threads

    @property
    def prefetch(self) -> int:
        return self.clips.prefetch

    def test_split(self) -> 'JointImages':
        return dataclasses.replace(self, clips=held_out_of(self.clips), images=held_out_of(self.images))

    def order(self, batch: int, seed: int = 0, shuffle: bool = True):
        return self._ask('clips', lambda source: order_of(source, batch, seed, shuffle))

    def identity(self) -> str:
        """Both sources' identities."""
        return ' with images of '.join(self._ask(part, identity_of) for part in ('clips', 'images'))

    def counters(self) -> dict:
        """What both sources count, that of the images under image_…."""
        found = getattr(self.clips, 'counters', dict)()
        return found | {f'image_{name}': value for name, value in getattr(self.images, 'counters', dict)().items()}

    def names(self) -> dict:
        """The files that either could not take as they are."""
        found = getattr(self.clips, 'names', dict)()
        return found | {f'image_{kind}': names for kind, names in getattr(self.images, 'names', dict)().items()}

    def notes(self) -> list[str]:
        """Lines that both sources have to say when a run starts."""
        return [*getattr(self.clips, 'notes', list)(), *getattr(self.images, 'notes', list)()]
