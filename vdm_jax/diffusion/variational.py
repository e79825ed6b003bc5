"""The variational bound of a network that learns its variance (Nichol & Dhariwal 2021, section 3.1 and their code)."""

import jax
import jax.numpy as jnp

from vdm_jax.diffusion.posterior import learned_log_variance, posterior_mean, variances
from vdm_jax.diffusion.process import Process, expand

BIN = 1 / 255  # half of a pixel value's width, where pixels are in [-1, 1]


def bound(
    process: Process, x0: jax.Array, x_t: jax.Array, t: jax.Array, denoised_x0: jax.Array, variance: jax.Array
) -> jax.Array:
    """Return the term of the bound at t, in bits per dimension, averaged over all but batch and frames: (B, T) float32.

    KL(q(x_s | x_t, x0) || p(x_s | x_t)) with s one timestep below t; at the paper's timestep 0, where s is clean, the
    negative log likelihood of x0 as one of 256 values in [-1, 1] (Ho et al. 2020, eq. 13).

    Args:
      process: A discrete one.
      x0: (B, T, ...).
      x_t: Of the same shape.
      t: (B,) or (B, T), of the process's grid.
      denoised_x0: The network's x0; it is not learned from here (eq. 16: the gradient stops).
      variance: The network's, in [-1, 1] where it has learned anything.
    """
    assert process.steps is not None
    s = jnp.round(t * process.steps - 1) / process.steps
    small, large = variances(process, t, s)

    # The posterior's variance is 0 where s is clean: IDDPM's code takes that of the timestep after.
    second = jnp.full_like(t, 2 / process.steps)
    small = jnp.where(s > 0, small, variances(process, second, second / 2)[0])
    log_variance = learned_log_variance(variance, small, large)
    true_log = expand(jnp.log(small), x0.ndim)

    # The bound guides the variance alone, and the squared error what the network makes of x0.
    mean = posterior_mean(process, jax.lax.stop_gradient(denoised_x0), x_t, t, s)
    difference = jnp.square(posterior_mean(process, x0, x_t, t, s) - mean)

    kl = 0.5 * (log_variance - true_log + jnp.exp(true_log - log_variance) + difference * jnp.exp(-log_variance) - 1)
    decoder = -log_likelihood(x0, mean, 0.5 * log_variance)
    term = jnp.where(expand(s > 0, x0.ndim), kl, decoder)
    return jnp.mean(term, axis=range(2, term.ndim)) / jnp.log(2.0)


def log_likelihood(x: jax.Array, mean: jax.Array, log_std: jax.Array) -> jax.Array:
    """Return the log of the normal's mass over the bin of x, one of 256 in [-1, 1], the outer ones open; of x's shape.

    The distribution function is IDDPM's tanh approximation, so that losses can be compared number for number.
    """
    offset = x - mean
    scale = jnp.exp(-log_std)
    upper = _normal_cdf(scale * (offset + BIN))
    lower = _normal_cdf(scale * (offset - BIN))
    # The outer bins hold all the mass beyond them, as black and white are where pixel values are clipped.
    is_lowest = x < -0.999
    is_highest = x > 0.999
    mass = jnp.where(is_lowest, upper, jnp.where(is_highest, 1 - lower, upper - lower))
    return jnp.log(jnp.maximum(mass, 1e-12))


def _normal_cdf(z: jax.Array) -> jax.Array:
    return 0.5 * (1 + jnp.tanh(jnp.sqrt(2 / jnp.pi) * (z + 0.044715 * z**3)))
