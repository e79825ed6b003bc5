"""One step from a time t to a less noisy time s.

A sampler is one small class; those with a memory are in multistep.py and unipc.py.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

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
    """The result of a step.

    Attributes:
      x: At s.
      x0: The last denoised estimate on the way.
      state: The sampler's memory.
    """

    x: jax.Array
    x0: jax.Array
    state: Any = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampler(Ranged, where='config.sampler'):
    """Base of all samplers.

    A sampler adds `step`, `init` where it remembers earlier steps, and `evaluations` where it calls the network more
    than once a step.

    Attributes:
      steps: From noise to data.
      spacing: At which times they begin.
      clip: A bound on |x0| at every step, None for none; 1 for pixels in [-1, 1]. An eps network on a schedule whose
        first alpha is nearly 0 (cosine) needs it, as there a small error of eps is a huge one of x0 (IDDPM's code
        clips by default).
    """

    # How often a step calls the network: the last one as any other, as a scan has one program for all of them.
    evaluations: ClassVar[int] = 1

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

        Args:
          denoise: (x, t) -> objective.Denoised, called as often as the sampler's order wants.
          state: The sampler's memory.
          x: (B, T, ...) float32.
          t: (B,) or (B, T), above 0.
          s: Of t's shape.
          process: That is reversed.
          noise: Standard normal of x's shape where the sampler is stochastic, else unused.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ancestral(Sampler):
    """The reverse step of DDPM, a draw from p(x_s | x_t) (Ho et al. 2020, algorithm 2), for any alpha and sigma.

    No noise is added where s is clean.

    Attributes:
      variance: 'small', that of the posterior q(x_s | x_t, x0); 'large', what was added between s and t; or 'learned',
        the network's prediction (config.diffusion.variance=learned_range).
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
        denoised = denoise(x, t)
        small, large = variances(process, t, s)
        if self.variance == 'learned':
            assert denoised.variance is not None  # as config.diffusion.variance is learned_range
            std = jnp.exp(0.5 * learned_log_variance(denoised.variance, small, large))
        else:
            std = expand(jnp.sqrt(small if self.variance == 'small' else large), x.ndim)
        # 'large' and 'learned' are above 0 there too, and their noise would stay in the sample.
        std = jnp.where(expand(s > 0, x.ndim), std, 0)
        return Step(posterior_mean(process, denoised.x0, x, t, s) + std * noise, denoised.x0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DDIM(Sampler):
    """DDIM (Song et al. 2021, eq. 12 and 16), for any alpha and sigma.

    Attributes:
      eta: Of the noise: 0 is deterministic; 1 is the ancestral step with the posterior's variance.
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
        small, _ = variances(process, t, s)
        # Of the noise at s a part is drawn anew, and the rest is the predicted one.
        new_variance = self.eta**2 * expand(small, x.ndim)
        old_variance = jnp.maximum(sigma_s**2 - new_variance, 0)
        return Step(alpha_s * x0 + jnp.sqrt(old_variance) * eps + jnp.sqrt(new_variance) * noise, x0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Euler(Sampler):
    """A straight step along d x / d clock, the process's own velocity (Liu et al. 2023, section 2.1), of order 1.

    On a rectified flow it is the usual flow sampler, and DDIM with eta 0; on a variance-preserving process it goes
    along the angle (Salimans & Ho 2022, appendix D); on EDM along sigma.

    Attributes:
      clock: 'process' for that; 'sigma' walks x / alpha straight in sigma / alpha, along eps, whatever the process, as
        k-diffusion and the Euler and Heun of diffusers do: DDIM with eta 0 for Euler, another walk for Heun.
      start: Where it begins, 'process' at its own x of variance 1; 'sigma' at sigma times the noise, without the data's
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
        denoised = denoise(x, t)
        return Step(self._step_straight(process, denoised, x, t, s), denoised.x0)

    def _step_straight(
        self, process: Process, denoised: Denoised, x: jax.Array, t: jax.Array, s: jax.Array
    ) -> jax.Array:
        """Return x at s, from x at t with the prediction there."""
        if self.clock == 'process':
            return x + self._distance(process, t, s, x.ndim) * self._slope(process, denoised, t)
        # x / alpha straight in sigma / alpha, multiplied out: so it is finite where alpha is 0 at t.
        alpha, sigma = (expand(c, x.ndim) for c in process.alpha_sigma(s))
        return alpha * denoised.x0 + sigma * denoised.eps

    def _slope(self, process: Process, denoised: Denoised, t: jax.Array) -> jax.Array:
        if self.clock == 'sigma':
            return denoised.eps
        return target('velocity', process, denoised.x0, denoised.eps, t)

    def _distance(self, process: Process, t: jax.Array, s: jax.Array, ndim: int) -> jax.Array:
        """Return how far x at s moves with the slope."""
        if self.clock == 'process':
            return expand(process.clock(s) - process.clock(t), ndim)
        alpha_t, sigma_t = process.alpha_sigma(t)
        alpha_s, sigma_s = process.alpha_sigma(s)
        # The step from a sigma / alpha without bound has no second order.
        is_finite = alpha_t > SMALLEST
        distance = sigma_s - alpha_s * sigma_t / jnp.where(is_finite, alpha_t, 1)
        return expand(jnp.where(is_finite, distance, 0), ndim)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heun(Euler):
    """Euler's step, then its velocity averaged with the one at its end (Karras et al. 2022, algorithm 1), of order 2.

    The network runs twice a step. The last step is Euler's: at s = 0 there is no velocity to average with.
    """

    evaluations: ClassVar[int] = 2

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
        first = denoise(x, t)
        euler_x = self._step_straight(process, first, x, t, s)
        second = denoise(euler_x, s)

        slope_change = self._slope(process, second, s) - self._slope(process, first, t)
        heun_x = euler_x + self._distance(process, t, s, x.ndim) * slope_change / 2

        # The network runs a second time there too, for nothing (see `evaluations`).
        is_last = expand(s == 0, x.ndim)
        return Step(jnp.where(is_last, euler_x, heun_x), jnp.where(is_last, first.x0, second.x0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class StochasticHeun(Heun):
    """EDM's sampler (Karras et al. 2022, algorithm 2): a little noise is added, then Heun's step is taken from there.

    A step raises sigma / alpha by the factor 1 + min(churn / steps, sqrt(2) - 1), but not above the noise of t = 1.

    Attributes:
      churn: S_churn, in all steps; with 0 it is Heun.
      churn_min: The least sigma / alpha that is raised.
      churn_max: The largest.
      churn_noise: S_noise, the standard deviation of the noise that is added.
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
        in_range = (self.churn_min <= sigma) & (sigma <= self.churn_max)
        # 1 + gamma of the paper: no more noise is added than there is, which at most doubles the variance.
        factor = 1 + min(self.churn / self.steps, math.sqrt(2) - 1)
        # Never below t, where the rounding of time_of may lead.
        noisier_t = jnp.maximum(jnp.where(in_range, process.time_of(logsnr - 2 * math.log(factor)), t), t)

        # Nothing is added elsewhere, where alpha may be 0.
        is_raised = noisier_t > t
        noisier_alpha, _ = process.alpha_sigma(noisier_t)
        alpha, _ = process.alpha_sigma(t)
        _, added_variance = variances(process, noisier_t, t)
        coef_x = jnp.where(is_raised, noisier_alpha / jnp.where(is_raised, alpha, 1), 1)
        coef_noise = jnp.where(is_raised, self.churn_noise * jnp.sqrt(added_variance), 0)
        x = expand(coef_x, x.ndim) * x + expand(coef_noise, x.ndim) * noise
        return super().step(denoise, state, x, noisier_t, s, process, None)
