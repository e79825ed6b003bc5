"""Reconstruction loss of an autoencoder: its error, how different it looks, and how much its latents hold."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from vdm_jax.codecs import lpips as perceptual
from vdm_jax.codecs.codec import Weights
from vdm_jax.codecs.posterior import kl_divergence
from vdm_jax.config.ranges import OneOf, Ranged, Weight
from vdm_jax.errors import UserError

SOFTNESS = 1e-3  # below which Charbonnier's error is quadratic


def charbonnier(error: jax.Array) -> jax.Array:
    """Compute sqrt(error^2 + 1e-6), an absolute value that is smooth at 0 (Charbonnier et al. 1994)."""
    return jnp.sqrt(jnp.square(error) + SOFTNESS**2)


KINDS = {'l1': jnp.abs, 'l2': jnp.square, 'charbonnier': charbonnier}


class ReconstructionLosses(NamedTuple):
    """Losses of an autoencoder, float32.

    Attributes:
      loss: Of each clip, (B,).
      by_frame: The error of each frame, (B, T).
      parts: Terms of the loss and what is logged with them, by name, (B,) each.
    """

    loss: jax.Array
    by_frame: jax.Array
    parts: dict[str, jax.Array]


@dataclass(frozen=True)
class Reconstruction(Ranged, where='config.reconstruction'):
    """The config group config.reconstruction: error + kl_weight * divergence + lpips_weight * LPIPS.

    The divergence of a clip's latents from N(0, 1) is counted in nats for each of its pixel values, whatever the number
    of latents: so kl_weight is that of a beta-VAE, and that of latent diffusion (Rombach et al. 2022), where 1e-6 is
    usual.

    Attributes:
      kind: Of the error of a pixel value in [-1, 1], whose mean is taken: l1, l2, or charbonnier, sqrt(error^2 + 1e-6),
        an l1 that is smooth at 0.
      kl_weight: Weight of the divergence of the latents from N(0, 1), in nats a pixel value.
      lpips_weight: Weight of LPIPS, the mean over frames; 0: it is not computed.
      lpips_path: Weights of LPIPS with VGG-16: lpips, which `python -m vdm_jax weights fetch lpips` brings, or a file
        (vdm_jax/pretrained/lpips.py reads it).
    """

    kind: Annotated[str, OneOf(KINDS)] = 'l1'
    kl_weight: Weight = 1e-6
    lpips_weight: Weight = 0.0
    lpips_path: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lpips_weight and self.lpips_path is None:
            raise UserError(
                f'config.reconstruction.lpips_weight={self.lpips_weight}: set lpips_path to the weights of LPIPS '
                '(lpips, or a file), or lpips_weight to 0'
            )

    @property
    def abstract_frozen(self) -> dict[str, Weights]:
        """Shapes of the frozen weights that the loss needs."""
        return {'lpips': perceptual.abstract_weights()} if self.lpips_weight else {}

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of ReconstructionLosses.parts."""
        names = ('reconstruction', 'kl', 'psnr')
        return (*names, 'lpips') if self.lpips_weight else names

    def __call__(
        self, x: jax.Array, y: jax.Array, mean: jax.Array, logvar: jax.Array, lpips: Weights | None = None
    ) -> ReconstructionLosses:
        """Return the losses of reconstructing x as y.

        The parts are reconstruction, the mean error; kl, in nats a latent value; psnr in dB, of y clipped to [-1, 1],
        where the peak is 2; and lpips, the mean over frames, where it has a weight.

        Args:
          x: Clips (B, T, H, W, C), pixels in [-1, 1].
          y: Their reconstructions.
          mean: Of the posterior of the latents, (B, …).
          logvar: Their log variance.
          lpips: The weights of LPIPS.
        """
        within_clip = range(1, x.ndim)
        by_frame = KINDS[self.kind](y - x).mean(range(2, x.ndim))
        kl = kl_divergence(mean, logvar).mean(within_clip)
        # The floor of 1e-10 keeps the psnr of a perfect reconstruction finite, at 106 dB.
        squared_error = jnp.square(jnp.clip(y, -1, 1) - x).mean(within_clip)
        parts = {
            'reconstruction': by_frame.mean(1),
            'kl': kl,
            'psnr': 10 * jnp.log10(4 / jnp.maximum(squared_error, 1e-10)),
        }

        # From nats a latent value to nats a pixel value.
        latents_per_pixel = mean[0].size / x[0].size
        loss = parts['reconstruction'] + self.kl_weight * kl * latents_per_pixel
        if self.lpips_weight:
            if lpips is None:
                raise ValueError('LPIPS has a weight in the loss, and no weights of its own')
            parts['lpips'] = perceptual.distance(lpips, x, y).mean(1)
            loss += self.lpips_weight * parts['lpips']
        # The parts are for the log: gradients come through the loss alone.
        return ReconstructionLosses(loss, by_frame, jax.lax.stop_gradient(parts))
