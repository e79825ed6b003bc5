"""A protocol at work: the samples that it asks for, what it measures of each, and the score that it makes of all."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from vdm_jax.evals.score import Score

Rows = dict[str, Any]  # arrays of one row a video, by name
ConditionsOf = Callable[[np.ndarray], Rows]
# Draws videos: (labels (N,), rows -> their other conditions, the number of the first that is wanted) -> batches of
# videos in order, uint8 (n, T, H, W, C) each, context frames too.
Draw = Callable[[np.ndarray, ConditionsOf, int], Iterator[np.ndarray]]


class Judge(abc.ABC):
    """A protocol at work on one set of samples.

    Samples come in order and a batch at a time, so that those of a large set need not be in memory at once: what is
    measured of each is, and is what an interrupted evaluation goes on from.

    Attributes:
      labels: int32 (N,), of every video that is to be sampled.
      weights_sha256: Of the networks by which `measure` looks at videos; none where it uses none.
    """

    labels: np.ndarray
    weights_sha256: tuple[str, ...] = ()

    def conditions_of(self, rows: np.ndarray) -> Rows:
        """Return the other conditions of videos number `rows` (n,): 'frames', 'text', as evals/protocol.py has them."""
        del rows
        return {}

    @abc.abstractmethod
    def measure(self, numbers: np.ndarray, videos: np.ndarray) -> Rows:
        """Return what is to be known of videos number `numbers` (n,), uint8 (n, T, H, W, C); all processes call it."""

    @abc.abstractmethod
    def score(self, rows: Rows) -> Score:
        """Return the score of all videos, from what was measured of each; the primary process alone calls it."""
