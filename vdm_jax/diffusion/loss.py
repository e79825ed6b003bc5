"""How much each time counts, and the squared error of each example."""

import dataclasses
import math
from typing import Protocol

import jax
import jax.numpy as jnp

from vdm_jax.diffusion.prediction import SMALLEST, row
from vdm_jax.diffusion.process import Process, expand


class Weighting(Protocol):
    """How much the squared error of a prediction counts at each time."""

    def weight(self, kind: str, process: Process, t: jax.Array) -> jax.Array:
        """The weight of the squared error of `kind` at t, float32 of t's shape."""


@dataclasses.dataclass(frozen=True)
class Constant:
    """Every time counts the same in the network's own kind of prediction (Ho et al. 2020, eq. 14: L_simple)."""

    def weight(self, kind: str, process: Process, t: jax.Array) -> jax.Array:
        """The weight of the squared error of this kind at t: 1, float32 of t's shape."""
        return jnp.ones_like(t, jnp.float32)


@dataclasses.dataclass(frozen=True)
class MinSNR:
    """The error of x0 counts min(SNR, gamma), whatever kind the network predicts (Hang et al. 2023, section 3.4).

    Raises: ValueError unless gamma is positive.
    """

    gamma: float = 5.0

    def __post_init__(self):
        if not 0 < self.gamma < math.inf:
            raise ValueError(f'config.diffusion.weighting.gamma is {self.gamma}: want a number above 0')

    def weight(self, kind: str, process: Process, t: jax.Array) -> jax.Array:
        """The weight of the squared error of this kind at t, float32 of t's shape; finite from SNR 0 to infinity.

        At a given x_t an error of x0 is sigma / det times the error of a x0 + b eps, hence
        min(alpha^2 / sigma^2, gamma) sigma^2 / det^2: for eps min(1, gamma / SNR), for x0 min(SNR, gamma), for v
        min(SNR, gamma) / (SNR + 1).
        """
        a, b = row(kind, process, t)
        alpha, sigma = (jnp.maximum(c, SMALLEST) for c in process.alpha_sigma(t))  # the limit in place of 0 / 0
        return jnp.minimum(alpha**2, self.gamma * sigma**2) / (alpha * b - sigma * a) ** 2


@dataclasses.dataclass(frozen=True)
class Velocity:
    """An error counts as it would in the velocity, whatever the network predicts (Li & He 2025: predict x0, weigh v).

    An x0 network is then asked for detail at low noise as much as for the whole at high noise. On a flow the weight of
    an x0 error is 1 / t^2; `floor` bounds the time it is taken at from below.

    Raises: ValueError unless floor is positive.
    """

    floor: float = 0.05

    def __post_init__(self):
        if not 0 < self.floor < 1:
            raise ValueError(f'config.diffusion.weighting.floor is {self.floor}: want a number between 0 and 1')

    def weight(self, kind: str, process: Process, t: jax.Array) -> jax.Array:
        """The weight of the squared error of this kind at t, float32 of t's shape: (det of velocity / det)^2."""
        alpha, sigma = process.alpha_sigma(t)
        (a, b), (da, db) = row(kind, process, t), process.rates(t)
        det = jnp.maximum(jnp.abs(alpha * b - sigma * a), self.floor)
        return ((alpha * db - sigma * da) / det) ** 2


def loss_per_example(prediction: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    """Weighted squared error, averaged over all but the batch.

    prediction, target: (B, T, ...), of any float type; weight: (B,) or (B, T).
    Returns: (B,) float32.
    Raises: ValueError where prediction and target differ in shape (a learned variance not split off, for one).
    """
    if prediction.shape != target.shape:
        raise ValueError(f'the prediction has shape {prediction.shape}, its target {target.shape}: want the same')
    error = prediction.astype(jnp.float32) - target.astype(jnp.float32)
    return jnp.mean(expand(weight, error.ndim) * error**2, axis=range(1, error.ndim))
