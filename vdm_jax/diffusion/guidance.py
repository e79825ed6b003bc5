"""Classifier-free guidance: how strong, when, and against what."""

import dataclasses
import math
from typing import Annotated, Literal

import jax
import jax.numpy as jnp

from vdm_jax.config.ranges import Ascending, Between, Ranged, Share, Side, Whole
from vdm_jax.diffusion.process import SMALLEST, expand


@dataclasses.dataclass(frozen=True)
class Guidance(Ranged, where='config.guidance'):
    """The config group config.guidance.

    Attributes:
      scale: Of `guide`; 1 is none.
      interval: The times t, lowest and highest, within which there is guidance, none outside (Kynkaanniemi et al.
        2024).
      rescale: The share in which the guided prediction is brought back to the standard deviation of the conditional
        one (Lin et al. 2024, eq. 15 and 16; they take 0.7).
      schedule: How scale - 1 runs over t with mean 1: constant, or growing towards the data as 2 (1 - t) or
        1 + cos(pi t) (Wang et al. 2024, arXiv:2404.13040).
      negative: The class to guide away from, in place of "no label".
      channels: How many of a prediction's channels are guided, the first ones; the others are the conditional
        prediction's, and so is a learned variance. None: all. DiT and SiT guide three of four.
    """

    scale: Annotated[float, Between(0, 1000)] = 1.0
    interval: Annotated[tuple[Share, Share], Ascending()] = (0.0, 1.0)
    rescale: Share = 0.0
    schedule: Literal['constant', 'linear', 'cosine'] = 'constant'
    negative: Whole | None = None
    channels: Side | None = None

    def scale_at(self, scale: jax.Array, t: jax.Array) -> jax.Array:
        """Return the scale at t, of t's shape, from the nominal `scale`; 1 outside the interval."""
        return jnp.where(self.is_active(t), 1 + (scale - 1) * self._factor(t), 1)

    def is_active(self, t: jax.Array) -> jax.Array:
        """Return at which of the times t there is guidance, those in the interval: bool of t's shape."""
        low, high = self.interval
        return (low <= t) & (t <= high)

    def _factor(self, t: jax.Array) -> jax.Array:
        """Return what scale - 1 is multiplied by at t."""
        match self.schedule:
            case 'constant':
                return jnp.ones_like(t)
            case 'linear':
                return 2 * (1 - t)
            case 'cosine':
                return 1 + jnp.cos(math.pi * t)

    def apply(self, conditional: jax.Array, unconditional: jax.Array, scale: jax.Array, t: jax.Array) -> jax.Array:
        """Guide a prediction: predictions (B, T, ..., C) of one kind at t (B,) or (B, T), `scale` a scalar."""
        if self.channels is None or self.channels >= conditional.shape[-1]:
            return self._apply_to_all(conditional, unconditional, scale, t)
        first = conditional[..., : self.channels]
        others = conditional[..., self.channels :]
        guided = self._apply_to_all(first, unconditional[..., : self.channels], scale, t)
        return jnp.concatenate([guided, others], -1)

    def _apply_to_all(
        self, conditional: jax.Array, unconditional: jax.Array, scale: jax.Array, t: jax.Array
    ) -> jax.Array:
        at_t = expand(self.scale_at(scale, t), conditional.ndim)
        guided = guide(conditional, unconditional, at_t)
        return rescale_std(guided, conditional, self.rescale) if self.rescale else guided


def guide(conditional: jax.Array, unconditional: jax.Array, scale: float | jax.Array) -> jax.Array:
    """Return u + scale (c - u): 0 is unconditional, 1 is no guidance, above 1 stresses the condition.

    Ho & Salimans 2022, eq. 6, whose w is scale - 1. The two predictions are of one kind, any of prediction.KINDS, at
    one x_t: kinds are affine in one another there, and the weights sum to 1, so it is the same whichever is guided.
    """
    # In float arithmetic u + scale (c - u) is not c at a scale of 1; this form is exact at 0 and at 1.
    return (1 - scale) * unconditional + scale * conditional


def rescale_std(guided: jax.Array, conditional: jax.Array, share: float) -> jax.Array:
    """Take that share of the excess in standard deviation, over all but the batch, away from `guided`."""

    def spread(x: jax.Array) -> jax.Array:
        return jnp.std(x, axis=range(1, x.ndim), keepdims=True)

    return guided * (share * spread(conditional) / jnp.maximum(spread(guided), SMALLEST) + 1 - share)
