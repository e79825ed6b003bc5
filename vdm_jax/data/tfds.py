"""Sets that TensorFlow Datasets has prepared as ArrayRecord, read without TensorFlow."""

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from vdm_jax.config.frame_size import FrameSize, height_width
from vdm_jax.config.ranges import Ahead, Frames, Stride, Threads
from vdm_jax.data.counters import Tally
from vdm_jax.data.source import Clip, Reader, Shape, Size
from vdm_jax.data.video import decode, transforms
from vdm_jax.data.video.extract_clip import (
    CropMode,
    PixelAspect,
    ReadFrames,
    ReadPlan,
    VideoLike,
    extract_clip,
    place_clip,
    plan_clip,
)
from vdm_jax.data.video_source import VideoSource
from vdm_jax.errors import UserError, first_line
from vdm_jax.files import SMALL, check_regular, read_json

FILES = 'features.json', 'dataset_info.json'
APART = "set config.data.train='train[:90%]' and config.data.test='train[90%:]'"


@dataclasses.dataclass(frozen=True)
class Tfds(VideoSource):
    """Clips from a set that TensorFlow Datasets has prepared.

    A video may be frames, uint8 (T, H, W, C), where T and the size may differ from example to example; a list of
    images; one image, (H, W, C), which is a video of one frame; or the bytes of a video file (mp4, webm, gif, …), which
    need PyAV.

    Attributes:
      path: The folder that holds the set's dataset_info.json.
      channels: Of the data; 3 for the bytes of video files.
      short: What happens to a video too short for a clip: its last frame is held (hold), or it starts again (loop).
      start: Where a training clip begins: at a random frame, or at the first.
      pixel_aspect: Whether pixels of a video file that are not square are made so (square), or taken as they are
        (stored).
      video: The feature to read, 'a/b' for one inside another.
      label: A ClassLabel; none: all clips have the label 0.
      split: Whether `train`, `test` or both (all, which holds nothing out) are read.
      train: TFDS's name of a split or a slice of one, such as 'train[:90%]'; it may share no example with `test`.
      test: The same, such as 'validation'; '' where nothing is held out.
      threads: Of the loader, which decode clips.
      prefetch: Clips that the loader draws ahead.
    """

    movable_fields: ClassVar[tuple[str, ...]] = ('path', *VideoSource.movable_fields)

    path: str = ''
    frames: Frames = 16
    pixels: FrameSize = 64
    channels: Literal[1, 3] = 3
    stride: Stride = 1
    short: Literal['hold', 'loop'] = 'hold'  # no drop: how long a video is shows when it is read
    start: Literal['random', 'first'] = 'random'  # no center
    crop: CropMode = 'center'
    flip: bool = False
    pixel_aspect: PixelAspect = 'square'
    video: str = 'video'
    label: str | None = None
    split: Literal['all', 'train', 'test'] = 'train'
    train: str = 'train'
    test: str = 'test'
    threads: Threads = 4
    prefetch: Ahead = 16

    @property
    def shape(self) -> Shape:
        """(T, H, W, C) of a clip."""
        return self.frames, *height_width(self.pixels), self.channels

    def open(self) -> 'TfdsReader':
        """Return a reader of the set."""
        return TfdsReader(self)


