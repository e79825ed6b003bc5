"""Clips of a source, taken together: what validation and evaluation read."""

from collections.abc import Iterable

import numpy as np

from vdm_jax.data.scalars import told


def batch_of(source, indices: Iterable[int], scalars=()) -> dict[str, np.ndarray]:
    """source[i] for i in indices: {'video': uint8 (N, T, H, W, C), 'label': int32 (N,)} and these scalars, float32."""
    clips = [told(source[int(i)], scalars) for i in indices]
    return {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}


def stack(source, indices: Iterable[int]) -> np.ndarray:
    """The videos alone: uint8 (N, T, H, W, C)."""
    return batch_of(source, indices)['video']
