"""Moving MNIST, made on the fly from MNIST's digits: a few digits wander over a black square (Srivastava et al. 2015).

In a picture that is not square the free room is as much wider or higher, and so are the steps of `bounce`.

Two sets of rules, each that of the code behind published numbers:
bounce      OpenSTL (Tan et al. 2023, openstl/datasets/dataloader_moving_mnist.py): 28-pixel digits start anywhere, in
            any direction, and go a tenth of the free room (64 - 28 = 36 pixels, so 3.6) a frame; whoever reaches a
            border stops on it and comes back mirrored; positions are cut to whole pixels; where digits overlap the
            brighter pixel shows. The first frame is one step after the start.
stochastic  SVG (Denton & Fergus 2018, arXiv:1802.07687, data/moving_mnist.py): digits are enlarged to 32 pixels and
            go a whole number of pixels a frame, -4 to 4 along each axis; whoever leaves the room is put back on its
            border and goes on with a new random velocity, away from that border; overlaps add up, to white at most.
"""

import dataclasses
import functools
import hashlib
import os
from typing import Annotated, ClassVar, Literal

import numpy as np

from vdm_jax.config.frame_size import FrameSize, height_width, read_pixels
from vdm_jax.config.ranges import Ahead, Between, Clips, Frames, Threads
from vdm_jax.data.order.order import permutation
from vdm_jax.data.source import Clip, Reader, Shape, Source
from vdm_jax.data.worlds import mnist_idx
from vdm_jax.errors import UserError

SIDE = {'bounce': 28, 'stochastic': 32}  # pixels of a digit as it is drawn
STEP = 0.1  # of the free room, a frame
FASTEST = 4  # pixels a frame along each axis, of stochastic motion
FILES = {'train': 'train-images-idx3-ubyte', 'test': 't10k-images-idx3-ubyte'}
SPLIT = 't10k-8000-2000'  # of all of the test file's digits


@dataclasses.dataclass(frozen=True)
class Truth:
    """What is behind one clip of T frames with N digits.

    Attributes:
      digits: (N,) which images of their file.
      positions: (T, N, 2) x and y of the upper left corner in pixels; drawn at the whole number below.
    """

    digits: np.ndarray
    positions: np.ndarray


@dataclasses.dataclass(frozen=True)
class MovingMNIST(Source):
    """Clips of Moving MNIST, made on the fly: clip i is a pure function of (digits, seed, split, i).

    No digit is in both splits. With both files, training clips show the first file's digits and test clips the
    second's, as OpenSTL has it; with one file, a fixed permutation of its digits gives four fifths to training and the
    rest to test. That is another task than the published one, so results carry `digits` in their names.

    Published training draws fresh clips for ever: `size` is as many as OpenSTL's 200 epochs draw, none of them twice.
    Published test clips are one stored file (from the authors' site); ours are of the same law, not the same clips.

    Attributes:
      path: A folder with MNIST's train-images-idx3-ubyte and t10k-images-idx3-ubyte, or one of them, .gz or not.
      frames: Frames of a clip.
      pixels: Size of a frame.
      motion: Whose rules digits move by: OpenSTL's (bounce) or SVG's (stochastic).
      count: Digits in a clip, drawn with replacement.
      size: Clips of the training split.
      test_size: Clips of the test split.
      seed: Of the clips.
      split: Which clips these are.
      threads: Of the loader; drawing is Python: with more it takes as long, and twice the work.
      prefetch: Clips that the loader draws ahead.

    Raises:
      UserError: digits have no room; it names config.data.KEY.
    """

    movable_fields: ClassVar[tuple[str, ...]] = ('path', *Source.movable_fields)

    path: str = ''
    frames: Frames = 20
    pixels: FrameSize = 64
    motion: Literal['bounce', 'stochastic'] = 'bounce'
    count: Annotated[int, Between(1, 1000)] = 2
    size: Clips = 2_000_000
    test_size: Clips = 10_000
    seed: Annotated[int, Between(0, 2**62 - 1)] = 0  # with the split it makes one word of 64 bits
    split: Literal['train', 'test'] = 'train'
    threads: Threads = 0
    prefetch: Ahead = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, 'pixels', read_pixels(self.pixels))
        least = SIDE[self.motion] + 2 * FASTEST
        if min(height_width(self.pixels)) < least:
            raise UserError(f'config.data.pixels={self.pixels}: digits would have no room: want {least} or more')

    @property
    def shape(self) -> Shape:
        """(T, H, W, 1) of a clip."""
        return self.frames, *height_width(self.pixels), 1

    def open(self) -> 'MovingMNISTReader':
        """Return a reader, which reads all digits when the first clip is asked for."""
        return MovingMNISTReader(self)


