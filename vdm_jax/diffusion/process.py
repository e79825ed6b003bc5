"""How clean video becomes noise: x_t = alpha x0 + sigma eps, and in what time it goes. A process is one small class.

t is float in [0, 1], 1 = noise, of any shape; answers are float32 of t's shape. docs/diffusion.md states how each
process's t maps to the time its papers use.
"""

import jax
import jax.numpy as jnp

from vdm_jax.config.ranges import Ranged

Pair = tuple[jax.Array, jax.Array]

# An alpha or sigma below this counts as 0. That of the last of cosine's 1000 timesteps, 5e-5, does not.
SMALLEST = 1e-5


class Process(Ranged, where='config.diffusion.process'):
    """Base of all processes; a process adds `alpha_sigma`, `time_of`, `clock`, `rates` and `model_time`.

    Attributes:
      steps: The number of discrete timesteps, None where time is continuous.
      data_std: Standard deviation of the data that the 'edm' prediction assumes.
    """

    steps: int | None = None
    data_std: float = 1.0

    def alpha_sigma(self, t: jax.Array) -> Pair:
        """Return the coefficients of signal and noise in x_t."""
        raise NotImplementedError

    def time_of(self, logsnr: jax.Array) -> jax.Array:
        """Return the t at which the log signal-to-noise ratio, log(alpha^2 / sigma^2), is this: `logsnr`, inverted.

        A ratio that no t has comes out as the nearest end, 0 or 1.
        """
        raise NotImplementedError

    def clock(self, t: jax.Array) -> jax.Array:
        """Return the time in which the path between data and noise is walked; grows with t, or falls all the way."""
        raise NotImplementedError

    def rates(self, t: jax.Array) -> Pair:
        """Return (d alpha, d sigma) / d clock, so that the 'velocity' is dalpha x0 + dsigma eps."""
        raise NotImplementedError

    def model_time(self, t: jax.Array) -> jax.Array:
        """Return the number the network is fed: the time of the process's papers."""
        raise NotImplementedError

    def logsnr(self, t: jax.Array) -> jax.Array:
        """Return log(alpha^2 / sigma^2), falling with t; bounded by +-23, also where alpha or sigma is 0."""
        # Both ends have a finite ratio, so that spacings, weights and networks that are fed it need no special case for
        # them.
        alpha, sigma = (jnp.maximum(c, SMALLEST) for c in self.alpha_sigma(t))
        return 2 * (jnp.log(alpha) - jnp.log(sigma))

    def corrupt(self, x0: jax.Array, eps: jax.Array, t: jax.Array) -> jax.Array:
        """Return x_t of x0, eps (B, T, ...) at t (B,) or (B, T), or any other leading dimensions; float32."""
        alpha, sigma = (expand(c, x0.ndim) for c in self.alpha_sigma(t))
        return alpha * x0 + sigma * eps

    def model_input(self, x_t: jax.Array, t: jax.Array) -> jax.Array:
        """Return the network's input for x_t: x_t itself, unless the process scales it; t is (B,) or (B, T)."""
        return x_t

    def start(self, noise: jax.Array, t: jax.Array) -> jax.Array:
        """Return x where sampling from the scalar time t begins: the standard normal noise (B, T, ...) itself."""
        return noise

    def snap(self, t: jax.Array) -> jax.Array:
        """Return the training time that a drawn t in (0, 1] stands for: itself, or the discrete time at or above it."""
        return t


class VariancePreserving(Process):
    """A process with alpha^2 + sigma^2 = 1.

    The clock is the angle of (alpha, sigma), in which 'velocity' and 'v' are one (Salimans & Ho 2022, appendix D).
    """

    def clock(self, t: jax.Array) -> jax.Array:
        """Return the angle in [0, pi / 2]."""
        alpha, sigma = self.alpha_sigma(t)
        return jnp.arctan2(sigma, alpha)

    def rates(self, t: jax.Array) -> Pair:
        alpha, sigma = self.alpha_sigma(t)
        return -sigma, alpha


def expand(t: jax.Array, ndim: int) -> jax.Array:
    """Give t (B,) or (B, T) trailing dimensions of 1 up to rank ndim, so that it meets x (B, T, ...) from the left."""
    return jnp.expand_dims(t, range(t.ndim, ndim))
