"""Sets that TensorFlow Datasets has prepared as ArrayRecord, read without TensorFlow."""

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np

from vdm_jax.config.frame_size import FrameSize, height_width
from vdm_jax.config.ranges import Ahead, Frames, Stride, Threads
from vdm_jax.data.counters import Tally
from vdm_jax.data.source import Clip, Reader, Shape, Size
from vdm_jax.data.video import decode, transforms
from vdm_jax.data.video.extract_clip import (
    Crop,
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
    """Clips of `frames` frames of `pixels` (a side, or HEIGHTxWIDTH), from a prepared set: the folder that holds its
    dataset_info.json.

    `video` names the feature to read ('a/b' for one inside another). It may be frames, uint8 (T, H, W, C), where T and
    the size may differ from example to example; a list of images; one image, (H, W, C), which is a video of one frame;
    or the bytes of a video file (mp4, webm, gif, …), which need PyAV. `channels` must be the data's, 3 for bytes.
    `label` names a ClassLabel, or nothing.

    `train` and `test` are TFDS's names of splits or slices of them ('train[:90%]', 'validation'); `split` says which of
    the two is read, or both ('all', which holds nothing out; test='' where the set has one split only). They may share
    no example.
    `stride`, `short`, `start`, `crop`, `flip` and `pixel_aspect` mean what they mean for a folder of videos.

    Raises: UserError, naming config.data.KEY or the example.
    """

    path: str = ''
    frames: Frames = 16
    pixels: FrameSize = 64
    channels: Literal[1, 3] = 3
    stride: Stride = 1
    short: Literal['hold', 'loop'] = 'hold'  # no drop: how long a video is shows when it is read
    start: Literal['random', 'first'] = 'random'  # no center
    crop: Crop = 'center'
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
        return self._feature('label', label).num_classes if label is not None else 0

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, i: int) -> Clip:
        """Return the clip of evaluations: from the first frame, the centre, not mirrored."""
        return self._clip(range(len(self))[i], None)

    def draw(self, i: int, rng: np.random.Generator) -> Clip:
        """Draw the clip of training: from a random frame, with a random crop, mirrored, each where asked for."""
        return self._clip(i, rng.random(4))

    def identity(self) -> str:
        """Return how many clips there are, of which set and version, in how many bytes."""
        info = self._builder.info
        shards = {name: split.shard_lengths for name, split in info.splits.items()}
        written = json.dumps([self._slice, shards, int(info.dataset_size)], sort_keys=True)
        return f'{len(self)} {info.full_name} {hashlib.sha256(written.encode()).hexdigest()[:16]}'

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
            label = np.int32(_inside(example, self.source.label) if self.source.label is not None else 0)
        self._tally.add(short_clips=plan.padded)
        return {'video': clip, 'label': label}

    def _plan(self, example: dict[str, Any], chance: np.ndarray | None) -> tuple[ReadPlan, ReadFrames]:
        """Return what is read for a clip of an example, and how."""
        value = _inside(example, self.source.video)
        video, read = opened(value, self.source.channels, self.source.pixel_aspect == 'square')
        return plan_clip(self._options, video, place_clip(self._options, chance)), read

    @contextlib.contextmanager
    def _damage_of(self, i: int) -> Iterator[None]:
        """Name the example in which damage is found."""
        try:
            yield
        except (UserError, MemoryError):
            raise
        except Exception as error:  # TFDS and what it decodes with have errors of many kinds for damage
            raise UserError(
                f'config.data.path={self.source.path}: {self.source.video!r} of example {i} of {self._slice}: '
                f'{first_line(error)}; prepare the set again with what it should be, or without it'
            ) from None

    def _named(self, key: Literal['train', 'test']) -> str:
        """What config.data.KEY names."""
        return self.source.train if key == 'train' else self.source.test

    @property
    def _slice(self) -> str:
        """TFDS's name of what is read."""
        if self.source.split == 'test' and not self.source.test:
            raise UserError(f'config.data.test is empty: name a split; in a set with one only, {APART}')
        train, test = self.source.train, self.source.test
        return {'train': train, 'test': test, 'all': f'{train}+{test}'.strip('+')}[self.source.split]

    @functools.cached_property
    def _builder(self) -> Any:
        return builder(self.source.path)

    @functools.cached_property
    def _examples(self) -> Sequence[dict[str, Any]]:
        """A sequence of dicts; the first one is looked at, so that a mistake is found before a run begins."""
        self._feature('video', self.source.video)
        self._feature('label', self.source.label)
        splits = ', '.join(f'{name} ({split.num_examples})' for name, split in self._builder.info.splits.items())
        wanted = self._slice
        try:
            examples = self._builder.as_data_source(wanted)
        except NotImplementedError:
            raise UserError(
                f'config.data.path={self.source.path} is not stored as ArrayRecord; prepare it with '
                "file_format='array_record'"
            ) from None
        except (ValueError, AssertionError):
            key: Literal['train', 'test'] = 'test' if self.source.split == 'test' else 'train'
            raise UserError(
                f'config.data.{key}={self._named(key)}: there is nothing to read by that name; the set has {splits}'
            ) from None
        except Exception as error:  # as above: of files that are missing or damaged
            why = first_line(error)
            raise UserError(f'config.data.path={self.source.path} cannot be read: {why}; prepare it again') from None
        if self.source.split != 'train' and self.source.test:
            self._check_apart(splits)
        self._clip(0, None, examples)
        return examples

    def _check_apart(self, splits: str) -> None:
        """Training's slice and that of the test must share no example, or what was trained on would be held out."""
        train, test = self._ranges('train', splits), self._ranges('test', splits)
        if any(a.start < b.stop and b.start < a.stop for name, a in train for other, b in test if name == other):
            raise UserError(
                f'config.data.train={self.source.train} and config.data.test={self.source.test} share examples; '
                f'{APART}, or take another split; the set has {splits}'
            )

    def _ranges(self, key: Literal['train', 'test'], splits: str) -> list[tuple[str, range]]:
        """[(split, numbers of its examples)] of the slices that config.data.KEY names."""
        import tensorflow_datasets as tfds

        found = self._builder.info.splits
        try:
            slices = tfds.core.ReadInstruction.from_spec(self._named(key)).to_absolute(found)
        except ValueError:
            raise UserError(
                f'config.data.{key}={self._named(key)}: there is nothing to read by that name; the set has {splits}'
            ) from None
        sizes = [found[each.splitname].num_examples for each in slices]
        return [
            (each.splitname, range(each.from_ or 0, size if each.to is None else each.to))
            for each, size in zip(slices, sizes, strict=True)
        ]

    def _feature(self, key: str, name: str | None) -> Any:
        """The feature that config.data.KEY names; a label must say how many classes there are."""
        features = self._builder.info.features
        if name is None:
            return None
        try:
            found = _inside(features, name)
        except (KeyError, TypeError):
            raise UserError(
                f'config.data.{key}={name}: the set has no such feature; it has {", ".join(features)}'
            ) from None
        # TFDS has features of many kinds: those of classes alone know how many there are.
        if key == 'label' and not getattr(found, 'num_classes', None):
            raise UserError(f'config.data.label={name}: it is a {type(found).__name__}, not a ClassLabel; name another')
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class FrameSequence:
    """A video that is already decoded: uint8 frames (H, W, C), one by one."""

    images: Any

    @property
    def frames(self) -> int:
        return len(self.images)

    @property
    def height(self) -> int:
        return self.images[0].shape[0]

    @property
    def width(self) -> int:
        return self.images[0].shape[1]

    def read(self, indices: np.ndarray, height: int, width: int) -> np.ndarray:
        """The frames with these numbers, resized: uint8 (len(indices), height, width, C)."""
        return np.stack([transforms.resize(self.images[i], height, width) for i in indices])


def opened(value: Any, channels: int, square: bool = True) -> tuple[VideoLike, ReadFrames]:
    """(what is known of a video, how its frames are read) for the value of a feature.

    square: whether pixels of a video file that are not square are made so.

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


def builder(path: str) -> Any:
    """TFDS's reader of a prepared set.

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
        for file in folder.iterdir():  # a pipe among them would be waited for without end
            if not file.is_dir():
                check_regular(file, called=file.name)
        features = read_json(folder / 'features.json', called='features.json')
    except UserError as error:
        raise UserError(
            f'config.data.path={path} holds no prepared set ({error}); set it to the folder of its features.json, such '
            'as DIR/name/1.0.0'
        ) from None
    if strange := sorted(name for name in _classes(features) if not name.startswith('tensorflow_datasets.')):
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


def _classes(features: Any) -> Iterator[str]:
    """Every Python class that features.json names."""
    if isinstance(features, dict):
        for key, value in features.items():
            if key in ('pythonClassName', 'python_class_name', 'type') and isinstance(value, str):
                yield value
            yield from _classes(value)
    elif isinstance(features, list):
        for value in features:
            yield from _classes(value)


def _inside(tree: Any, name: str) -> Any:
    for part in name.split('/'):
        tree = tree[part]
    return tree
