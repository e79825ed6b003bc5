"""Batches of chosen clips: what validation and evaluation read."""

from collections.abc import Iterable, Sequence

import numpy as np

from vdm_jax.data.scalars import attach_scalars
from vdm_jax.data.source import Clip, Reader, stack_clips
from vdm_jax.errors import UserError


def batch_of(reader: Reader, indices: Iterable[int], scalars: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Return reader[i] for i in indices, stacked.

    Returns:
      {'video': uint8 (N, T, H, W, C), 'label': int32 (N,), …} and these scalars, float32 (N,) each.
    """
    return stack_clips([attach_scalars(reader[int(i)], scalars) for i in indices])


def read_videos(reader: Reader, indices: Iterable[int]) -> np.ndarray:
    """Return the videos of these clips: uint8 (N, T, H, W, C).

    Raises:
      UserError: clips are latents.
    """
    return videos_of(batch_of(reader, indices))


def videos_of(batch: Clip) -> np.ndarray:
    """Return the videos of a batch.

    Raises:
      UserError: its clips are latents.
    """
    if 'video' not in batch:
        raise UserError(
            'config.data: its clips are latents, and their pictures are asked for; name the clips themselves'
        )
    videos: np.ndarray = batch['video']
    return videos


def find_captioned(reader: Reader, count: int, among: int = 256) -> list[int]:
    """Return for each of `count` videos the number of a clip that has a text.

    They are the first ones of the source's first `among`, and round again.

    Raises:
      UserError: none of them has one.
    """
    # A reader gives a text only with the clip, pixels included: so not all of a large set is looked through.
    numbers = []
    for i in range(min(len(reader), among)):
        if reader[i].get('text_mask', np.False_).any():
            numbers.append(i)
        if len(numbers) == count:
            break
    if not numbers:
        raise UserError('config.data: no held-out clip has a text to sample; say one: --prompt=TEXT')
    return [numbers[k % len(numbers)] for k in range(count)]


def find_labelled(reader: Reader, labels: Iterable[int | None], among: int = 256) -> list[int]:
    """Return for each of these labels the number of a clip that has it; None is any label.

    Of each label the first clip, then the next, and round again, among the source's first `among`.

    Raises:
      UserError: a label that none of the first `among` clips has.
    """
    # As above: each label costs the reading of its clip.
    known = np.array([reader[i]['label'] for i in range(min(len(reader), among))])
    chosen: list[int] = []
    turns: dict[int | None, int] = {}  # how many clips of each label were chosen
    for label in labels:
        matches = np.arange(len(known)) if label is None else np.flatnonzero(known == label)
        if not len(matches):
            raise UserError(f'--label={label}: none of the first {len(known)} held-out clips has it')
        turn = turns.get(label, 0)
        chosen.append(int(matches[turn % len(matches)]))
        turns[label] = turn + 1
    return chosen
