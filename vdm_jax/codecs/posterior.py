"""Latents that are drawn, each from a normal distribution of its own: mean and log variance are arrays alike."""

import jax
import jax.numpy as jnp


def draw(mean: jax.Array, logvar: jax.Array, keys_B: jax.Array) -> jax.Array:
    """One of each, a clip's by the clip's key."""
    noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:]))(keys_B)
    return mean + jnp.exp(0.5 * logvar) * noise


def divergence(mean, logvar):
    """KL(N(mean, variance) || N(0, 1)) of each latent, in nats (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (jnp.square(mean) + jnp.exp(logvar) - 1 - logvar)
