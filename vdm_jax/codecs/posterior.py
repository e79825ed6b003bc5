"""The posterior of latents: independent normal distributions, mean and log variance in arrays of one shape."""

import jax
import jax.numpy as jnp


def draw(mean: jax.Array, logvar: jax.Array, keys_B: jax.Array) -> jax.Array:
    """Draw latents (B, …), each row by its own key."""

    def draw_noise(key: jax.Array) -> jax.Array:
        return jax.random.normal(key, mean.shape[1:])

    # By a key for each row, noise depends neither on the batch's other rows nor on its size.
    noise = jax.vmap(draw_noise)(keys_B)
    return mean + jnp.exp(0.5 * logvar) * noise


def kl_divergence(mean: jax.Array, logvar: jax.Array) -> jax.Array:
    """Compute KL(N(mean, variance) || N(0, 1)) of each latent, in nats (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (jnp.square(mean) + jnp.exp(logvar) - 1 - logvar)
