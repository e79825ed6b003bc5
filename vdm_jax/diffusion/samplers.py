"""One step from a time t to a less noisy time s.

A sampler is one small class; those with a memory are in multistep.py.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from vdm_jax.config.ranges import Above0, AtLeast, Between, Ranged, Share
from vdm_jax.diffusion.objective import Denoised
from vdm_jax.diffusion.posterior import learned_log_variance, posterior_mean, variances
from vdm_jax.diffusion.prediction import target
from vdm_jax.diffusion.process import SMALLEST, Process, expand
from vdm_jax.diffusion.spacing import Spacing, Trailing

Denoise = Callable[[jax.Array, jax.Array], Denoised]  # (x, t) -> what the network predicts there


class Step(NamedTuple):
    """What a step leads to: x at s; x0, the last that the network predicted on the way; the sampler's memory."""

    x: jax.Array
    x0: jax.Array
    state: Any = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampler(Ranged, where='config.sampler'):
    """Base of all samplers; a sampler adds `step`, and `init` where it remembers earlier steps.

    steps: of the walk from noise to data. spacing: at which times they begin. clip: a bound on |x0| at every step, None
    for none; 1 for pixels in [-1, 1]. An eps network on a schedule whose first alpha is nearly 0 (cosine) needs it, as
    there a small error of eps is a huge one of x0 (IDDPM's code clips by default).
    """

    steps: Annotated[int, Between(1, 100_000)] = 50
    spacing: Spacing = Trailing()
    clip: Annotated[float, Above0(high=1e9)] | None = None

    @property
    def stochastic(self) -> bool:
        """Return whether `step` needs noise."""
        return False

    @property
    def uses_learned_variance(self) -> bool:
        """Return whether `step` needs a variance that the network has learned."""
        return False

    def begin(self, process: Process, noise: jax.Array, t: jax.Array) -> jax.Array:
        """Return x at the first of the times, from standard normal noise (B, T, ...)."""
        return process.start(noise, t)

    def init(self, x: jax.Array) -> Any:
        """Return the memory before the first step at x: a pytree, empty for samplers that remember nothing."""
        return ()

    def step(
        self,
        denoise: Denoise,
        state: Any,
        x: jax.Array,
        t: jax.Array,
        s: jax.Array,
        process: Process,
        noise: jax.Array | None,
    ) -> Step:
        """Step from x at t to x at s < t.

        denoise: (x, t) -> objective.Denoised, to be asked as often as the sampler's order wants. x: (B, T, ...)
        float32; t, s: (B,) or (B, T), t > 0; noise: standard normal of x's shape where the sampler is stochastic, else
        unused.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ancestral(Sampler):
    """The reverse step of DDPM, a draw from p(x_s | x_t) (Ho et al. 2020, algorithm 2), for any alpha and sigma.

    variance: 'small', that of the posterior q(x_s | x_t, x0); 'large', what was put in between s and t; or 'learned',
    what the network says of it (config.diffusion.variance=learned_range). No noise is added where s is clean.
    """

    variance: Literal['small', 'large', 'learned'] = 'small'

    @property
    def uses_learned_variance(self) -> bool:
        return self.variance == 'learned'

    @property
    def stochastic(self) -> bool:
        return True

    def step(
        self,
        denoise: Denoise,
        state: Any,
        x: jax.Array,
        t: jax.Array,
        s: jax.Array,
        process: Process,
        noise: jax.Array | None,
    ) -> Step:
        assert noise is not None  # as this sampler is stochastic
        said = denoise(x, t)
        small, large = variances(process, t, s)
        if self.variance == 'learned':
            assert said.variance is not None  # as config.diffusion.variance is learned_range
            std = jnp.exp(0.5 * learned_log_variance(said.variance, small, large))
        else:
            std = expand(jnp.sqrt(small if self.variance == 'small' else large), x.ndim)
        std = jnp.where(expand(s > 0, x.ndim), std, 0)
        return Step(posterior_mean(process, said.x0, x, t, s) + std * noise, said.x0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DDIM(Sampler):
    """DDIM (Song et al. 2021, eq. 12 and 16), for any alpha and sigma.

    eta 0 is deterministic; 1 is the ancestral step with the posterior's variance.
    """

    eta: Share = 0.0

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def step(
        self,
        denoise: Denoise,
        state: Any,
        x: jax.Array,
        t: jax.Array,
        s: jax.Array,
        process: Process,
        noise: jax.Array | None,
    ) -> Step:
        x0, eps, _ = denoise(x, t)
        alpha_s, sigma_s = (expand(c, x.ndim) for c in process.alpha_sigma(s))
        if not self.stochastic:
            return Step(alpha_s * x0 + sigma_s * eps, x0)
        assert noise is not None
        fresh = self.eta**2 * expand(variances(process, t, s)[0], x.ndim)
        kept = jnp.maximum(sigma_s**2 - fresh, 0)
        return Step(alpha_s * x0 + jnp.sqrt(kept) * eps + jnp.sqrt(fresh) * noise, x0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Euler(Sampler):
    """A straight step along d x / d clock, the process's own velocity (Liu et al. 2023, section 2.1), of order 1.

    On a rectified flow it is the usual flow sampler, and DDIM with eta 0; on a variance-preserving process it goes
    along the angle (Salimans & Ho 2022, appendix D); on EDM along sigma.
    clock: 'process' for that; 'sigma' walks x / alpha straight in sigma / alpha, along eps, whatever the process, as
        k-diffusion and the Euler and Heun of diffusers do: DDIM with eta 0 for Euler, another walk for Heun.
    start: where it begins, 'process' at its own x of variance 1; 'sigma' at sigma times the noise, without the data's
        share of the variance, as they do too (diffusers not with its spacing 'leading').
    """

    clock: Literal['process', 'sigma'] = 'process'
    start: Literal['process', 'sigma'] = 'process'

    def begin(self, process: Process, noise: jax.Array, t: jax.Array) -> jax.Array:
        return process.start(noise, t) if self.start == 'process' else process.alpha_sigma(t)[1] * noise

    def step(
        self,
        denoise: Denoise,
        state: Any,
        x: jax.Array,
        t: jax.Array,
        s: jax.Array,
        process: Process,
        noise: jax.Array | None,
    ) -> Step:
        said = denoise(x, t)
        return Step(self._straight(process, said, x, t, s), said.x0)

    def _straight(self, process: Process, said: Denoised, x: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
        """Return x at s, from x at t with the prediction there."""
        if self.clock == 'process':
            return x + self._passed(process, t, s, x.ndim) * self._slope(process, said, t)
        alpha, sigma = (expand(c, x.ndim) for c in process.alpha_sigma(s))
        return alpha * said.x0 + sigma * said.eps  # the same, and finite where alpha is 0 at t

    def _slope(self, process: Process, said: Denoised, t: jax.Array) -> jax.Array:
        return said.eps if self.clock == 'sigma' else target('velocity', process, said.x0, said.eps, t)

    def _passed(self, process: Process, t: jax.Array, s: jax.Array, ndim: int) -> jax.Array:
        """Return how far x at s moves with the slope."""
        if self.clock == 'process':
            return expand(process.clock(s) - process.clock(t), ndim)
        (alpha_t, sigma_t), (alpha_s, sigma_s) = process.alpha_sigma(t), process.alpha_sigma(s)
        finite = alpha_t > SMALLEST  # the step from a sigma / alpha without bound has no second order
        return expand(jnp.where(finite, sigma_s - alpha_s * sigma_t / jnp.where(finite, alpha_t, 1), 0), ndim)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heun(Euler):
    """Euler's step, then its velocity averaged with the one where it led (Karras et al. 2022, algorithm 1), of order 2.

    The network is asked twice a step. The last step is Euler's: what is clean has no direction of its own.
    """

    def step(
        self,
        denoise: Denoise,
        state: Any,
        x: jax.Array,
        t: jax.Array,
        s: jax.Array,
        process: Process,
        noise: jax.Array | None,
    ) -> Step:
        said = denoise(x, t)
        there = self._straight(process, said, x, t, s)
        again = denoise(there, s)
        turned = self._slope(process, again, s) - self._slope(process, said, t)
        better = there + self._passed(process, t, s, x.ndim) * turned / 2
        last = expand(s == 0, x.ndim)
        return Step(jnp.where(last, there, better), jnp.where(last, said.x0, again.x0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class StochasticHeun(Heun):
    """EDM's sampler (Karras et al. 2022, algorithm 2): a little noise is added, then Heun's step is taken from there.

    churn: S_churn, in all; a step raises sigma / alpha by the factor 1 + min(churn / steps, sqrt(2) - 1), where it is
    within [churn_min, churn_max], but not above the noise of t = 1. churn_noise: S_noise, the standard deviation of the
    noise that is added. With churn 0 it is Heun.
    """

    churn: Annotated[float, AtLeast(0, 1e9)] = 40.0
    churn_min: Annotated[float, AtLeast(0, 1e9)] = 0.05
    churn_max: Annotated[float, AtLeast(0, 1e9)] = 50.0
    churn_noise: Annotated[float, Between(0, 10)] = 1.003

    @property
    def stochastic(self) -> bool:
        return self.churn > 0

    def step(
        self,
        denoise: Denoise,
        state: Any,
        x: jax.Array,
        t: jax.Array,
        s: jax.Array,
        process: Process,
        noise: jax.Array | None,
    ) -> Step:
        if not self.stochastic:
            return super().step(denoise, state, x, t, s, process, noise)
        assert noise is not None
        logsnr = process.logsnr(t)
        sigma = jnp.exp(-logsnr / 2)
        churned = (self.churn_min <= sigma) & (sigma <= self.churn_max)
        factor = 1 + min(self.churn / self.steps, math.sqrt(2) - 1)
        higher = jnp.maximum(jnp.where(churned, process.time_of(logsnr - 2 * math.log(factor)), t), t)
        raised = higher > t  # nothing to do where not, and alpha may be 0 there
        alpha_h, alpha_t = process.alpha_sigma(higher)[0], process.alpha_sigma(t)[0]
        kept = jnp.where(raised, alpha_h / jnp.where(raised, alpha_t, 1), 1)
        added = jnp.where(raised, self.churn_noise * jnp.sqrt(variances(process, higher, t)[1]), 0)
        x = expand(kept, x.ndim) * x + expand(added, x.ndim) * noise
        return super().step(denoise, state, x, higher, s, process, None)
