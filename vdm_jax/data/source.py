"""What every source of clips answers."""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np

from vdm_jax.errors import UserError, placed


class Source(Protocol):
    """A frozen dataclass whose fields are the config group config.data, and which is the sequence of clips itself.

    A clip is {'video': uint8 (T, H, W, C), 'label': np.int32 in [0, num_classes)}; every clip has shape `shape`.
    Besides these, a source may count things (`counters() -> {name: number}`) and name files (`names()`), have lines to
    say when a run starts (`notes()`), say what a run that goes on must find again (`identity() -> str`, the number of
    clips where it does not) and what results on it are called (`title`), have a test split (a field `split`, or a
    method `test_split()` that makes it), come in an order of its own (`order(batch, seed, shuffle)`), and be
    `constant`: the same batch at every step. One that tells numbers of its clips names them in `scalars` and gives them
    as clip['scalars'], a dict; one with images beside its clips gives 'images' uint8 (k, H, W, C) and 'image_label'
    int32 (k,), and says in `scored` what samples are to be held against.
    One whose clips have text gives 'text' float32 (S, D) and 'text_mask' bool (S,), and says in `text_cache` which; one
    that has latents gives 'moments' float32 (T', H', W', 2C) in place of 'video', and says in `latents` of which codec.
    One that tells more of its clips than can be kept with their latents (a caption, another one each time) gives
    clip['drawn'], float64 (drawn,), which is kept, and from that alone `told_of(drawn, rng) -> dict` of arrays. One
    that gives whole batches has `gather(ids, positions, seed, scalars) -> dict`.
    One whose clips can be cut in several shapes says what each has to offer (`extents() -> int64 (N, 3)`: frames,
    height, width), and gives it as (T, H, W) in `clip(i, shape)` and `draw(i, rng, shape)`: `bucketed` asks for it, and
    then has all its `shapes`, with `batch_sizes(batch)` of each; and `alone(bucket)`, a source of the clips of one, of
    which `within(ids)` tells the numbers there.
    """

    frames: int
    pixels: int | str  # of the side of a square, or HEIGHTxWIDTH
    threads: int  # that draw clips
    prefetch: int  # clips drawn ahead

    @property
    def shape(self) -> tuple[int, int, int, int]: ...

    @property
    def num_classes(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> dict:
        """Clip i as evaluation sees it, the same every time."""

    def draw(self, i: int, rng: np.random.Generator) -> dict:
        """Clip i as training sees it: start frame, crop and flip drawn from rng."""


def shapes_of(source: Source) -> tuple[tuple[int, int, int, int], ...]:
    """(T, H, W, C) of every bucket of its clips; the first is that of samples."""
    return getattr(source, 'shapes', (source.shape,))


def batch_sizes_of(source: Source, batch: int) -> tuple[int, ...]:
    """Clips of a batch of every bucket, where they are `batch` unless a bucket says otherwise."""
    return getattr(source, 'batch_sizes', lambda batch: (batch,))(batch)


def identity_of(source: Source) -> str:
    """What a run that goes on must find again: what the source says of itself, or how many clips it holds."""
    return getattr(source, 'identity', lambda: str(len(source)))()


def held_out_of(source: Source) -> Source:
    """The source's test split; the source itself where training takes all of it."""
    if hasattr(source, 'test_split'):
        return source.test_split()
    trained = getattr(source, 'split', 'all')
    return dataclasses.replace(source, split='test') if trained == 'train' else source


def fps_of(source: Source) -> float | None:
    """Frames a second of its clips, where config.data says them of all: its fps by its stride, or that on which the
    sources within it agree; else None.
    """
    if rate := getattr(source, 'fps', None):
        return rate / getattr(source, 'stride', 1)
    within = getattr(source, 'sources', None) or [getattr(source, 'clips', None)]
    rates = {fps_of(each) for each in within if hasattr(each, 'shape')}
    return rates.pop() if len(rates) == 1 else None


def extents(source: Source) -> np.ndarray:
    """What each clip has of frames, height and width, int64 (N, 3).

    Raises:
      UserError: clips of such a source come in one shape.
    """
    if not hasattr(source, 'extents'):
        raise UserError(
            f'config.data: clips of a {type(source).__name__} come in one shape, and buckets ask for several; take '
            'records or video_folder'
        )
    return source.extents()


def ask(where: str, question: Callable):
    """question(), of a source among others: a mistake that it finds is said to be at `where`, a key of the config."""
    try:
        return question()
    except UserError as error:
        raise placed(error, where) from None
