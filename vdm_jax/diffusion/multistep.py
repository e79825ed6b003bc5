"""Samplers that remember what the network said at the step before: order 2 for one question a step.

They step in h, the gain in half the log signal-to-noise ratio, log(alpha / sigma), and know x0 (data prediction). Where
h is infinite, at an end of the process, the formulas have finite limits: there a step is of order 1.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vdm_jax.diffusion.process import Process, expand
from vdm_jax.diffusion.samplers import Denoise, Sampler, Step


class Before(NamedTuple):
    """The step before: its x0, and how far it went."""

    x0: jax.Array
    h: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multistep(Sampler):
    """Base of the samplers that remember the step before.

    lower_order_final: whether the last step is of order 1 also where it ends short of clean data; at clean data it is.
        diffusers' UniPC does so, its DPM-Solver++ for less than 15 steps, against what few long steps overshoot.
    """

    lower_order_final: bool = False

    def last(self, process: Process, s: jax.Array) -> jax.Array:
        """Return whether a step to s is the last, and is to be of order 1."""
        return s <= (self.spacing.end(process) if self.lower_order_final else 0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPMSolverPP2M(Multistep):
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2); first and last step of order 1."""

    def init(self, x: jax.Array) -> Before:
        return Before(jnp.zeros_like(x), jnp.full((), jnp.inf))

    def step(
        self,
        denoise: Denoise,
        state: Before,
        x: jax.Array,
        t: jax.Array,
        s: jax.Array,
        process: Process,
        noise: jax.Array | None,
    ) -> Step:
        said, h = denoise(x, t), gain(process, t, s)
        x0 = extrapolated(said.x0, state, h, self.last(process, s))
        (_, sigma_t), (alpha_s, sigma_s) = process.alpha_sigma(t), process.alpha_sigma(s)
        kept, told = (expand(c, x.ndim) for c in (sigma_s / sigma_t, -alpha_s * jnp.expm1(-h)))
        return Step(kept * x + told * x0, said.x0, Before(said.x0, for_all(h, state.h)))


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
        state: Before,
        x: jax.Array,
        t: jax.Array,
        s: jax.Array,
        process: Process,
        noise: jax.Array | None,
    ) -> Step:
        assert noise is not None  # as this sampler is stochastic
        said, h = denoise(x, t), gain(process, t, s)
        x0 = extrapolated(said.x0, state, h, self.last(process, s))
        (_, sigma_t), (alpha_s, sigma_s) = process.alpha_sigma(t), process.alpha_sigma(s)
        fresh = -jnp.expm1(-2 * h)
        kept, told, drawn = (
            expand(c, x.ndim) for c in (sigma_s / sigma_t * jnp.exp(-h), alpha_s * fresh, sigma_s * jnp.sqrt(fresh))
        )
        return Step(kept * x + told * x0 + drawn * noise, said.x0, Before(said.x0, for_all(h, state.h)))


def extrapolated(x0: jax.Array, before: Before, h: jax.Array, last: jax.Array) -> jax.Array:
    """Return x0 in the middle of a step, on the line through the last step's and this one's; at last this one's."""
    share = jnp.where(~last & jnp.isfinite(h), h / (2 * before.h), 0)
    return x0 + expand(share, x0.ndim) * (x0 - before.x0)


def gain(process: Process, t: jax.Array, s: jax.Array) -> jax.Array:
    """Return h = log(alpha_s / sigma_s) - log(alpha_t / sigma_t) of t's shape; inf where alpha_t or sigma_s is 0."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = process.alpha_sigma(t), process.alpha_sigma(s)
    return (jnp.log(alpha_s) - jnp.log(sigma_s)) - (jnp.log(alpha_t) - jnp.log(sigma_t))


def for_all(value: jax.Array, like: jax.Array) -> jax.Array:
    """Reduce a quantity that is the same in every video and frame to the scalar that the memory holds."""
    return value.reshape(-1)[0].reshape(like.shape)
