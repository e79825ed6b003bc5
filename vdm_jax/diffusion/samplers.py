"""One step from a time t to a less noisy time s, given what the network says of x_t. A sampler is one small class."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from vdm_jax.diffusion.process import Process, expand


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampler:
    """What all samplers share; a sampler adds `step`, and `init` where it remembers earlier steps.

    steps: how many times the network is asked. guidance: the scale of guidance.guide, 1 = none; whoever asks the
    network applies it, the sampler only carries it. clip: a bound on |x0| at every step, None for none; 1 for pixels in
    [-1, 1]. An eps network on a schedule whose first alpha is nearly 0 (cosine) needs it, as there a small error of eps
    is a huge one of x0 (IDDPM's code clips by default).

    Raises: ValueError for steps < 1, a guidance that is negative or not finite, or a clip that is not positive.
    """

    steps: int = 50
    guidance: float = 1.0
    clip: float | None = None

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f'config.sampler.steps is {self.steps}: want at least 1')
        if not 0 <= self.guidance < math.inf:
            raise ValueError(f'config.sampler.guidance is {self.guidance}: want 0 or more, where 1 is no guidance')
        if self.clip is not None and not 0 < self.clip < math.inf:
            raise ValueError(f'config.sampler.clip is {self.clip}: want a number above 0, or none')

    @property
    def stochastic(self) -> bool:
        """Whether `step` needs noise."""
        return False

    def init(self, x: jax.Array) -> Any:
        """The state before the first step at x: a pytree, empty for samplers that remember nothing."""
        return ()

    def step(
        self,
        state: Any,
        x: jax.Array,
        x0: jax.Array,
        eps: jax.Array,
        t: jax.Array,
        s: jax.Array,
        process: Process,
        noise: jax.Array | None,
    ) -> tuple[jax.Array, Any]:
        """From x at t to x at s < t.

        x, x0, eps: (B, T, ...), the last two predicted from x at t; t, s: (B,) or (B, T), t > 0; noise: standard
        normal of x's shape where the sampler is stochastic, else unused. Returns: (x at s in float32, state).
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class DDIM(Sampler):
    """Song et al. 2021, eq. 12 and 16, told for any alpha and sigma.

    eta 0 is deterministic; 1 is the ancestral step, a draw from the posterior q(x_s | x_t, x0) (Ho et al. 2020, eq. 6).

    Raises: ValueError for eta outside [0, 1].
    """

    eta: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.eta <= 1:
            raise ValueError(f'config.sampler.eta is {self.eta}: want a number in [0, 1]')

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def step(self, state, x, x0, eps, t, s, process, noise):
        alpha_t, sigma_t = (expand(c, x.ndim) for c in process.alpha_sigma(t))
        alpha_s, sigma_s = (expand(c, x.ndim) for c in process.alpha_sigma(s))
        if not self.stochastic:
            return alpha_s * x0 + sigma_s * eps, state
        added = jnp.maximum(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0)  # variance put in between s and t
        fresh = self.eta**2 * (sigma_s / sigma_t) ** 2 * added
        kept = jnp.maximum(sigma_s**2 - fresh, 0)
        return alpha_s * x0 + jnp.sqrt(kept) * eps + jnp.sqrt(fresh) * noise, state


@dataclasses.dataclass(frozen=True, kw_only=True)
class Euler(Sampler):
    """A straight step along d x / d clock, the process's own velocity (Liu et al. 2023, section 2.1).

    On a rectified flow it is DDIM with eta 0; on DDPM it goes along the angle (Salimans & Ho 2022, appendix D).
    """

    def step(self, state, x, x0, eps, t, s, process, noise):
        dalpha, dsigma = (expand(c, x.ndim) for c in process.rates(t))
        dt = expand(process.clock(s) - process.clock(t), x.ndim)
        return x + dt * (dalpha * x0 + dsigma * eps), state
