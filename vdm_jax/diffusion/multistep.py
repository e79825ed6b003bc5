"""Samplers that remember the prediction of the step before: order 2 for one evaluation a step.

They step in h, the gain in half the log signal-to-noise ratio, log(alpha / sigma), and know x0 (data prediction). Where
h is infinite, at an end of the process, the formulas have finite limits: there a step is of order 1.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vdm_jax.diffusion.process import Process, expand
from vdm_jax.diffusion.samplers import Denoise, Sampler, Step


class Previous(NamedTuple):
    """The step before.

    Attributes:
      x0: Its denoised estimate.
      h: How far it went.
    """

    x0: jax.Array
    h: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multistep(Sampler):
    """Base of the samplers that remember the step before.

    Attributes:
      lower_order_final: Whether the last step is of order 1 also where it ends short of clean data; at clean data it
        is. diffusers' UniPC does so, its DPM-Solver++ for less than 15 steps, against what few long steps overshoot.
    """

    lower_order_final: bool = False

    def is_last(self, process: Process, s: jax.Array) -> jax.Array:
        """Return whether a step to s is the last, and is to be of order 1."""
        return s <= (self.spacing.end(process) if self.lower_order_final else 0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPMSolverPP2M(Multistep):
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2); first and last step of order 1."""

    def init(self, x: jax.Array) -> Previous:
        return Previous(jnp.zeros_like(x), jnp.full((), jnp.inf))

    def step(
        self,
        denoise: Denoise,
        state: Previous,
        x: jax.Array,
        t: jax.Array,
        s: jax.Array,
        process: Process,
        noise: jax.Array | None,
    ) -> Step:
        denoised = denoise(x, t)
        h = gain(process, t, s)
        x0 = extrapolate(denoised.x0, state, h, self.is_last(process, s))
        x_s = solve_to(process, x, x0, t, s, h)
        return Step(x_s, denoised.x0, Previous(denoised.x0, to_scalar(h, state.h)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPMSolverPP2MSDE(DPMSolverPP2M):
    """SDE-DPM-Solver++(2M) in its midpoint form (Lu et al. 2022, arXiv:2211.01095, appendix).

    The same walk along the reverse stochastic equation, with the noise that one draw of it has.
    """

    @property
    def stochastic(self) -> bool:
        return True

    def step(
        self,
        denoise: Denoise,
        state: Previous,
        x: jax.Array,
        t: jax.Array,
        s: jax.Array,
        process: Process,
        noise: jax.Array | None,
    ) -> Step:
        assert noise is not None  # as this sampler is stochastic
        denoised = denoise(x, t)
        h = gain(process, t, s)
        x0 = extrapolate(denoised.x0, state, h, self.is_last(process, s))

        _, sigma_t = process.alpha_sigma(t)
        alpha_s, sigma_s = process.alpha_sigma(s)
        new_noise = -jnp.expm1(-2 * h)  # the share of the variance at s that is drawn anew
        coef_x = expand(sigma_s / sigma_t * jnp.exp(-h), x.ndim)
        coef_x0 = expand(alpha_s * new_noise, x.ndim)
        coef_noise = expand(sigma_s * jnp.sqrt(new_noise), x.ndim)
        x_s = coef_x * x + coef_x0 * x0 + coef_noise * noise
        return Step(x_s, denoised.x0, Previous(denoised.x0, to_scalar(h, state.h)))


def extrapolate(x0: jax.Array, previous: Previous, h: jax.Array, is_last: jax.Array) -> jax.Array:
    """Return x0 at the middle of a step, extrapolated from the previous step's and its own; at the end, its own."""
    # The first step has no step before it: its h is infinite, and the coefficient 0.
    coef = jnp.where(~is_last & jnp.isfinite(h), h / (2 * previous.h), 0)
    return x0 + expand(coef, x0.ndim) * (x0 - previous.x0)


def solve_to(process: Process, x: jax.Array, x0: jax.Array, t: jax.Array, s: jax.Array, h: jax.Array) -> jax.Array:
    """Return where x at t is at s if x0 stays the same between them: the exact solution, whatever the gain h."""
    _, sigma_t = process.alpha_sigma(t)
    alpha_s, sigma_s = process.alpha_sigma(s)
    coef_x = expand(sigma_s / sigma_t, x.ndim)
    # expm1, as exp(-h) - 1 loses the digits of a small h. At an end of the process h is infinite, and it is -1.
    coef_x0 = expand(-alpha_s * jnp.expm1(-h), x.ndim)
    return coef_x * x + coef_x0 * x0


def gain(process: Process, t: jax.Array, s: jax.Array) -> jax.Array:
    """Return h = log(alpha_s / sigma_s) - log(alpha_t / sigma_t) of t's shape; inf where alpha_t or sigma_s is 0."""
    alpha_t, sigma_t = process.alpha_sigma(t)
    alpha_s, sigma_s = process.alpha_sigma(s)
    # Logarithms are subtracted and not the ratios divided: inf - x and x - (-inf) are inf, where 1 / 0 over 0 would be
    # nan.
    return (jnp.log(alpha_s) - jnp.log(sigma_s)) - (jnp.log(alpha_t) - jnp.log(sigma_t))


def to_scalar(value: jax.Array, like: jax.Array) -> jax.Array:
    """Reduce a quantity that is the same in every video and frame to the scalar that the memory holds."""
    return value.reshape(-1)[0].reshape(like.shape)
