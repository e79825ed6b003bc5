"""UniPC: a step that is corrected by the network's prediction where it led."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vdm_jax.diffusion.multistep import Before, Multistep, extrapolated, for_all, gain
from vdm_jax.diffusion.process import Process, expand
from vdm_jax.diffusion.samplers import Denoise, Step


class Memory(NamedTuple):
    """Of UniPC: x, t and x0 at the start of the step before, the x0 and h of the one before that; the steps so far."""

    x: jax.Array
    x0: jax.Array
    older_x0: jax.Array
    older_h: jax.Array
    t: jax.Array
    steps: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class UniPC(Multistep):
    """UniPC-2 in its B2 form, with data prediction: B(h) = e^-h - 1 (Zhao et al. 2023).

    The prediction at t first corrects the step that led there (UniC, order 3, of order 2 after the first step), and
    then makes the next (UniP, order 2; of order 1 at first and at last).
    """

    def init(self, x: jax.Array) -> Memory:
        nothing = jnp.zeros_like(x)
        return Memory(x, nothing, nothing, jnp.full((), jnp.inf), jnp.ones(()), jnp.zeros((), jnp.int32))

    def step(
        self,
        denoise: Denoise,
        state: Memory,
        x: jax.Array,
        t: jax.Array,
        s: jax.Array,
        process: Process,
        noise: jax.Array | None,
    ) -> Step:
        said = denoise(x, t)
        started = state.steps > 0
        was = jnp.broadcast_to(state.t, t.shape)
        x = jnp.where(started, _corrected(process, state, was, t, said.x0), x)
        h, last_h = gain(process, t, s), gain(process, was, t)
        last_h = jnp.where(started, last_h, jnp.inf)
        x0 = extrapolated(said.x0, Before(state.x0, last_h), h, self.last(process, s))
        (_, sigma_t), (alpha_s, sigma_s) = process.alpha_sigma(t), process.alpha_sigma(s)
        kept, told = (expand(c, x.ndim) for c in (sigma_s / sigma_t, -alpha_s * jnp.expm1(-h)))
        memory = Memory(x, said.x0, state.x0, for_all(last_h, state.older_h), for_all(t, state.t), state.steps + 1)
        return Step(kept * x + told * x0, said.x0, memory)


def _corrected(process: Process, before: Memory, t: jax.Array, s: jax.Array, x0: jax.Array) -> jax.Array:
    """Take the step from `before`, at t, again to s with the prediction there, x0."""
    h = gain(process, t, s)
    ratio = -before.older_h / h  # of the step before it, whose end is this one's beginning
    phi1 = jnp.expm1(-h)
    # Both B(h) and the phi functions are finite in the limit h -> inf; for h -> 0 they meet in 1/2 and 1/3.
    b1 = (phi1 / -h - 1) / phi1
    b2 = 2 * ((phi1 / -h - 1) / -h - 0.5) / phi1
    first = before.steps < 2
    older = jnp.where(first | ~jnp.isfinite(ratio), 0, (b1 - b2) / (1 - ratio))
    here = jnp.where(first, 0.5, b1 - older)
    slope = jnp.where(older == 0, 0, older / jnp.where(older == 0, 1, ratio))
    (_, sigma_t), (alpha_s, sigma_s) = process.alpha_sigma(t), process.alpha_sigma(s)
    told = alpha_s * phi1
    kept, told, slope, here = (expand(c, x0.ndim) for c in (sigma_s / sigma_t, told, slope, here))
    return kept * before.x - told * (before.x0 + slope * (before.older_x0 - before.x0) + here * (x0 - before.x0))
