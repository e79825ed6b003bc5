"""Clips with single images beside them, for training on both at once."""

import dataclasses

import numpy as np

from vdm_jax.data.order import order_of
from vdm_jax.data.source import Source, held_out_of
from vdm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class JointImages:
    """Every clip of `clips` with `count` images drawn from `images`, a source of its own (VDM, Ho et al. 2022, sec.
    4.2).

    An image is one frame, drawn at random, of a clip drawn at random; sets of images are clips of one frame. An item
    has 'images' uint8 (count, H, W, C) and 'image_label' int32 (count,) beside what `clips` gives; labels of both
    sources are taken as one numbering. In evaluation a clip's images are always the same. config.diffusion.image_weight
    says what they count.

    Raises: UserError for a negative count, or images of another height, width or number of channels than the clips.
    """

    clips: Source
    images: Source
    count: int = 8

    def __post_init__(self):
        if self.count < 0:
            raise UserError(f'config.data.count is {self.count}: set it to 0 or more')
        clip, image = self.clips.shape[1:], self.images.shape[1:]
        if clip != image:
            raise UserError(f'config.data.images: height, width and channels are {image}, those of the clips {clip}')

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> dict:
        chosen = [self.images[(i * self.count + k) % len(self.images)] for k in range(self.count)]
        return self.clips[i] | self._beside([(each['video'][0], each['label']) for each in chosen])

    def draw(self, i: int, rng: np.random.Generator) -> dict:
        clip, chosen = self.clips.draw(i, rng), []
        for j in rng.integers(len(self.images), size=self.count):
            each = self.images.draw(int(j), rng)
            chosen.append((each['video'][rng.integers(len(each['video']))], each['label']))
        return clip | self._beside(chosen)

    def _beside(self, chosen: list) -> dict:
        images = np.zeros((self.count, *self.clips.shape[1:]), np.uint8)
        for k, (image, _) in enumerate(chosen):
            images[k] = image
        return {'images': images, 'image_label': np.array([label for _, label in chosen], np.int32)}

    @property
    def scored(self) -> Source:
        """What samples are scored against: the clips."""
        return self.clips

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.clips.shape

    @property
    def num_classes(self) -> int:
        return max(self.clips.num_classes, self.images.num_classes)

    @property
    def frames(self) -> int:
        return self.clips.frames

    @property
    def pixels(self) -> int:
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
        return order_of(self.clips, batch, seed, shuffle)

    def identity(self) -> str:
        """Both sources' identities."""
        each = (getattr(source, 'identity', lambda s=source: str(len(s)))() for source in (self.clips, self.images))
        return ' with images of '.join(each)

    def counters(self) -> dict:
        """What both sources count, that of the images under image_…."""
        found = getattr(self.clips, 'counters', dict)()
        return found | {f'image_{name}': value for name, value in getattr(self.images, 'counters', dict)().items()}

    def names(self) -> dict:
        """The files that either could not take as they are."""
        found = getattr(self.clips, 'names', dict)()
        return found | {f'image_{kind}': names for kind, names in getattr(self.images, 'names', dict)().items()}
