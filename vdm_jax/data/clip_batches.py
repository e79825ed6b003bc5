"""Clips of a source, taken together: what validation and evaluation read."""

from collections.abc import Iterable, Sequence

import numpy as np

from vdm_jax.data.scalars import attach_scalars
from vdm_jax.data.source import Clip, Reader
from vdm_jax.errors import UserError


def batch_of(reader: Reader, indices: Iterable[int], scalars: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """reader[i] for i in indices: {'video': uint8 (N, T, H, W, C), 'label': int32 (N,)} and these scalars, float32."""
    clips = [attach_scalars(reader[int(i)], scalars) for i in indices]
    return {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}


def stack(reader: Reader, indices: Iterable[int]) -> np.ndarray:
    """The videos alone: uint8 (N, T, H, W, C).

    Raises: UserError for clips that are latents.
    """
    return videos_of(batch_of(reader, indices))


def videos_of(clips: Clip) -> np.ndarray:
    """Those of a batch.

    Raises: UserError for clips that are latents.
    """
    if 'video' not in clips:
        raise UserError(
            'config.data: its clips are latents, and their pictures are asked for; name the clips themselves'
        )
    return clips['video']


def captioned(reader: Reader, count: int, among: int = 256) -> list[int]:
    """For each of `count` videos the number of a clip that has a text: the first ones of the source's first `among`,
    and round again.

    Raises: UserError where none of them has one.
    """
    found = []
    for i in range(min(len(reader), among)):
        if reader[i].get('text_mask', np.False_).any():
            found.append(i)
        if len(found) == count:
            break
    if not found:
        raise UserError('config.data: no held-out clip has a text to sample; say one: --prompt=TEXT')
    return [found[k % len(found)] for k in range(count)]


def labelled(reader: Reader, labels: Iterable[int | None], among: int = 256) -> list[int]:
    """For each of these labels the number of a clip that has it; None is any label.

    Of each label the first clip, then the next, and round again, among the source's first `among`.

    Raises: UserError for a label that none of them has.
    """
    known = np.array([reader[i]['label'] for i in range(min(len(reader), among))])
    chosen: list[int] = []
    turns: dict[object, int] = {}
    for label in labels:
        fit = np.arange(len(known)) if label is None else np.flatnonzero(known == label)
        if not len(fit):
            raise UserError(f'--label={label}: none of the first {len(known)} held-out clips has it')
        turn = turns[label] = turns.get(label, -1) + 1
        chosen.append(int(fit[turn % len(fit)]))
    return chosen
