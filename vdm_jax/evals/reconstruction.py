"""How near does an autoencoder come to what it is shown?"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vdm_jax.data.source import Reader
from vdm_jax.evals.metrics import FRAME_METRICS
from vdm_jax.evals.protocol import OF_AUTOENCODERS, EvaluateConfig, SampleSetProtocol, name_split, read_held_out
from vdm_jax.evals.score import Score
from vdm_jax.nn.config import NetworkConfig


@dataclass(frozen=True)
class Reconstruction(SampleSetProtocol):
    """Held-out clips, all of their frames shown, beside what the autoencoder makes of them.

    Figures are PSNR in dB, SSIM, squared and absolute error as evals/metrics.py has them, means over frames and clips;
    psnr_min is that of the worst clip. The floor is the mean picture of the clips, in their place. Clips of a mixture
    are those that its order gives, each source with its share.
    """

    samples_row: ClassVar = 'reconstructed'

    @property
    def figures(self) -> tuple[str, ...]:
        """Those of frames, and the PSNR of the worst clip."""
        return (*FRAME_METRICS, 'psnr_min')

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Better than the mean picture."""
        return ('beats_mean',)

    def refusal(self, reader: Reader, network: NetworkConfig) -> str | None:
        """Return that only an autoencoder reconstructs."""
        return None if network.autoencodes else OF_AUTOENCODERS

    def is_usual_for(self, reader: Reader, network: NetworkConfig) -> bool:
        """Return whether the network is an autoencoder, whatever its data are."""
        return network.autoencodes

    def make_conditions(self, reader: Reader, held_out: Reader, config: EvaluateConfig) -> dict[str, np.ndarray]:
        """Return the labels and all frames of held-out clips."""
        clips = read_held_out(held_out, config)
        return {'label': clips['label'], 'frames': clips['video']}

    def score(
        self,
        videos: np.ndarray,
        conditions: dict[str, np.ndarray],
        reader: Reader,
        held_out: Reader,
        config: EvaluateConfig,
    ) -> Score:
        """Hold reconstructions, and the mean picture in their place, against the clips."""
        true = conditions['frames']
        mean = np.broadcast_to(true.mean((0, 1)), true.shape)
        figures = {
            'reconstructed': measure_reconstructions(videos, true),
            'mean picture': measure_reconstructions(mean, true),
        }
        return Score(
            name=f'reconstruction{len(true)}_{true.shape[1]}f',
            figures=figures,
            verdict={'beats_mean': figures['reconstructed']['psnr'] > figures['mean picture']['psnr']},
            settings={'split': name_split(reader, held_out), 'real_clips': len(true)},
        )


def measure_reconstructions(videos: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Return the figures of clips (N, T, H, W, C) beside the true ones, and the PSNR of the worst."""
    by_clip = {name: metric(videos, true) for name, metric in FRAME_METRICS.items()}
    means = {name: float(values.mean()) for name, values in by_clip.items()}
    return means | {'psnr_min': float(by_clip['psnr'].min())}
