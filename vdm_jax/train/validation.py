"""What is looked at during training: the loss on held-out clips, and a few samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np

from vdm_jax.data.clip_batches import batch_of
from vdm_jax.data.order.order import clips_before
from vdm_jax.diffusion.loss import by_time
from vdm_jax.sampling.conditioning import complete_conditions
from vdm_jax.sampling.generate import generate_videos
from vdm_jax.train import ema
from vdm_jax.train.state import TrainState
from vdm_jax.train.step import Losses

if TYPE_CHECKING:
    from vdm_jax.experiment.run import Run


def validate(run: Run, state: TrainState) -> dict[str, float]:
    """Return the mean loss of the first EMA on held-out clips, in all and by time.

    Noise and times are the same every time. Every clip counts as often as every other (those of a mixture by its
    weights, of buckets as their batches come, so some may come twice and others not at all): where validate_batches is
    more than one pass over the clips, only whole passes count.

    Returns:
      'validation_loss', and 'validation_loss_t/0.1' ... for t in (0, 0.1] and so on, where there is any.
    """
    config = run.experiment.train
    held_out = run.data.held_out
    order = held_out.order(config.batch_size, shuffle=False)
    count = clips_before(order, config.validate_batches)
    if count > order.size:
        count -= count % order.size

    params = ema.first(run.experiment.ema, state.ema)
    # Losses stay on the devices until all batches are under way, so that no batch waits for the one before.
    batches = []
    remaining = count
    for index in range(config.validate_batches):
        # Not all of validate_batches are listed first: it may be any number.
        if remaining <= 0:
            break
        bucket = order.bucket(index)
        size = order.batch_sizes[bucket]
        rows = order.ids(index)[run.batch_layout.local_rows[bucket]]
        batch = run.batch_layout.to_global(batch_of(held_out, rows, run.model_config.scalars), bucket)
        losses = run.programs.validation_step(params, batch, index, run.frozen)
        batches.append((losses, size))
        remaining -= size
    return summarise([_take_rows(losses, size) for losses, size in batches], count)


def _take_rows(losses: Losses, size: int) -> Losses:
    """Return the losses on the host, without the rows that only fill up the devices."""
    host_losses: Losses = jax.tree.map(lambda rows: np.asarray(rows)[:size], losses)
    return host_losses


def summarise(batches: list[Losses], count: int) -> dict[str, float]:
    """Return the means over the first `count` clips of batches of losses, by their names in metrics."""
    means = {'validation_loss': np.concatenate([batch.loss for batch in batches])[:count].mean()}
    for name in batches[0].parts:
        means[f'validation_{name}'] = np.concatenate([batch.parts[name] for batch in batches])[:count].mean()

    if batches[0].t is not None:
        # A list of rows, as clips of other buckets have other numbers of frames.
        losses = [row for batch in batches for row in _rows(batch.by_frame)][:count]
        times = [row for batch in batches for row in _rows(batch.t)][:count]
        for tenth, mean in enumerate(by_time(np.concatenate(losses), np.concatenate(times)), 1):
            if np.isfinite(mean):
                means[f'validation_loss_t/{tenth / 10}'] = mean
    return {name: float(value) for name, value in means.items()}


def _rows(values: jax.Array | None) -> list[np.ndarray]:
    assert values is not None  # a loss that draws times has them for all of its batches
    return list(np.asarray(values))


def preview(run: Run, state: TrainState) -> np.ndarray:
    """Return a few samples of the first EMA, from the same noise every time: uint8 (N, T, H, W, C)."""
    count = run.experiment.train.sample_count
    labels = np.arange(count) % max(run.network.classes, 1)
    conditions = complete_conditions(run.data, run.network, {'label': labels})
    params = ema.first(run.experiment.ema, state.ema)
    return generate_videos(run.generate, params, conditions, run.experiment.seed, count)
