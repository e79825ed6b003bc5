"""Sets that TensorFlow Datasets has prepared as ArrayRecord, read without TensorFlow."""

import dataclasses
import functools
import hashlib
import json
from typing import Any, Literal

import numpy as np

from vdm_jax.data import transforms
from vdm_jax.data.cut import cut
from vdm_jax.data.tally import Tally
from vdm_jax.data.video import decode
from vdm_jax.errors import UserError, first_line
from vdm_jax.files import SMALL, check_regular, read_json
from vdm_jax.frame_size import FrameSize, height_width, read_pixels
from vdm_jax.ranges import Ahead, Frames, Ranged, Stride, Threads

FILES = 'features.json', 'dataset_info.json'
APART = "set config.data.train='train[:90%]' and config.data.test='train[90%:]'"


@dataclasses.dataclass(frozen=True)
class Tfds(Ranged, where='config.data'):
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
    short: Literal['hold', 'loop'] = 'hold'
    start: Literal['random', 'first'] = 'random'
    crop: Literal['center', 'random'] = 'center'
    flip: bool = False
    pixel_aspect: Literal['square', 'stored'] = 'square'
    video: str = 'video'
    label: str | None = None
    split: Literal['all', 'train', 'test'] = 'train'
    train: str = 'train'
    test: str = 'test'
    threads: Threads = 4
    prefetch: Ahead = 16

    fps = None  # not a field: frames in a tensor have no times

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, 'pixels', read_pixels(self.pixels))
        object.__setattr__(self, '_tally', Tally())

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.frames, *height_width(self.pixels), self.channels

    @property
    def num_classes(self) -> int:
        return self._feature('label', self.label).num_classes if self.label is not None else 0

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, i: int) -> dict:
        """The clip of evaluations: from the first frame, the centre, not mirrored."""
        return self._clip(range(len(self))[i], None)

    def draw(self, i: int, rng: np.random.Generator) -> dict:
        """The clip of training: from a random frame, with a random crop, mirrored at random, each where asked for."""
        return self._clip(i, rng.random(4))

    def identity(self) -> str:
        """What a run that goes on must find again: how many clips, of which set and version, in how many bytes."""
        info = self._builder.info
        shards = {name: split.shard_lengths for name, split in info.splits.items()}
        written = json.dumps([self._slice, shards, int(info.dataset_size)], sort_keys=True)
        return f'{len(self)} {info.full_name} {hashlib.sha256(written.encode()).hexdigest()[:16]}'

    def counters(self) -> dict[str, int]:
        """Clips so far that had to be filled up, their videos being too short."""
        return self._tally.counts('short_clips')

    def _clip(self, i, chance, examples=None):
        try:
            example = (self._examples if examples is None else examples)[i]
            video, read = opened(_inside(example, self.video), self.channels, self.pixel_aspect == 'square')
            clip, padded = cut(self, video, read, chance)
            # Other features do not leave with the clip: they may be bytes, whose last zeros numpy's arrays would eat.
            label = np.int32(_inside(example, self.label) if self.label is not None else 0)
        except (UserError, MemoryError):
            raise
        except Exception as error:  # TFDS and what it decodes with have errors of many kinds for damage
            raise UserError(
                f'config.data.path={self.path}: {self.video!r} of example {i} of {self._slice}: {first_line(error)}; '
                'prepare the set again with what it should be, or without it'
            ) from None
        self._tally.add(short_clips=padded)
        return {'video': clip, 'label': label}

    @property
    def _slice(self):
        """TFDS's name of what is read."""
        if self.split == 'test' and not self.test:
            raise UserError(f'config.data.test is empty: name a split; in a set with one only, {APART}')
        return {'train': self.train, 'test': self.test, 'all': f'{self.train}+{self.test}'.strip('+')}[self.split]

    @functools.cached_property
    def _builder(self):
        return builder(self.path)

    @functools.cached_property
    def _examples(self):
        """A sequence of dicts; the first one is looked at, so that a mistake is found before a run begins."""
        for key in ('video', 'label'):
            self._feature(key, getattr(self, key))
        splits = ', '.join(f'{name} ({split.num_examples})' for name, split in self._builder.info.splits.items())
        wanted = self._slice
        try:
            examples = self._builder.as_data_source(wanted)
        except NotImplementedError:
            raise UserError(
                f"config.data.path={self.path} is not stored as ArrayRecord; prepare it with file_format='array_record'"
            ) from None
        except (ValueError, AssertionError):
            key = 'test' if self.split == 'test' else 'train'
            raise UserError(
                f'config.data.{key}={getattr(self, key)}: there is nothing to read by that name; the set has {splits}'
            ) from None
        except Exception as error:  # as above: of files that are missing or damaged
            why = first_line(error)
            raise UserError(f'config.data.path={self.path} cannot be read: {why}; prepare it again') from None
        if self.split != 'train' and self.test:
            self._check_apart(splits)
        self._clip(0, None, examples)
        return examples

    def _check_apart(self, splits):
        """Training's slice and that of the test must share no example, or what was trained on would be held out."""
        train, test = self._ranges('train', splits), self._ranges('test', splits)
        if any(a.start < b.stop and b.start < a.stop for name, a in train for other, b in test if name == other):
            raise UserError(
                f'config.data.train={self.train} and config.data.test={self.test} share examples; {APART}, or take '
                f'another split; the set has {splits}'
            )

    def _ranges(self, key, splits):
        """[(split, numbers of its examples)] of the slices that config.data.KEY names."""
        import tensorflow_datasets as tfds

        found = self._builder.info.splits
        try:
            slices = tfds.core.ReadInstruction.from_spec(getattr(self, key)).to_absolute(found)
        except ValueError:
            raise UserError(
                f'config.data.{key}={getattr(self, key)}: there is nothing to read by that name; the set has {splits}'
            ) from None
        sizes = [found[each.splitname].num_examples for each in slices]
        return [
            (each.splitname, range(each.from_ or 0, size if each.to is None else each.to))
            for each, size in zip(slices, sizes, strict=True)
        ]

    def _feature(self, key, name):
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
        if key == 'label' and not getattr(found, 'num_classes', None):
            raise UserError(f'config.data.label={name}: it is a {type(found).__name__}, not a ClassLabel; name another')
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class Frames:
    """A video that is already decoded: uint8 frames (H, W, C), one by one."""

    images: Any

    @property
    def frames(self):
        return len(self.images)

    @property
    def height(self):
        return self.images[0].shape[0]

    @property
    def width(self):
        return self.images[0].shape[1]

    def read(self, indices, height, width):
        """The frames with these numbers, resized: uint8 (len(indices), height, width, C)."""
        return np.stack([transforms.resize(self.images[i], height, width) for i in indices])


def opened(value, channels: int, square: bool = True):
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
    video = Frames(images)
    return video, video.read


def builder(path: str):
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


def _classes(features):
    """Every Python class that features.json names."""
    if isinstance(features, dict):
        for key, value in features.items():
            if key in ('pythonClassName', 'python_class_name', 'type') and isinstance(value, str):
                yield value
            yield from _classes(value)
    elif isinstance(features, list):
        for value in features:
            yield from _classes(value)


def _inside(tree, name):
    for part in name.split('/'):
        tree = tree[part]
    return tree
