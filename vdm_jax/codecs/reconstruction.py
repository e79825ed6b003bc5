"""What an autoencoder is trained on: how far off it is, how it looks, and how much its latents say."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from vdm_jax.codecs import lpips as perceptual
from vdm_jax.codecs.posterior import divergence
from vdm_jax.config.ranges import Ranged, Weight
from vdm_jax.errors import UserError

SOFTNESS = 1e-3  # below which Charbonnier's error is quadratic


class Costs(NamedTuple):
    """Of an autoencoder, float32: the loss of each clip (B,), its error of each frame (B, T), no time of diffusion, and
    the parts of the loss (B,) by name.
    """

    loss: jax.Array
    by_frame: jax.Array
    t: None
    parts: dict


@dataclass(frozen=True)
class Reconstruction(Ranged, where='config.reconstruction'):
    """The config group config.reconstruction: error + kl_weight * divergence + lpips_weight * LPIPS.

    kind: of the error of a pixel value in [-1, 1], whose mean is taken: l1, l2, or charbonnier, sqrt(error^2 + 1e-6),
    an l1 that is smooth at 0. The divergence of a clip's latents from N(0, 1) is counted in nats for each of its pixel
    values, whatever the number of latents: so kl_weight is that of a beta-VAE, and that of latent diffusion (Rombach et
    al. 2022), where 1e-6 is usual. lpips_path: the weights of LPIPS, which `pretrained` reads.
    """

    kind: Literal['l1', 'l2', 'charbonnier'] = 'l1'
    kl_weight: Weight = 1e-6
    lpips_weight: Weight = 0.0
    lpips_path: str | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.lpips_weight and self.lpips_path is None:
            raise UserError(
                f'config.reconstruction.lpips_weight={self.lpips_weight}: set lpips_path to the weights of LPIPS, or '
                'lpips_weight to 0'
            )

    @property
    def abstract_frozen(self) -> dict:
        """Shapes of the weights that the loss needs."""
        return {'lpips': perceptual.abstract()} if self.lpips_weight else {}

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts of what it costs."""
        return ('reconstruction', 'kl', 'psnr', *(['lpips'] if self.lpips_weight else []))

    def __call__(self, x, y, mean, logvar, lpips=None) -> Costs:
        """What it costs to give y (B, T, H, W, C) for x, pixels in [-1, 1], by latents of these moments.

        Parts: reconstruction, the mean error; kl, in nats a latent value; psnr in dB, of clips cut off at [-1, 1] where
        the peak is 2; lpips, the mean of the frames, where it counts. lpips: the weights of LPIPS.
        """
        error, of_clip = y - x, range(1, x.ndim)
        by_frame = KINDS[self.kind](error).mean(range(2, x.ndim))
        kl = divergence(mean, logvar).mean(of_clip)
        squared = jnp.square(jnp.clip(y, -1, 1) - x).mean(of_clip)
        parts = {'reconstruction': by_frame.mean(1), 'kl': kl, 'psnr': 10 * jnp.log10(4 / jnp.maximum(squared, 1e-10))}
        loss = parts['reconstruction'] + self.kl_weight * kl * (mean[0].size / x[0].size)
        if self.lpips_weight:
            parts['lpips'] = perceptual.distance(lpips, x, y).mean(1)
            loss += self.lpips_weight * parts['lpips']
        return Costs(loss, by_frame, None, jax.lax.stop_gradient(parts))


KINDS = {
    'l1': jnp.abs,
    'l2': jnp.square,
    'charbonnier': lambda error: jnp.sqrt(jnp.square(error) + SOFTNESS**2),
}
