"""Samples of a run for whoever asks for certain ones: what evaluation draws from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from vdm_jax.sampling.conditioning import Conditions, conditions_by_rows
from vdm_jax.sampling.generate import generate_batches, take_videos

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run

ConditionsOf = Callable[[np.ndarray], Conditions]  # rows (n,) -> arrays of those rows, by name


def no_conditions(rows: np.ndarray) -> Conditions:
    """Return no condition for any row."""
    del rows
    return {}


def draw_from(
    run: Run, params: Any, others: ConditionsOf = no_conditions
) -> Callable[[np.ndarray, ConditionsOf, int], Iterator[np.ndarray]]:
    """Return what draws samples of a run: (labels (N,), their other conditions, the first one) -> batches of videos.

    Where several processes run all call it, within the run's mesh, and get all videos. Seed and batch size are those of
    config.evaluate.

    Args:
      run: The objects of the experiment.
      params: Of the network.
      others: Conditions that every video has besides those that are asked for, such as scalars.
    """
    config = run.experiment.evaluate

    def draw(labels: np.ndarray, conditions_of: ConditionsOf, first: int) -> Iterator[np.ndarray]:
        def all_others(rows: np.ndarray) -> Conditions:
            return conditions_of(rows) | others(rows)

        conditions = conditions_by_rows(run.data, run.network, labels, all_others)
        count = len(labels)
        batches = generate_batches(run.generate, params, conditions, count, config.seed, config.batch_size, first)
        yield from take_videos(batches, count)

    return draw
