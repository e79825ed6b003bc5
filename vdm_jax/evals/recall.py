"""Does a network give back the clips that it was made to memorise?"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from vdm_jax.config.ranges import Between
from vdm_jax.data.bucketed import Bucketed
from vdm_jax.data.clip_batches import batch_of, videos_of
from vdm_jax.data.records.source import Records
from vdm_jax.data.source import Reader
from vdm_jax.data.video_folder import VideoFolder
from vdm_jax.evals.metrics import CLIP, compute_psnr
from vdm_jax.evals.protocol import TEXT, EvaluateConfig, SampleSetProtocol
from vdm_jax.evals.score import Score


@dataclass(frozen=True)
class Recall(SampleSetProtocol):
    """How well a network that was made to memorise clips, each under its own label, gives them back.

    Every label is sampled once; each sample is compared with the first clip of its label as evaluation sees it (for a
    video folder labelled by index: its own file, from the first frame, centre crop). No other clip should be nearer.

    Attributes:
      threshold_db: PSNR in dB that every sample should reach.
    """

    usual_sources: ClassVar = (Bucketed, Records, VideoFolder)

    threshold_db: Annotated[float, Between(0, 200)] = 20.0

    @property
    def figures(self) -> tuple[str, ...]:
        """Those of all labels together."""
        return ('psnr_db', 'psnr_min_db')

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Near enough, and nearest of all clips."""
        return ('psnr', 'own_clip')

    def lack(self, reader: Reader) -> str | None:
        """Return that there are no labels, of which each of several clips wants its own."""
        return None if reader.num_classes or len(reader) == 1 else 'labels'

    def make_conditions(self, reader: Reader, held_out: Reader, config: EvaluateConfig) -> dict[str, np.ndarray]:
        """Return every label once, with the text of its first clip."""
        clips = self._read_clips(reader, config)
        labels, first = np.unique(clips['label'], return_index=True)
        return {'label': labels} | {name: clips[name][first] for name in TEXT if name in clips}

    def score(
        self,
        videos: np.ndarray,
        conditions: dict[str, np.ndarray],
        reader: Reader,
        held_out: Reader,
        config: EvaluateConfig,
    ) -> Score:
        """Compare each sample with every clip: it should be nearest to its own, and near enough."""
        clips = self._read_clips(reader, config)
        real = videos_of(clips)
        labels = conditions['label']
        own_clips = np.array([np.flatnonzero(clips['label'] == label)[0] for label in labels])

        # Against all clips: a sample may be near enough to its own and still nearer to another.
        decibels = np.stack([compute_psnr(video, real, CLIP) for video in videos])  # (samples, clips)
        own = decibels[np.arange(len(own_clips)), own_clips]

        samples = {'psnr_db': float(own.mean()), 'psnr_min_db': float(own.min())}
        by_label = {f'label_{label}': {'psnr_db': float(value)} for label, value in zip(labels, own, strict=True)}
        return Score(
            name=f'recall{len(videos)}_{reader.shape[0]}f',
            figures={'samples': samples} | by_label,
            verdict={
                'psnr': bool(own.min() >= self.threshold_db),
                'own_clip': bool((own >= decibels.max(1)).all()),
            },
            settings={'split': 'train', 'threshold_db': self.threshold_db},
        )

    def _read_clips(self, reader: Reader, config: EvaluateConfig) -> dict[str, np.ndarray]:
        return batch_of(reader, range(min(config.real, len(reader))))
