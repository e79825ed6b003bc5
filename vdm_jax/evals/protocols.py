"""Protocols: which videos are asked for, what they are compared with, and what is said of them.

A score is nothing without its protocol: each one writes its settings beside its figures, and its name carries the
number of samples and frames.

What is asked for is a dict of arrays with a row for every video wanted: 'label' int32 (N,) always, and 'frames' uint8
(N, k, H, W, C) where the first k frames are known and the others are to be predicted; 'text' and 'text_mask' of the
same clips, where those have a text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar
from typing import Protocol as Interface

import numpy as np

from vdm_jax.data.bouncing_balls import BouncingBalls
from vdm_jax.data.clips import batch_of, stack, videos_of
from vdm_jax.data.source import Reader, Source
from vdm_jax.errors import UserError
from vdm_jax.evals import controls, frames, physics, prediction
from vdm_jax.ranges import Batch, Between, Frames, Ranged, Seed

TEXT = 'text', 'text_mask'


@dataclass(frozen=True)
class EvaluateConfig(Ranged, where='config.evaluate'):
    """How many samples are scored, from which seed, against how many held-out (`real`) and training clips.

    Predictions are asked for all `real` clips, `per_clip` samples each, from their first `context` frames.
    """

    samples: Batch = 128
    real: Batch = 256
    train: Batch = 20_000
    context: Frames = 10
    per_clip: Annotated[int, Between(1, 1000)] = 5
    seed: Seed = 0
    batch_size: Batch = 32


class Protocol(Interface):
    """One way of scoring samples; `sources` are the very classes of data whose samples it can score (object: any)."""

    sources: ClassVar[tuple[type, ...]]

    def asks(self, source: Reader, held_out: Reader, config: EvaluateConfig) -> dict[str, np.ndarray]:
        """What is given of every video to be sampled: 'label', and 'frames' where the first ones are known."""

    def score(
        self, videos: np.ndarray, asks: dict, source: Reader, held_out: Reader, config: EvaluateConfig
    ) -> dict[str, object]:
        """videos uint8 (N, T, H, W, C), whole ones, in the order of `asks` ->
        {'name', 'figures': {row: {figure: number}}, 'verdict': {name: bool}, …}.
        """


def split_of(source: Reader, held_out: Reader) -> str:
    """Return what a score calls the split of its held-out clips: all where none are held out."""
    return held_out.source.split or ('all' if held_out is source else 'test')


@dataclass(frozen=True)
class BallPhysics:
    """evals/physics.py on bouncing balls: samples beside held-out clips (the ceiling) and controls (the floors).

    The protocol of a harder world is a subclass with `figures` and `judge` that say more, and with wrong worlds of its
    own: what makes each of the fields of the right one. Their clips must miss.
    """

    sources: ClassVar = (BouncingBalls,)
    world: ClassVar = ''  # what a score's name says of the world
    figures: ClassVar = staticmethod(physics.figures)
    judge: ClassVar = staticmethod(physics.judge)
    wrong: ClassVar[dict[str, Callable[..., Source]]] = {}

    def asks(self, source, held_out, config):
        return {'label': np.arange(config.samples, dtype=np.int32) % max(source.num_classes, 1)}

    def score(self, videos, asks, source, held_out, config):
        real = stack(held_out, range(min(config.real, len(held_out))))
        train = stack(source, range(min(config.train, len(source))))
        some = real[: len(videos)]
        wrong = {name: stack(world(**vars(held_out)), range(len(some))) for name, world in self.wrong.items()}
        rows = {'samples': videos, 'real': real} | controls.make(some, train, config.seed) | wrong
        figures = {name: self.figures(clips, source, train) for name, clips in rows.items()}
        return {
            'name': f'balls{len(videos)}_{source.frames}f{self.world}',
            'figures': figures,
            'verdict': self.judge(figures['samples'], figures['real']),
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

    def asks(self, source, held_out, config):
        clips = self.clips(source, config)
        labels, first = np.unique(clips['label'], return_index=True)
        return {'label': labels} | {name: clips[name][first] for name in TEXT if name in clips}

    def clips(self, source, config):
        return batch_of(source, range(min(config.real, len(source))))

    def score(self, videos, asks, source, held_out, config):
        clips = self.clips(source, config)
        real = videos_of(clips)
        own = np.array([np.flatnonzero(clips['label'] == label)[0] for label in asks['label']])
        decibels = np.stack([frames.psnr(np.broadcast_to(video, real.shape), real) for video in videos])
        found = decibels[np.arange(len(own)), own]
        figures = {
            f'label_{label}': {'psnr_db': float(value)} for label, value in zip(asks['label'], found, strict=True)
        }
        return {
            'name': f'recall{len(videos)}_{source.shape[0]}f',
            'figures': {'samples': {'psnr_db': float(found.mean()), 'psnr_min_db': float(found.min())}} | figures,
            'verdict': {
                'psnr': bool(found.min() >= self.threshold_db),
                'own_clip': bool((found >= decibels.max(1)).all()),
            },
            'split': 'train',
            'threshold_db': self.threshold_db,
        }


BAR = 0.9  # of the squared error of each floor


@dataclass(frozen=True)
class FramePrediction:
    """The first `context` frames of held-out clips are known; what is sampled after them is held against the truth.

    Figures are OpenSTL's (evals/prediction.py), which one sample, or the mean of several, of a network that knows the
    future is open cannot win against one that predicts the mean: best of N says whether the truth is among its samples.
    The bar is the floors: the squared error of one sample must be below BAR of that of the last known frame, held,
    and of that of the mean picture. (A little of the one in the other is a few percent nearer than both.)

    Clips of a mixture are those that its order gives, each source with its share. Where no clips are held out, the name
    says that those of training are scored.
    """

    sources: ClassVar = (object,)

    def asks(self, source, held_out, config):
        if not config.context < source.shape[0]:
            raise UserError(
                f'config.evaluate.context={config.context} leaves nothing to predict of {source.shape[0]} frames: '
                'lower it, or raise config.data.frames'
            )
        clips = self.clips(held_out, config)
        told = {name: clips[name] for name in ('label', *TEXT) if name in clips}
        told['frames'] = videos_of(clips)[:, : config.context]
        return {name: np.repeat(each, config.per_clip, 0) for name, each in told.items()}  # those of a clip together

    def clips(self, held_out, config):
        return batch_of(held_out, held_out.order(min(config.real, len(held_out)), shuffle=False).ids(0))

    def score(self, videos, asks, source, held_out, config):
        clips, k = videos_of(self.clips(held_out, config)), config.context
        true, predicted = clips[:, k:], videos[:, k:]
        copy, mean = (floors := prediction.floors(clips[:, :k], true)).values()
        figures = prediction.figures(predicted.reshape(len(true), config.per_clip, *true.shape[1:]), true)
        task = held_out.title + ('-train' if held_out is source else '')
        return {
            'name': f'{task}_{k}to{true.shape[1]}_n{config.per_clip}_{len(true)}',
            'figures': figures | floors,
            'verdict': {
                'beats_copy': figures['one sample']['mse'] < BAR * copy['mse'],
                'beats_mean': figures['one sample']['mse'] < BAR * mean['mse'],
            },
            'split': split_of(source, held_out),
            'context': k,
            'per_clip': config.per_clip,
            'real_clips': len(true),
        }