class MovingMNISTReader(Reader):
    """The clips of a MovingMNIST, and the digits that they are made of. They have no label."""

    source: MovingMNIST

    @property
    def digits(self) -> str:
        """Which file, and how many of its digits training and test have: 't10k-8000-2000'; '60000-10000' of both."""
        return self._pool.name

    @property
    def title(self) -> str:
        """What results on this source are called; it says count and pixels where they are not 2 and 64.

        Made from t10k alone, the digits of training and test are both from the file that the published task tests with:
        hence a name of its own for that split.
        """
        source = self.source
        count = f'-{source.count}digits' if source.count != 2 else ''
        side = f'-{source.pixels}px' if source.pixels != 64 else ''
        task = 'mmnist' if source.motion == 'bounce' else 'smmnist'
        split = f'openstl_{task}_t10k_split' if self.digits == SPLIT else f'{task}-{self.digits}'
        return f'{split}{count}{side}'

    def identity(self) -> str:
        """Return how many clips there are, and of which digits."""
        return f'{len(self)} {self.digits} {self._pool.sha256}'

    def __len__(self) -> int:
        self._pool  # noqa: B018, so that missing files are found before a run begins
        return self.source.size if self.source.split == 'train' else self.source.test_size

    def __getitem__(self, i: int) -> Clip:
        digits, positions = self._make_scene(i)
        corners_NT2 = positions.astype(np.int64).transpose(1, 0, 2)
        video_THW = np.zeros(self.shape[:3], np.uint8)
        side = SIDE[self.source.motion]
        for digit, corners in zip(digits, corners_NT2, strict=True):
            image = self._pool.images[digit]
            if self.source.motion == 'stochastic':
                image = _resize(image, side)
            for frame, (x, y) in zip(video_THW, corners, strict=True):
                # A view of the frame, so that the digit is drawn into it.
                under = frame[y : y + side, x : x + side]
                if self.source.motion == 'bounce':
                    np.maximum(under, image, out=under)
                else:
                    under += np.minimum(image, 255 - under)
        return {'video': video_THW[..., None], 'label': np.int32(0)}

    def draw(self, i: int, rng: np.random.Generator) -> Clip:
        """Return what training sees of clip i. Nothing is augmented here: rng is not used."""
        del rng
        return self[i]

    def truth(self, i: int) -> Truth:
        """Return which digits clip i shows, and where."""
        digits, positions = self._make_scene(i)
        return Truth(digits, positions)

    def _make_scene(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return which digits of the file clip i shows (N,), and their corners (x, y), (T, N, 2)."""
        source = self.source
        if not 0 <= i < len(self):
            raise IndexError(f'clip {i} of {len(self)} in the {source.split} split')

        # Raw Philox words, whose values numpy promises for ever; other keys are other streams, so no state is kept.
        philox = np.random.Philox(key=[2 * source.seed + (source.split == 'test'), i])
        # All that either motion may take, so that both show the same digits from the same starts.
        words = philox.random_raw(source.count * (5 + 4 * source.frames))
        # In [0, 1), with the 53 bits of a float64.
        uniform = (words >> 11) * 2.0**-53
        which, start, turns = np.split(uniform.reshape(source.count, -1), (1, 5), axis=1)

        height, width = height_width(source.pixels)
        room = np.array([width, height]) - SIDE[source.motion]
        if source.motion == 'bounce':
            positions = bounce(start[:, :2], 2 * np.pi * start[:, 2], source.frames) * room
        else:
            positions = wander(start, turns.reshape(source.count, source.frames, 2, 2), room)

        ids = self._pool.ids
        return ids[(which[:, 0] * len(ids)).astype(np.int64)], positions

    @functools.cached_property
    def _pool(self) -> 'Pool':
        return read_pool(self.source.path, self.source.split)


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """The digits that clips of one split are made of.

    Attributes:
      name: [file-]training-test, the numbers of digits.
      images: uint8 (M, 28, 28), of a whole file.
      ids: Which of them are this split's.
      sha256: Its first 16 digits, of all images of both splits.
    """

    name: str
    images: np.ndarray
    ids: np.ndarray
    sha256: str


def read_pool(path: str, split: str) -> Pool:
    """Read the digits of a split: one of the two files of the folder `path`, or a part of the only one there.

    Raises:
      UserError: no folder, neither file in it, or a file that is not what its name says.
    """
    if not os.path.isdir(path):
        problem = f'={path} is no folder' if path else ' is empty'
        raise UserError(f'config.data.path{problem}; set it to a folder with {" and ".join(FILES.values())} (or .gz)')

    paths = {kind: file for kind, name in FILES.items() if (file := mnist_idx.find_file(path, name))}
    if not paths:
        raise UserError(f'config.data.path={path} holds neither {" nor ".join(FILES.values())}, plain or .gz')
    images_of = {kind: mnist_idx.read_images(file) for kind, file in paths.items()}
    # Of both files, also where one is read: what is held out belongs to a run, too.
    digest = hashlib.sha256(b''.join(images.tobytes() for images in images_of.values())).hexdigest()[:16]

    if len(images_of) == 2:
        images = images_of[split]
        name = f'{len(images_of["train"])}-{len(images_of["test"])}'
        return Pool(name, images, np.arange(len(images)), digest)

    ((kind, images),) = images_of.items()
    if len(images) < 2:
        raise UserError(f'{paths[kind]} holds one digit, and training and test share none; use the whole file')
    # Whatever the seed of the clips: the digits of the test split are the same in every run.
    order = permutation(len(images), 0, 0)
    num_train = max(len(images) * 4 // 5, 1)
    name = f'{FILES[kind].partition("-")[0]}-{num_train}-{len(images) - num_train}'
    return Pool(name, images, order[:num_train] if split == 'train' else order[num_train:], digest)


def bounce(start: np.ndarray, angle: np.ndarray, frames: int) -> np.ndarray:
    """Return how digits move by OpenSTL's rules.

    A digit stops on the border it reaches, so that the last step before a turn is a short one.

    Args:
      start: (N, 2) corners in [0, 1] of the free room.
      angle: (N,) directions in radians.
      frames: How many.

    Returns:
      Corners (T, N, 2) in [0, 1] of the free room.
    """
    corner = start.copy()
    step = STEP * np.stack([np.cos(angle), np.sin(angle)], -1)
    corners = np.empty((frames, *start.shape))
    for t in range(frames):
        corner += step
        step = np.where((corner <= 0) | (corner >= 1), -step, step)
        corner = np.clip(corner, 0, 1)
        corners[t] = corner
    return corners


def wander(start: np.ndarray, turns: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Return how digits move by SVG's rules.

    y is looked at before x, a digit that leaves through a border is put on it and its velocity is drawn anew, 1 to 4
    away from the border and -4 to 4 along it, and it moves after it is drawn.

    Args:
      start: (N, 4) numbers in [0, 1) for corner and velocity.
      turns: (N, T, 2, 2) numbers in [0, 1), two for each border, used where one is hit.
      room: (2,) positions along x and y.

    Returns:
      Corners (x, y), int64 (T, N, 2) in 0 .. room - 1.
    """
    corners = np.empty((turns.shape[1], len(start), 2), np.int64)
    for n, uniform in enumerate(start):
        corner = (uniform[:2] * room).astype(np.int64)
        speed = (uniform[2:] * (2 * FASTEST + 1)).astype(np.int64) - FASTEST
        for t, turn in enumerate(turns[n]):
            for axis in (1, 0):
                side = int(corner[axis] >= room[axis]) - int(corner[axis] < 0)  # -1: left it below, 1: above
                if side:
                    away, along = turn[axis]
                    corner[axis] = 0 if side < 0 else room[axis] - 1
                    speed[axis] = -side * (1 + int(away * FASTEST))
                    speed[1 - axis] = int(along * (2 * FASTEST + 1)) - FASTEST
            corners[t, n] = corner
            corner += speed
    return corners


def _resize(image: np.ndarray, side: int) -> np.ndarray:
    """Return a digit with sides of so many pixels."""
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))
