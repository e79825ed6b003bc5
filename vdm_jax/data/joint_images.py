"""Clips with single images beside them, for training on both at once."""

import dataclasses
import functools
from typing import Annotated, ClassVar

import numpy as np

from vdm_jax.config.ranges import Between
from vdm_jax.data.order.buckets import BucketOrder
from vdm_jax.data.order.order import Order
from vdm_jax.data.source import Clip, Reader, Shape, Size, Source, WrappingSource, mistakes_at
from vdm_jax.data.video.extract_clip import ReadPlan
from vdm_jax.errors import UserError

# Where mistakes of either are.
CLIPS = 'config.data.clips'
IMAGES = 'config.data.images'


@dataclasses.dataclass(frozen=True)
class JointImages(WrappingSource):
    """The clips of one source, each with images drawn from another (VDM, Ho et al. 2022, sec. 4.2).

    An image is one frame, drawn at random, of a clip drawn at random; sets of images are clips of one frame. An item
    has 'images' uint8 (count, H, W, C) and 'image_label' int32 (count,) beside what `clips` gives; labels of both
    sources are taken as one numbering, and where one of them alone has classes, the other's are num_classes: no label.
    Scalars are those of the clips. In evaluation a clip's images are always the same. config.diffusion.image_weight
    says what they count.

    Attributes:
      clips: The source of the clips.
      images: The source of the images.
      count: Images beside each clip.

    Raises:
      UserError: images have another height, width or number of channels than the clips, or an order of their own (a
        mixture), which would be lost, or clips have images already.
    """

    clips: Source
    images: Source
    count: Annotated[int, Between(0, 1024)] = 8

    own_order: ClassVar[bool] = True
    joins_images: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.images.own_order:
            kind = type(self.images).__name__
            raise UserError(f'config.data.images is a {kind}, whose weights or images would be lost; name one source')
        if self.clips.bucketed:
            raise UserError(
                'config.data.clips is in buckets, whose clips are of several shapes; for images beside them give '
                'bucketed a mixture with a set of single frames, and a bucket of one frame'
            )
        if self.clips.joins_images:
            raise UserError('config.data.clips has images beside its clips already; name the source of its clips')
        clip = self.clips.shape[1:]
        image = self.images.shape[1:]
        if clip != image:
            raise UserError(f'config.data.images: height, width and channels are {image}, those of the clips {clip}')

    @property
    def shape(self) -> Shape:
        """(T, H, W, C) of the clips."""
        return self.clips.shape

    @property
    def images_per_clip(self) -> int:
        """How many images come beside each clip."""
        return self.count

    @property
    def parts(self) -> tuple[Source, ...]:
        """The sources of clips and images."""
        return self.clips, self.images

    def with_pixels(self, pixels: int | str) -> 'JointImages':
        """Return the same clips and images with frames of `pixels`."""
        return dataclasses.replace(self, clips=self.clips.with_pixels(pixels), images=self.images.with_pixels(pixels))

    def open(self) -> 'JointImagesReader':
        """Return a reader of both sources."""
        return JointImagesReader(self, self.clips.open(), self.images.open())


