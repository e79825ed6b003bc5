"""Physics-IQ's score of any source: predictions beside the truth, and beside how well a second take would do."""

from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from vdm_jax.config.ranges import Between, Frames
from vdm_jax.data.clip_batches import videos_of
from vdm_jax.data.source import Reader
from vdm_jax.evals.frame_prediction import make_context_conditions
from vdm_jax.evals.negative_controls import make_noise, shuffle_frames
from vdm_jax.evals.physics_iq import score as iq
from vdm_jax.evals.physics_iq.masks import detect_changes
from vdm_jax.evals.physics_iq.takes import enlarge, make_second_take
from vdm_jax.evals.protocol import EvaluateConfig, SampleSetProtocol, name_split, read_held_out
from vdm_jax.evals.score import Score
from vdm_jax.evals.temporal.curves import Curve

TAKE_2 = 'take 2'
FIGURES = (*iq.AGREEMENTS, 'mse')


@dataclass(frozen=True)
class PhysicsIQ(SampleSetProtocol):
    """The first frames of held-out clips are known; what is sampled after them is held against two takes of the truth.

    Clips are looked at from the last known frame on, whose mask is empty, as the benchmark's first one is. The second
    take is made (takes.py): its row is the physical variance, and its score 100 by definition.

    Attributes:
      context: Known frames.
      per_clip: Samples of each clip.
      side: Frames whose shorter side has fewer pixels are enlarged for the masks, each pixel repeated.
      shift: Of the second take: pixels that the camera is moved by at most.
      noise: Of the second take: standard deviation of values of 0 to 255.
    """

    context: Frames = 3
    per_clip: Annotated[int, Between(1, 100)] = 1
    side: Annotated[int, Between(1, 512)] = 128
    shift: Annotated[float, Between(0, 64)] = 0.5
    noise: Annotated[float, Between(0, 255)] = 2.0

    @property
    def figures(self) -> tuple[str, ...]:
        """The four figures, and the score that they make."""
        return (*FIGURES, 'score')

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Better than each floor."""
        return ('beats_copy', 'beats_shuffled')

    def for_context(self, frames: int) -> 'PhysicsIQ | None':
        """Return the same after as many frames as the network was trained with."""
        return replace(self, context=frames) if frames else None

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
        """Hold predictions, the second take and the floors in their place against the truth."""
        clips = videos_of(read_held_out(held_out, config))
        real = clips[:, self.context - 1 :]
        rows = self.make_rows(videos[:, self.context - 1 :], real, config.seed)

        curves, changing = self.compare(rows, real)
        figures = {row: {name: curve.average for name, curve in each.items()} for row, each in curves.items()}
        for row in rows:
            figures[row]['score'] = iq.compute_score(figures[row], figures[TAKE_2])

        scores = {row: each['score'] for row, each in figures.items()}
        split = '_train' if held_out is reader else ''
        return Score(
            name=f'{iq.VERSION}_{self.context}to{len(real[0]) - 1}{split}_n{self.per_clip}_{len(real)}',
            figures=figures,
            verdict={
                'beats_copy': scores['samples'] > scores['copy last frame'],
                'beats_shuffled': scores['samples'] > scores['shuffled'],
            },
            settings={
                'split': name_split(reader, held_out),
                'context': self.context,
                'per_clip': self.per_clip,
                'real_clips': len(real),
                'mask_frames': list(enlarge(real[:1, :1], self.side).shape[2:4]),
                'real_changing': changing,
                'second_take': {'shift_px': self.shift, 'noise': self.noise, 'seed': config.seed},
                'curves': to_json(curves),
            },
        )

    def make_rows(self, samples: np.ndarray, real: np.ndarray, seed: int) -> dict[str, np.ndarray]:
        """Return the predictions of each row, uint8 (M, T, H, W, C), M a multiple of the real clips.

        All begin with the last known frame, controls too.
        """
        known = real[:, :1]
        future = real[:, 1:]
        floors = {
            'copy last frame': np.repeat(known, future.shape[1], axis=1),
            'shuffled': shuffle_frames(future, seed),
            'noise': make_noise(future, seed),
        }
        takes = make_second_take(real, seed, self.shift, self.noise)
        rows = {'samples': samples, TAKE_2: takes}
        return rows | {row: np.concatenate([known, frames], axis=1) for row, frames in floors.items()}

    def compare(self, rows: dict[str, np.ndarray], real: np.ndarray) -> tuple[dict[str, dict[str, Curve]], float]:
        """Return the four figures of each row as curves, and which share of the real clips' pixels changes.

        Figures that are of all frames together have one value a clip.

        Args:
          rows: Predictions, uint8 (M, T, H, W, C); those of a clip lie next to each other.
          real: uint8 (N, T, H, W, C).
        """
        values: dict[str, dict[str, list[Any]]] = {row: {name: [] for name in FIGURES} for row in rows}
        changing = []
        # Clip by clip, for memory: masks are larger than the clips.
        for number, clip in enumerate(real):
            mask = detect_changes(enlarge(clip[None], self.side))[0]
            changing.append(mask.mean())
            for row, predictions in rows.items():
                each = len(predictions) // len(real)
                for prediction in predictions[number * each : (number + 1) * each]:
                    prediction_mask = detect_changes(enlarge(prediction[None], self.side))[0]
                    figures = values[row]
                    figures['spatial'].append([iq.compute_spatial_iou(prediction_mask, mask)])
                    figures['spatiotemporal'].append(iq.compute_spatiotemporal_iou(prediction_mask, mask))
                    figures['weighted'].append([iq.compute_weighted_iou(prediction_mask, mask)])
                    figures['mse'].append(iq.compute_mse(prediction, clip))

        curves = {
            row: {
                name: Curve(name, np.array(rows_of_values), self.context - 1) for name, rows_of_values in each.items()
            }
            for row, each in values.items()
        }
        return curves, float(np.mean(changing))


def to_json(curves: dict[str, dict[str, Curve]]) -> dict[str, dict[str, Any]]:
    """Return the curves that are more than a point, by row and figure, as JSON values."""
    return {
        row: {name: curve.to_json() for name, curve in each.items() if len(curve.frames) > 1}
        for row, each in curves.items()
    }