class TfdsReader(Reader):
    """The clips of a Tfds: TFDS's own reader of its examples, and how many clips were filled up."""

    source: Tfds

    def __init__(self, source: Tfds):
        super().__init__(source)
        self._tally = Tally()
        self._options = source.clip_options

    @property
    def num_classes(self) -> int:
        """Those of the ClassLabel that is named; 0 for none."""
        label = self.source.label
        return int(self._feature('label', label).num_classes) if label is not None else 0

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, i: int) -> Clip:
        """Return the clip of evaluations: from the first frame, the centre, not mirrored."""
        return self._clip(range(len(self))[i], None)

    def draw(self, i: int, rng: np.random.Generator) -> Clip:
        """Draw the clip of training: from a random frame, with a random crop, mirrored, each as the config says."""
        # Always four numbers: no option moves what is drawn for another.
        return self._clip(i, rng.random(4))

    def identity(self) -> str:
        """Return how many clips there are, of which set and version, in how many bytes."""
        info = self._builder.info
        # TFDS keeps no hash of a set: two builds differ by how many examples and bytes they came to.
        shards = {name: split.shard_lengths for name, split in info.splits.items()}
        text = json.dumps([self._slice, shards, int(info.dataset_size)], sort_keys=True)
        return f'{len(self)} {info.full_name} {hashlib.sha256(text.encode()).hexdigest()[:16]}'

    def read_plans(self, i: int, rng: np.random.Generator, size: Size | None = None) -> list[ReadPlan]:
        """Return what `draw` reads of a video file; nothing of frames in a tensor."""
        del size
        chance = rng.random(4)
        with self._damage_of(i):
            plan, _ = self._plan(self._examples[i], chance)
        return [plan] if isinstance(plan.video, decode.Video) else []

    def counters(self) -> dict[str, int]:
        """Return how many clips so far had to be filled up, their videos being too short."""
        return self._tally.counts('short_clips')

    def _clip(self, i: int, chance: np.ndarray | None, examples: Sequence[dict[str, Any]] | None = None) -> Clip:
        with self._damage_of(i):
            example = (self._examples if examples is None else examples)[i]
            plan, read = self._plan(example, chance)
            clip = extract_clip(plan, read)
            # Other features do not leave with the clip: they may be bytes, whose last zeros numpy's arrays would eat.
            label = np.int32(_look_up(example, self.source.label) if self.source.label is not None else 0)
        self._tally.add(short_clips=plan.padded)
        return {'video': clip, 'label': label}

    def _plan(self, example: dict[str, Any], chance: np.ndarray | None) -> tuple[ReadPlan, ReadFrames]:
        """Return what is read for a clip of an example, and how."""
        value = _look_up(example, self.source.video)
        video, read = open_video(value, self.source.channels, self.source.pixel_aspect == 'square')
        return plan_clip(self._options, video, place_clip(self._options, chance)), read

    @contextlib.contextmanager
    def _damage_of(self, i: int) -> Iterator[None]:
        """Name the example in which damage is found."""
        try:
            yield
        except (UserError, MemoryError):
            raise
        # TFDS and what it decodes with have errors of many kinds for damage.
        except Exception as error:
            raise UserError(
                f'config.data.path={self.source.path}: {self.source.video!r} of example {i} of {self._slice}: '
                f'{first_line(error)}; prepare the set again with what it should be, or without it'
            ) from None

    def _slice_of(self, key: Literal['train', 'test']) -> str:
        """Return what config.data.KEY names."""
        return self.source.train if key == 'train' else self.source.test

    @property
    def _slice(self) -> str:
        """TFDS's name of what is read."""
        if self.source.split == 'test' and not self.source.test:
            raise UserError(f'config.data.test is empty: name a split; in a set with one only, {APART}')
        if self.source.split == 'all':
            return f'{self.source.train}+{self.source.test}'.strip('+')
        return self._slice_of(self.source.split)

    @functools.cached_property
    def _builder(self) -> Any:
        return open_builder(self.source.path)

    @functools.cached_property
    def _examples(self) -> Sequence[dict[str, Any]]:
        """A sequence of dicts; the first one is read, so that a mistake shows before a run begins."""
        self._feature('video', self.source.video)
        self._feature('label', self.source.label)
        splits = ', '.join(f'{name} ({split.num_examples})' for name, split in self._builder.info.splits.items())
        name = self._slice
        try:
            examples: Sequence[dict[str, Any]] = self._builder.as_data_source(name)
        except NotImplementedError:
            raise UserError(
                f'config.data.path={self.source.path} is not stored as ArrayRecord; prepare it with '
                "file_format='array_record'"
            ) from None
        # TFDS raises the one for a split that is not there, the other for a slice beyond its end.
        except (ValueError, AssertionError):
            key: Literal['train', 'test'] = 'test' if self.source.split == 'test' else 'train'
            raise UserError(
                f'config.data.{key}={self._slice_of(key)}: there is nothing to read by that name; the set has {splits}'
            ) from None
        except Exception as error:  # as above: of files that are missing or damaged
            reason = first_line(error)
            raise UserError(f'config.data.path={self.source.path} cannot be read: {reason}; prepare it again') from None

        # Training opens its held-out part as `split=test`, and is checked there.
        if self.source.split != 'train' and self.source.test:
            self._check_apart(splits)
        # The property has no value yet, so the examples are handed on.
        self._clip(0, None, examples)
        return examples

    def _check_apart(self, splits: str) -> None:
        """Check that the slices of training and test share no example: what is trained on must not be held out."""
        train = self._ranges('train', splits)
        test = self._ranges('test', splits)
        if any(_overlap(one, other) for one in train for other in test):
            raise UserError(
                f'config.data.train={self.source.train} and config.data.test={self.source.test} share examples; '
                f'{APART}, or take another split; the set has {splits}'
            )

    def _ranges(self, key: Literal['train', 'test'], splits: str) -> list[tuple[str, range]]:
        """Return the slices that config.data.KEY names: [(split, numbers of its examples)]."""
        import tensorflow_datasets as tfds

        infos = self._builder.info.splits
        try:
            slices = tfds.core.ReadInstruction.from_spec(self._slice_of(key)).to_absolute(infos)
        except ValueError:
            raise UserError(
                f'config.data.{key}={self._slice_of(key)}: there is nothing to read by that name; the set has {splits}'
            ) from None

        ranges = []
        for each in slices:
            stop = infos[each.splitname].num_examples if each.to is None else each.to
            ranges.append((each.splitname, range(each.from_ or 0, stop)))
        return ranges

    def _feature(self, key: str, name: str | None) -> Any:
        """Return the feature that config.data.KEY names, None for none.

        Raises:
          UserError: the set has no such feature, or it is to be a label and is no ClassLabel.
        """
        features = self._builder.info.features
        if name is None:
            return None
        try:
            feature = _look_up(features, name)
        except (KeyError, TypeError):
            raise UserError(
                f'config.data.{key}={name}: the set has no such feature; it has {", ".join(features)}'
            ) from None
        # TFDS has features of many kinds: those of classes alone know how many there are.
        if key == 'label' and not getattr(feature, 'num_classes', None):
            kind = type(feature).__name__
            raise UserError(f'config.data.label={name}: it is a {kind}, not a ClassLabel; name another')
        return feature


