"""What an autoencoder is trained on."""

from dataclasses import dataclass

import jax.numpy as jnp


@dataclass(frozen=True)
class Reconstruction:
    """The config group config.reconstruction: absolute error, and kl_weight times the divergence from N(0, 1)."""

    kl_weight: float = 1e-6
    lpips_weight: float = 0.0
    lpips_path: str | None = None

    @property
    def abstract_frozen(self):
        return {}

    def __call__(self, x, y, mean, logvar, lpips):
        over = tuple(range(1, x.ndim))
        r = jnp.abs(x - y).mean(over)
        kl = 0.5 * (mean**2 + jnp.exp(logvar) - 1 - logvar).mean(over)
        return r + self.kl_weight * kl, jnp.abs(x - y).mean(range(2, x.ndim)), None, {'reconstruction': r, 'kl': kl}
