"""Exponential moving averages of the parameters: several decays at once, with warm-up."""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp

from vdm_jax.ranges import Decay, Distinct, NotEmpty, Ranged


@dataclass(frozen=True)
class EmaConfig(Ranged, where='config.ema'):
    """Decays to keep; the first is the one that sampling and evaluation use.

    With warm-up the decay at step n is min(decay, (1 + n) / (10 + n)), so that a short run does not average in its
    random start (0.9999 still holds 37% of it after 10,000 steps otherwise).
    """

    decays: Annotated[tuple[Decay, ...], NotEmpty(), Distinct()] = (0.9999,)
    warmup: bool = True


def start(config: EmaConfig, params) -> dict:
    """One copy of params a decay, keyed by the decay as text."""
    return {str(decay): jax.tree.map(jnp.copy, params) for decay in config.decays}


def update(config: EmaConfig, ema: dict, params, step) -> dict:
    """ema <- decay ema + (1 - decay) params, for the step that has just been taken (0 for the first)."""

    def blend(decay, average):
        decay = jnp.minimum(decay, (1.0 + step) / (10.0 + step)) if config.warmup else decay
        return jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), average, params)

    return {name: blend(float(name), average) for name, average in ema.items()}


def first(config: EmaConfig, averages: dict) -> dict:
    """The parameters averaged with the first decay: those that sampling and evaluation use."""
    return averages[first_name(config)]


def first_name(config: EmaConfig) -> str:
    """The name of that average."""
    return str(config.decays[0])
