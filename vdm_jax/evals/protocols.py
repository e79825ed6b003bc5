"""Protocols: which videos are asked for, what they are compared with, and what is said of them.

A score is nothing without its protocol: each one writes its settings beside its figures, and its name carries the
number of samples and frames.
"""

from dataclasses import dataclass
from typing import ClassVar
from typing import Protocol as Interface

import numpy as np

from vdm_jax.data.bouncing_balls import BouncingBalls
from vdm_jax.data.clips import batch_of, stack
from vdm_jax.data.source import Source
from vdm_jax.evals import controls, frames, physics


@dataclass(frozen=True)
class EvaluateConfig:
    """How many samples are scored, from which seed, against how many held-out (`real`) and training clips."""

    samples: int = 128
    real: int = 256
    train: int = 20_000
    seed: int = 0
    batch_size: int = 32

    def __post_init__(self):
        for name in ('samples', 'real', 'train', 'batch_size'):
            if getattr(self, name) < 1:
                raise ValueError(f'config.evaluate.{name}={getattr(self, name)}: want 1 or more')


class Protocol(Interface):
    """One way of scoring samples; `sources` are the classes of data whose samples it can score."""

    sources: ClassVar[tuple[type, ...]]

    def labels(self, source: Source, config: EvaluateConfig) -> np.ndarray:
        """The label of every video to be sampled, int32 (N,)."""

    def score(self, videos, labels, source: Source, held_out: Source, config: EvaluateConfig) -> dict:
        """videos uint8 (N, T, H, W, 3) -> {'name', 'figures': {row: {figure: number}}, 'verdict': {name: bool}, …}."""


@dataclass(frozen=True)
class BallPhysics:
    """evals/physics.py on bouncing balls: samples beside held-out clips (the ceiling) and controls (the floors)."""

    sources: ClassVar = (BouncingBalls,)

    def labels(self, source, config):
        return np.arange(config.samples, dtype=np.int32) % max(source.num_classes, 1)

    def score(self, videos, labels, source, held_out, config):
        real = stack(held_out, range(min(config.real, len(held_out))))
        train = stack(source, range(min(config.train, len(source))))
        rows = {'samples': videos, 'real': real} | controls.make(real[: len(videos)], train, config.seed)
        figures = {name: physics.figures(clips, source, train) for name, clips in rows.items()}
        return {
            'name': f'balls{len(videos)}_{source.frames}f',
            'figures': figures,
            'verdict': physics.judge(figures['samples'], figures['real']),
            'split': 'test',
            'real_clips': len(real),
            'train_clips': len(train),
        }


@dataclass(frozen=True)
class Recall:
    """How well a network that was made to memorise clips, each under its own label, gives them back.

    Every label is sampled once; each sample is compared with the first clip of its label as evaluation sees it (for a
    video folder labelled by index: its own file, from the first frame, centre crop). It should reach threshold_db, and
    no other clip should be nearer.
    """

    threshold_db: float = 20.0
    sources: ClassVar = (object,)

    def labels(self, source, config):
        return np.unique(self.clips(source, config)['label'])

    def clips(self, source, config):
        return batch_of(source, range(min(config.real, len(source))))

    def score(self, videos, labels, source, held_out, config):
        clips = self.clips(source, config)
        own = np.array([np.flatnonzero(clips['label'] == label)[0] for label in labels])
        decibels = np.stack(
            [frames.psnr(np.broadcast_to(video, clips['video'].shape), clips['video']) for video in videos]
        )
        found = decibels[np.arange(len(own)), own]
        figures = {f'label_{label}': {'psnr_db': float(value)} for label, value in zip(labels, found, strict=True)}
        return {
            'name': f'recall{len(videos)}_{source.frames}f',
            'figures': {'samples': {'psnr_db': float(found.mean()), 'psnr_min_db': float(found.min())}} | figures,
            'verdict': {
                'psnr': bool(found.min() >= self.threshold_db),
                'own_clip': bool((found >= decibels.max(1)).all()),
            },
            'split': 'train',
            'threshold_db': self.threshold_db,
        }