def _overlap(one: tuple[str, range], other: tuple[str, range]) -> bool:
    """Whether two slices, each (split, numbers of its examples), share an example."""
    same_split = one[0] == other[0]
    return same_split and one[1].start < other[1].stop and other[1].start < one[1].stop


@dataclasses.dataclass(frozen=True, eq=False)
class FrameSequence:
    """A video that is already decoded.

    Attributes:
      images: uint8 frames (H, W, C), one by one.
    """

    images: Sequence[np.ndarray] | np.ndarray

    @property
    def frames(self) -> int:
        return len(self.images)

    @property
    def height(self) -> int:
        return int(self.images[0].shape[0])

    @property
    def width(self) -> int:
        return int(self.images[0].shape[1])

    def read(self, indices: np.ndarray, height: int, width: int) -> np.ndarray:
        """Return the frames with these numbers, resized: uint8 (len(indices), height, width, C)."""
        images = [self.images[i] for i in indices]
        return np.stack([transforms.resize(image, height, width) for image in images])  # type: ignore[no-untyped-call]


def open_video(value: Any, channels: int, square: bool = True) -> tuple[VideoLike, ReadFrames]:
    """Return what is known of a video, and how its frames are read.

    Args:
      value: Of a feature: frames, images, an image, or the bytes of a video file.
      channels: That it must have.
      square: Whether pixels of a video file that are not square are made so.

    Raises:
      BrokenVideoError, ValueError: it does not decode, or is not what can be read.
    """
    if isinstance(value, bytes):
        if channels != 3:
            raise ValueError(f'video files have 3 channels, config.data.channels is {channels}')
        video = decode.probe(value, square=square)
        return video, functools.partial(decode.read, video)

    images = value if isinstance(value, list) else np.asarray(value)
    if isinstance(images, np.ndarray) and images.ndim < 4:
        images = images[None]
    if not len(images):
        raise ValueError('it has no frame')
    first = np.asarray(images[0])
    if first.dtype != np.uint8 or first.ndim != 3 or first.shape[2] != channels or 0 in first.shape:
        raise ValueError(
            f'frames are {first.dtype} {first.shape}, want uint8 (height, width, {channels}); see config.data.channels'
        )
    sequence = FrameSequence(images)
    return sequence, sequence.read


def open_builder(path: str) -> Any:
    """Return TFDS's reader of a prepared set.

    features.json says which Python classes decode it, and TFDS imports any that it names: only TFDS's own are let in.

    Raises:
      UserError: no set in that folder, one that needs TensorFlow, or one with classes of other packages.
    """
    import tensorflow_datasets as tfds

    if not path:
        raise UserError('config.data.path is empty; set it to a prepared set, such as DIR/name/1.0.0')
    folder = tfds.core.Path(path)
    try:
        for name in FILES:
            check_regular(folder / name, SMALL, called=name)
        # A pipe among them would be waited for without end.
        for file in folder.iterdir():
            if not file.is_dir():
                check_regular(file, called=file.name)
        features = read_json(folder / 'features.json', called='features.json')
    except UserError as error:
        raise UserError(
            f'config.data.path={path} holds no prepared set ({error}); set it to the folder of its features.json, such '
            'as DIR/name/1.0.0'
        ) from None

    strange = sorted(name for name in _class_names(features) if not name.startswith('tensorflow_datasets.'))
    if strange:
        raise UserError(f'config.data.path={path}: features.json names {strange[0]}, which is none of TFDS itself')
    try:
        return tfds.builder_from_directory(folder)
    except ImportError as error:
        raise UserError(
            f'config.data.path={path} needs {error.name or "TensorFlow"} to be read (as tfds.features.Video does); '
            'prepare it with frames as a Tensor, or with the bytes of video files'
        ) from None
    except Exception as error:  # TFDS has errors of many kinds for files that are not what they should be
        raise UserError(f'config.data.path={path} cannot be read: {first_line(error)}') from None


def _class_names(features: Any) -> Iterator[str]:
    """Yield the name of every Python class in features.json."""
    if isinstance(features, dict):
        for key, value in features.items():
            # TFDS reads these files as protobuf's JSON, which takes either spelling; earlier versions wrote 'type'.
            if key in ('pythonClassName', 'python_class_name', 'type') and isinstance(value, str):
                yield value
            yield from _class_names(value)
    elif isinstance(features, list):
        for value in features:
            yield from _class_names(value)


def _look_up(tree: Any, name: str) -> Any:
    """Return what lies at a name, 'a/b' inside of 'a'."""
    for part in name.split('/'):
        tree = tree[part]
    return tree
