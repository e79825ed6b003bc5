"""The step from x_t to a less noisy x_s when x0 is known, and what a network may learn of its variance."""

import jax
import jax.numpy as jnp

from vdm_jax.diffusion.process import Pair, Process, expand

SMALLEST_VARIANCE = 1e-20


def variances(process: Process, t: jax.Array, s: jax.Array) -> Pair:
    """Return (small, large), the bounds of the reverse step's variance, of t's shape; s < t.

    Ho et al. 2020, section 3.2.

    small is the posterior's own, beta tilde, right for data that is one point, and 0 where s is clean; large is beta,
    the variance put in between s and t, right for data that is white noise.
    """
    alpha_t, sigma_t = process.alpha_sigma(t)
    alpha_s, sigma_s = process.alpha_sigma(s)
    # Rounding may leave a variance of 0 a little below it.
    large = jnp.maximum(sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2, 0)
    return large * (sigma_s / sigma_t) ** 2, large


def posterior_mean(process: Process, x0: jax.Array, x_t: jax.Array, t: jax.Array, s: jax.Array) -> jax.Array:
    """Return the mean of q(x_s | x_t, x0) (Ho et al. 2020, eq. 7), for any alpha and sigma.

    x0, x_t: (B, T, ...); t, s: (B,) or (B, T) with s < t.
    """
    alpha_t, sigma_t = process.alpha_sigma(t)
    alpha_s, sigma_s = process.alpha_sigma(s)
    _, large = variances(process, t, s)
    coef_x0 = alpha_s * large / sigma_t**2
    coef_x_t = alpha_t / alpha_s * (sigma_s / sigma_t) ** 2
    return expand(coef_x0, x0.ndim) * x0 + expand(coef_x_t, x0.ndim) * x_t


def learned_log_variance(output: jax.Array, small: jax.Array, large: jax.Array) -> jax.Array:
    """Return the log of the variance of a network's second half of channels: -1 is `small`, 1 is `large`.

    Nichol & Dhariwal 2021, eq. 15.

    Args:
      output: (B, T, ...), in [-1, 1] once learned.
      small: (B,) or (B, T).
      large: Of the same shape.
    """
    # `small` is 0 where s is clean: its logarithm is kept finite here, and callers use another variance there.
    low, high = (expand(jnp.log(jnp.maximum(v, SMALLEST_VARIANCE)), output.ndim) for v in (small, large))
    share = (output.astype(jnp.float32) + 1) / 2
    return share * high + (1 - share) * low
