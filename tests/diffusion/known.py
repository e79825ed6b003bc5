"""Data whose best denoiser is known in closed form: one normal distribution, and two side by side. Videos are (B,
1)."""

import jax
import jax.numpy as jnp

from vdm_jax.diffusion.objective import Denoised

MEAN = 1.5
STD = 0.4
MODES = (-1.0, 1.0)
SHARES = (0.3, 0.7)
WIDTH = 0.2


def spread(process, t):
    """(alpha, sigma, standard deviation of x_t) for data N(MEAN, STD^2)."""
    alpha, sigma = process.alpha_sigma(t)
    return alpha, sigma, jnp.sqrt(alpha**2 * STD**2 + sigma**2)


def normal(process):
    """(x, t, before) -> what the best network would say of data N(MEAN, STD^2)."""

    def denoise(x, t, before=None):
        alpha, sigma, std = (c[:, None] for c in spread(process, t))
        off = (x - alpha * MEAN) / std**2
        return Denoised(MEAN + alpha * STD**2 * off, sigma * off)

    return denoise


def mixture(process):
    """(x, t, before) -> what the best network would say of two normals at MODES with SHARES and standard deviation
    WIDTH."""

    def denoise(x, t, before=None):
        alpha, sigma = (c[:, None] for c in process.alpha_sigma(t))
        variance = alpha**2 * WIDTH**2 + sigma**2
        off = x - alpha * jnp.array(MODES)[None]  # (B, 2)
        share = jax.nn.softmax(jnp.log(jnp.array(SHARES))[None] - off**2 / (2 * variance), -1)
        mean = jnp.array(MODES)[None] + alpha * WIDTH**2 * off / variance
        return Denoised((share * mean).sum(-1, keepdims=True), (share * sigma * off / variance).sum(-1, keepdims=True))

    return denoise


def flow_of(process, x, t):
    """Where the probability flow of data N(MEAN, STD^2) leads x (B, 1) from the scalar time t: x at 0."""
    alpha, _, std = spread(process, jnp.float32(t))
    return MEAN + STD * (x - alpha * MEAN) / std
