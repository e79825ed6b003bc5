"""The variance-exploding process of EDM, with its preconditioning."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from vdm_jax.config.ranges import Above0
from vdm_jax.diffusion.process import SMALLEST, Pair, Process, expand


@dataclasses.dataclass(frozen=True)
class EDM(Process):
    """x_t = x0 + sigma eps with sigma = sigma_max t^rho (Karras et al. 2022, table 1 and eq. 5 with sigma_min = 0).

    Together with prediction='edm', whose network F gives D = c_skip x_t + c_out F, weighting='edm' and
    time='log_normal_sigma' it is the paper's training; c_in and c_noise are `model_input` and `model_time`.

    Attributes:
      sigma_max: The noise at t = 1.
      data_std: Standard deviation of the data.
      rho: Exponent of t; the larger, the more of the times have little noise.
    """

    sigma_max: Annotated[float, Above0(0.01, 1e5)] = 80.0
    data_std: Annotated[float, Above0(1e-3, 1000)] = 0.5
    rho: Annotated[float, Above0(0.1, 12)] = 7.0  # above, sigma is 0 in float32 at small t

    def alpha_sigma(self, t: jax.Array) -> Pair:
        t = jnp.asarray(t, jnp.float32)
        return jnp.ones_like(t), self.sigma_max * t**self.rho

    def time_of(self, logsnr: jax.Array) -> jax.Array:
        sigma = jnp.exp(-jnp.asarray(logsnr, jnp.float32) / 2)
        return jnp.minimum((sigma / self.sigma_max) ** (1 / self.rho), 1)

    def clock(self, t: jax.Array) -> jax.Array:
        """Return sigma."""
        return self.alpha_sigma(t)[1]

    def rates(self, t: jax.Array) -> Pair:
        one = jnp.ones_like(t, jnp.float32)
        return 0 * one, one

    def model_time(self, t: jax.Array) -> jax.Array:
        """Return c_noise = log(sigma) / 4."""
        # Bounded, as sigma is 0 at t = 0, where context frames and the end of the last step are.
        return jnp.log(jnp.maximum(self.alpha_sigma(t)[1], SMALLEST)) / 4

    def model_input(self, x_t: jax.Array, t: jax.Array) -> jax.Array:
        """Return c_in x_t, of variance 1 for data of standard deviation data_std."""
        sigma = self.alpha_sigma(t)[1]
        return x_t / expand(jnp.hypot(sigma, self.data_std), x_t.ndim)

    def start(self, noise: jax.Array, t: jax.Array) -> jax.Array:
        # Without the data's share of the variance, as in the paper's algorithm 1: 0.5^2 beside 80^2.
        return self.alpha_sigma(t)[1] * noise
