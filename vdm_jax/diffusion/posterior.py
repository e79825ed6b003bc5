"""The step from x_t to a less noisy x_s when x0 is known, and what a network may learn of its variance."""

import jax
import jax.numpy as jnp

from vdm_jax.diffusion.process import Pair, Process, expand

LEAST = 1e-20  # variance


def variances(process: Process, t: jax.Array, s: jax.Array) -> Pair:
    """Return (small, large), the bounds of the reverse step's variance, of t's shape; s < t.

    Ho et al. 2020, section 3.2.

    small is the posterior's own, beta tilde, right for data that is one point, and 0 where s is clean; large is beta,
    the variance put in between s and t, right for data that is white noise.
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = process.alpha_sigma(t), process.alpha_sigma(s)
    large = jnp.maximum(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0)
    return large * (sigma_s / sigma_t) ** 2, large


def posterior_mean(process: Process, x0: jax.Array, x_t: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
    """Return the mean of q(x_s | x_t, x0) (Ho et al. 2020, eq. 7), for any alpha and sigma.

    x0, x_t: (B, T, ...); t, s: (B,) or (B, T) with s < t.
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = process.alpha_sigma(t), process.alpha_sigma(s)
    _, large = variances(process, t, s)
    of_x0, of_x_t = alpha_s * large / sigma_t**2, alpha_t / alpha_s * (sigma_s / sigma_t) ** 2
    return expand(of_x0, x0.ndim) * x0 + expand(of_x_t, x0.ndim) * x_t


def learned_log_variance(said: jax.Array, small: jax.Array, large: jax.Array) -> jax.Array:
    """Return the log of the variance that a network's second half gives: -1 is `small`, 1 is `large`.

    Nichol & Dhariwal 2021, eq. 15. said: (B, T, ...), in [-1, 1] once learned; small, large: (B,) or (B, T).
    """
    low, high = (expand(jnp.log(jnp.maximum(v, LEAST)), said.ndim) for v in (small, large))
    share = (said.astype(jnp.float32) + 1) / 2
    return share * high + (1 - share) * low
