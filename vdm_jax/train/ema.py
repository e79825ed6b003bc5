"""Exponential moving averages of the parameters: several decays at once, with warm-up."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp

from vdm_jax.config.ranges import Decay, Distinct, NotEmpty, Ranged
from vdm_jax.train.types import Averages, Params


@dataclass(frozen=True)
class EmaConfig(Ranged, where='config.ema'):
    """Which averages of the parameters are kept.

    Attributes:
      decays: One average for each; the first is the one that sampling and evaluation use.
      warmup: Whether the decay at step n is min(decay, (1 + n) / (10 + n)), so that a short run is not dominated by its
        initial weights: without it 0.9999 still holds 37% of them after 10,000 steps.
    """

    decays: Annotated[tuple[Decay, ...], NotEmpty(), Distinct()] = (0.9999,)
    warmup: bool = True


def init(config: EmaConfig, params: Params) -> Averages:
    """Return one copy of the parameters for each decay, by the decay as text."""
    # By the decay's text, as the arrays of a checkpoint go by paths.
    return {str(decay): jax.tree.map(jnp.copy, params) for decay in config.decays}


def update(config: EmaConfig, averages: Averages, params: Params, step: jax.Array | int) -> Averages:
    """Return average <- decay average + (1 - decay) params for each decay.

    Args:
      config: The decays.
      averages: As `init` made them.
      params: The parameters after the step.
      step: Number of the step that has just been taken, 0 for the first.
    """

    def update_one(name: str, average: Params) -> Params:
        decay: float | jax.Array = float(name)
        if config.warmup:
            decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step))

        # In this form an average that equals the parameters stays as it is, bit for bit.
        blended: Params = jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), average, params)
        return blended

    return {name: update_one(name, average) for name, average in averages.items()}


def first(config: EmaConfig, averages: Averages) -> Params:
    """Return the average of the first decay, which sampling and evaluation use."""
    return averages[first_name(config)]


def first_name(config: EmaConfig) -> str:
    """Return the name of the average of the first decay."""
    return str(config.decays[0])