class JointImagesReader(Reader):
    """The clips of a JointImages: those of one reader, with images of another."""

    source: JointImages

    def __init__(self, source: JointImages, clips: Reader, images: Reader):
        super().__init__(source)
        self.clips = clips
        self.images = images

    def __len__(self) -> int:
        with mistakes_at(CLIPS):
            return len(self.clips)

    def __getitem__(self, i: int) -> Clip:
        count = self.source.count
        chosen = []
        with mistakes_at(IMAGES):
            size = len(self.images)
            for k in range(count):
                # Nothing is drawn in evaluation: clips take the images in turn.
                image = self.images[(i * count + k) % size]
                chosen.append((image['video'][0], image['label']))
        with mistakes_at(CLIPS):
            clip = self.clips[i]
        return self._join(clip, chosen)

    def draw(self, i: int, rng: np.random.Generator) -> Clip:
        with mistakes_at(CLIPS):
            clip = self.clips.draw(i, rng)
        chosen = []
        with mistakes_at(IMAGES):
            # `read_plans` draws in the same order, to foretell what is read here.
            for j in rng.integers(len(self.images), size=self.source.count):
                image = self.images.draw(int(j), rng)
                chosen.append((image['video'][rng.integers(len(image['video']))], image['label']))
        return self._join(clip, chosen)

    def read_plans(self, i: int, rng: np.random.Generator, size: Size | None = None) -> list[ReadPlan]:
        """Return what `draw` reads of video files, that of the clip first."""
        del size
        with mistakes_at(CLIPS):
            plans = self.clips.read_plans(i, rng)
        with mistakes_at(IMAGES):
            for j in rng.integers(len(self.images), size=self.source.count):
                plans += self.images.read_plans(int(j), rng)
                # Which of its frames `draw` takes: drawn here too, since what the next image draws depends on it.
                rng.integers(self.images.shape[0])
        return plans

    def _join(self, clip: Clip, chosen: list[tuple[np.ndarray, np.int32]]) -> Clip:
        # Filled in and not stacked: with count=0 there is nothing to stack.
        images = np.zeros((self.source.count, *self.shape[1:]), np.uint8)
        for k, (image, _) in enumerate(chosen):
            images[k] = image
        clip_classes, image_classes = self._classes
        labels = [label if image_classes else self.num_classes for _, label in chosen]
        label = clip['label'] if clip_classes else np.int32(self.num_classes)
        return clip | {'label': label, 'images': images, 'image_label': np.array(labels, np.int32)}

    @functools.cached_property
    def _classes(self) -> tuple[int, int]:
        """How many classes the clips have, and the images."""
        with mistakes_at(CLIPS):
            clips = self.clips.num_classes
        with mistakes_at(IMAGES):
            return clips, self.images.num_classes

    @property
    def num_classes(self) -> int:
        """Those of both, taken as one numbering."""
        return max(self._classes)

    @property
    def scalars(self) -> tuple[str, ...]:
        """Those of the clips."""
        return self.clips.scalars

    @property
    def reference(self) -> Reader:
        """The clips, without images."""
        return self.clips

    def held_out(self) -> Reader:
        """Return the held-out clips, beside held-out images."""
        clips = self.clips.held_out()
        images = self.images.held_out()
        if clips is self.clips and images is self.images:
            return self
        return self._with_readers(clips, images)

    def without_cache(self) -> Reader:
        """Return a reader of the same clips and images, of which no frames are kept in memory."""
        return self._with_readers(self.clips.without_cache(), self.images.without_cache())

    def _with_readers(self, clips: Reader, images: Reader) -> 'JointImagesReader':
        source = dataclasses.replace(self.source, clips=clips.source, images=images.source)
        return JointImagesReader(source, clips, images)

    def order(self, batch: int, seed: int = 0, shuffle: bool = True) -> Order | BucketOrder:
        """Return that of the clips."""
        with mistakes_at(CLIPS):
            return self.clips.order(batch, seed, shuffle)

    def identity(self) -> str:
        """Return both sources' identities."""
        with mistakes_at(CLIPS):
            clips = self.clips.identity()
        with mistakes_at(IMAGES):
            return f'{clips} with images of {self.images.identity()}'

    def counters(self) -> dict[str, int]:
        """Return what both sources count, that of the images under image_…."""
        images = {f'image_{name}': value for name, value in self.images.counters().items()}
        return self.clips.counters() | images

    def problem_files(self) -> dict[str, list[str]]:
        """Return the files that either could not take as they are."""
        images = {f'image_{kind}': names for kind, names in self.images.problem_files().items()}
        return self.clips.problem_files() | images

    def notes(self) -> list[str]:
        """Return the lines of both sources."""
        return [*self.clips.notes(), *self.images.notes()]
