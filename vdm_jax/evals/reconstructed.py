"""How near an autoencoder comes to what it is shown."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vdm_jax.data.clips import batch_of
from vdm_jax.evals import prediction
from vdm_jax.evals.protocols import split_of


@dataclass(frozen=True)
class Reconstructed:
    """Held-out clips, given whole, beside what the autoencoder makes of them: PSNR in dB, SSIM, squared and absolute
    error as evals/prediction.py has them, means over frames and clips; psnr_min is that of the worst clip.

    The floor is the mean picture of the clips, in their place.
    """

    sources: ClassVar = (object,)

    def asks(self, source, held_out, config):
        clips = self.clips(held_out, config)
        return {'label': clips['label'], 'frames': clips['video']}

    def clips(self, held_out, config):
        return batch_of(held_out, range(min(config.real, len(held_out))))

    def score(self, videos, asks, source, held_out, config):
        true = asks['frames']
        mean = np.broadcast_to(true.mean((0, 1)), true.shape)
        rows = {'reconstructed': videos, 'mean picture': mean}
        figures = {name: self.figures(clips, true) for name, clips in rows.items()}
        return {
            'name': f'reconstruction{len(true)}_{true.shape[1]}f',
            'figures': figures,
            'verdict': {'beats_mean': figures['reconstructed']['psnr'] > figures['mean picture']['psnr']},
            'split': split_of(source, held_out),
            'real_clips': len(true),
        }

    @staticmethod
    def figures(clips, true) -> dict[str, float]:
        found = {name: metric(clips, true) for name, metric in prediction.METRICS.items()}
        return {name: float(values.mean()) for name, values in found.items()} | {'psnr_min': float(found['psnr'].min())}
