"""UniPC: a step that is corrected by the network's prediction at its end."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vdm_jax.diffusion.multistep import Multistep, Previous, extrapolate, gain, solve_to, to_scalar
from vdm_jax.diffusion.process import Process, expand
from vdm_jax.diffusion.samplers import Denoise, Step


class Memory(NamedTuple):
    """What UniPC remembers.

    Attributes:
      x: At the start of the step before.
      x0: The denoised estimate there.
      older_x0: That of the step before it.
      older_h: How far that one went.
      t: At the start of the step before.
      steps: That were taken so far.
    """

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
        denoised = denoise(x, t)

        # The corrector: the step that led to x, again.
        has_previous = state.steps > 0
        previous_t = jnp.broadcast_to(state.t, t.shape)
        # By the network's prediction at the corrected step's end, which the next step needs anyway: it costs no call.
        x = jnp.where(has_previous, _correct(process, state, previous_t, t, denoised.x0), x)

        # The predictor: the step from x to s.
        h = gain(process, t, s)
        previous_h = jnp.where(has_previous, gain(process, previous_t, t), jnp.inf)
        x0 = extrapolate(denoised.x0, Previous(state.x0, previous_h), h, self.is_last(process, s))
        x_s = solve_to(process, x, x0, t, s, h)

        memory = Memory(
            x=x,
            x0=denoised.x0,
            older_x0=state.x0,
            older_h=to_scalar(previous_h, state.older_h),
            t=to_scalar(t, state.t),
            steps=state.steps + 1,
        )
        return Step(x_s, denoised.x0, memory)


def _correct(process: Process, previous: Memory, t: jax.Array, s: jax.Array, x0: jax.Array) -> jax.Array:
    """Take the previous step, from t to s, again with the denoised estimate at s, x0."""
    h = gain(process, t, s)
    ratio = -previous.older_h / h  # of the step before it, whose end is this one's beginning
    phi1 = jnp.expm1(-h)
    # Both B(h) and the phi functions are finite in the limit h -> inf; for h -> 0 they meet in 1/2 and 1/3.
    b1 = (phi1 / -h - 1) / phi1
    b2 = 2 * ((phi1 / -h - 1) / -h - 0.5) / phi1

    is_first = previous.steps < 2
    # Weights of the differences of x0 to the older step and to the end of this one.
    older = jnp.where(is_first | ~jnp.isfinite(ratio), 0, (b1 - b2) / (1 - ratio))
    at_end = jnp.where(is_first, 0.5, b1 - older)
    # Where there is no older step, or h is infinite, the ratio is infinite or nan.
    slope = jnp.where(older == 0, 0, older / jnp.where(older == 0, 1, ratio))

    _, sigma_t = process.alpha_sigma(t)
    alpha_s, sigma_s = process.alpha_sigma(s)
    coefficients = (sigma_s / sigma_t, alpha_s * phi1, slope, at_end)
    coef_x, coef_x0, slope, at_end = (expand(c, x0.ndim) for c in coefficients)
    x0_change = slope * (previous.older_x0 - previous.x0)
    return coef_x * previous.x - coef_x0 * (previous.x0 + x0_change + at_end * (x0 - previous.x0))
