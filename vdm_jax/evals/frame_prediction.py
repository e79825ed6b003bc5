"""How well are the next frames predicted? Figures of one sample, of the mean of several and of the best of them.

The figures are OpenSTL's (evals/metrics.py), which one sample, or the mean of several, of a network that knows the
future is open cannot win against one that predicts the mean: best of N says whether the truth is among its samples.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from vdm_jax.config.ranges import Above0, Between, Frames
from vdm_jax.data.clip_batches import videos_of
from vdm_jax.data.source import Reader
from vdm_jax.data.worlds.moving_mnist import MovingMNIST
from vdm_jax.errors import UserError
from vdm_jax.evals.metrics import FRAME_METRICS
from vdm_jax.evals.protocol import EvaluateConfig, SampleSetProtocol, name_split, read_held_out, take_context
from vdm_jax.evals.score import Score

BEST = {'mse': np.min, 'mae': np.min, 'ssim': np.max, 'psnr': np.max}


@dataclass(frozen=True)
class FramePrediction(SampleSetProtocol):
    """The first frames of held-out clips are known; what is sampled after them is held against the truth.

    Clips of a mixture are those that its order gives, each source with its share. Where no clips are held out, the name
    says that those of training are scored.

    Attributes:
      context: Known frames.
      per_clip: Samples of each clip.
      bar: The squared error of one sample must be below so much of that of each floor: of the last known frame, held,
        and of the mean picture. (A little of the one in the other is a few percent nearer than both.)
    """

    usual_sources: ClassVar = (MovingMNIST,)
    samples_row: ClassVar = 'one sample'

    context: Frames = 10
    per_clip: Annotated[int, Between(1, 1000)] = 5
    bar: Annotated[float, Above0(0.01, 1.0)] = 0.9

    @property
    def figures(self) -> tuple[str, ...]:
        """Those of frames."""
        return tuple(FRAME_METRICS)

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Better than each floor."""
        return ('beats_copy', 'beats_mean')

    def make_conditions(self, reader: Reader, held_out: Reader, config: EvaluateConfig) -> dict[str, np.ndarray]:
        """Return labels, texts and context frames of held-out clips; the samples of a clip lie next to each other."""
        return make_context_conditions(reader, held_out, config, self.context, self.per_clip)

    def score(
        self,
        videos: np.ndarray,
        conditions: dict[str, np.ndarray],
        reader: Reader,
        held_out: Reader,
        config: EvaluateConfig,
    ) -> Score:
        """Hold the frames after the context, and the floors in their place, against the truth."""
        clips = videos_of(read_held_out(held_out, config))
        true = clips[:, self.context :]
        # The samples of a clip lie next to each other (make_conditions).
        samples = videos[:, self.context :].reshape(len(true), self.per_clip, *true.shape[1:])

        figures = measure_samples(samples, true)
        floors = measure_floors(clips[:, : self.context], true)
        error = figures['one sample']['mse']

        task = held_out.title
        split = '-train' if held_out is reader else ''
        return Score(
            name=f'{task}{split}_{self.context}to{true.shape[1]}_n{self.per_clip}_{len(true)}',
            figures=figures | floors,
            verdict={
                'beats_copy': error < self.bar * floors['copy last frame']['mse'],
                'beats_mean': error < self.bar * floors['mean picture']['mse'],
            },
            settings={
                'split': name_split(reader, held_out),
                'context': self.context,
                'per_clip': self.per_clip,
                'real_clips': len(true),
            },
        )


def make_context_conditions(
    reader: Reader, held_out: Reader, config: EvaluateConfig, context: int, per_clip: int
) -> dict[str, np.ndarray]:
    """Return labels, texts and context frames of held-out clips; the samples of a clip lie next to each other.

    Args:
      reader: The data that the network was trained on.
      held_out: Its test split.
      config: How many clips.
      context: Known frames.
      per_clip: Samples of each clip.

    Raises:
      UserError: No frames are left to predict.
    """
    frames = reader.shape[0]
    if not context < frames:
        raise UserError(
            f'config.evaluate.protocol.context={context} leaves nothing to predict of {frames} frames: '
            'lower it, or raise config.data.frames'
        )
    clips = read_held_out(held_out, config)
    conditions = {'label': clips['label']} | take_context(clips, context)
    return {name: np.repeat(values, per_clip, axis=0) for name, values in conditions.items()}


def measure_samples(samples: np.ndarray, true: np.ndarray) -> dict[str, dict[str, float]]:
    """Measure N samples of each clip.

    Args:
      samples: Predicted frames, uint8 (clips, N, T, H, W, C).
      true: uint8 (clips, T, H, W, C).

    Returns:
      'one sample': what a single sample is expected to score (the mean over all N of each clip);
      'mean of N': the N samples averaged pixel by pixel, then scored, which is what suits squared error best;
      'best of N': of each clip's N the best one, chosen for each figure by that figure, with the truth in hand.
    """
    count = samples.shape[1]
    one = 'one sample'
    mean = f'mean of {count}'
    best = f'best of {count}'
    rows: dict[str, list[dict[str, float]]] = {one: [], mean: [], best: []}

    # One clip at a time: the windows of ssim take 8 bytes a pixel and figure.
    for drawn, clip in zip(samples, true, strict=True):
        figures = {name: metric(drawn, clip) for name, metric in FRAME_METRICS.items()}
        # Not rounded to bytes: the mean is what is scored.
        average = drawn.mean(0)
        rows[one].append({name: float(values.mean()) for name, values in figures.items()})
        rows[mean].append({name: float(metric(average, clip)) for name, metric in FRAME_METRICS.items()})
        rows[best].append({name: float(BEST[name](values)) for name, values in figures.items()})

    return {row: _average_clips(clips) for row, clips in rows.items()}


def measure_floors(context: np.ndarray, true: np.ndarray) -> dict[str, dict[str, float]]:
    """Measure what needs no network, from context frames (clips, k, H, W, C) and those after them.

    'copy last frame': the last known frame, held. 'mean picture': one picture for all, the mean of all known frames,
    which in squared error beats the copy where little of the frame is lit and what is lit moves (digits on black).
    """
    floors = {
        'copy last frame': np.repeat(context[:, -1:], true.shape[1], axis=1),
        'mean picture': np.broadcast_to(context.mean((0, 1)), true.shape),
    }
    return {row: measure_samples(still[:, None], true)['one sample'] for row, still in floors.items()}


def _average_clips(clips: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([figures[name] for figures in clips])) for name in FRAME_METRICS}
