"""How steady are videos of anything, how much do they move, and do they drift? Curves over frames, with slopes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np

from vdm_jax.config.ranges import Between, Fps
from vdm_jax.data.clip_batches import videos_of
from vdm_jax.data.source import Reader
from vdm_jax.errors import UserError
from vdm_jax.evals import negative_controls as controls
from vdm_jax.evals.protocol import TEXT, EvaluateConfig, SampleSetProtocol, VideoCut, name_split, read_held_out
from vdm_jax.evals.score import Score
from vdm_jax.evals.temporal.clips import REC_601, REC_709
from vdm_jax.evals.temporal.curves import Curve
from vdm_jax.evals.temporal.flow import choose_flow
from vdm_jax.evals.temporal.measure import FIGURES, LEAST_FRAMES, SINGLE, Measures, measure_videos
from vdm_jax.evals.temporal.vbench import DIMENSIONS

LUMA = {'rec601': REC_601, 'rec709': REC_709}
# Figures that shuffling the frames of a clip makes worse, with the best value there is: that of frozen clips.
STEADY = {'warp_error': 0, 'second_difference': 0, 'flickering': 1, 'smoothness': 1, 'subject_consistency': 1}
DRIFTING = ('luminance', 'saturation', 'contrast')
LEAST_LOSS = 0.1  # of real clips: a figure that shuffling hurts less is not judged by


@dataclass(frozen=True)
class Temporal(SampleSetProtocol):
    """The figures of evals/temporal/measure.py: samples beside held-out clips and what is wrong with time in controls.

    Attributes:
      flow: What finds the flow of warp error and motion; best is farneback where OpenCV is installed, else
        block_matching.
      frames: Of anybody's videos, the first ones; samples of a run are scored with all of theirs.
      fps: Frames a second of the clips, by which the dynamic degree is taken at about 8.
      luma: The weights of luminance and contrast.
      vbench: Whether there are also VBench's dimensions on its own scale of 0 to 1.
      steady: To shuffle their frames has to hurt samples so much of what it hurts real clips, in every figure of
        steadiness.
      motion: Samples have to move so much of what real clips do.
    """

    flow: Literal['best', 'farneback', 'dis', 'block_matching'] = 'best'
    frames: Annotated[int, Between(LEAST_FRAMES, 2**16)] = 16
    fps: Fps = 8.0
    luma: Literal['rec601', 'rec709'] = 'rec601'
    vbench: bool = True
    steady: Annotated[float, Between(0, 1)] = 0.5
    motion: Annotated[float, Between(0, 1)] = 0.5

    @property
    def figures(self) -> tuple[str, ...]:
        """Of each curve its mean and its slope, and VBench's dimensions where they are wanted."""
        slopes = [f'{name}_slope' for name in FIGURES if name not in SINGLE]
        return (*FIGURES, *slopes, *([f'{name}_vbench' for name in DIMENSIONS] if self.vbench else []))

    @property
    def verdicts(self) -> tuple[str, ...]:
        """See `judge`."""
        return ('steady', 'moves', *DRIFTING)

    def cut_videos(self) -> VideoCut:
        """Return the first frames of each video."""
        return VideoCut(self.frames, 'first')

    def make_conditions(self, reader: Reader, held_out: Reader, config: EvaluateConfig) -> dict[str, np.ndarray]:
        """Return the labels and texts of held-out clips, in turn.

        Raises:
          UserError: Clips have too few frames, or the flow needs what is not installed or larger frames.
        """
        frames, height, width = reader.shape[:3]
        if frames < LEAST_FRAMES:
            raise UserError(f'config.data.frames={frames}: temporal figures want {LEAST_FRAMES} or more')
        side = choose_flow(self.flow).least_side
        if min(height, width) < side:
            raise UserError(
                f'config.evaluate.protocol.flow={self.flow} wants sides of {side} pixels or more, and clips are of '
                f'{height}x{width}: take block_matching'
            )
        clips = read_held_out(held_out, config)
        order = np.arange(config.samples) % len(clips['label'])
        return {name: clips[name][order] for name in ('label', *TEXT) if name in clips}

    def score(
        self,
        videos: np.ndarray,
        conditions: dict[str, np.ndarray],
        reader: Reader,
        held_out: Reader,
        config: EvaluateConfig,
    ) -> Score:
        """Measure samples, held-out clips and controls, and judge the samples."""
        real = videos_of(read_held_out(held_out, config))
        measures = Measures(flow=choose_flow(self.flow), fps=self.fps, luma=LUMA[self.luma])
        curves = {row: measure_videos(make(), measures) for row, make in make_rows(videos, real, config.seed).items()}
        figures = {row: self.list_figures(each) for row, each in curves.items()}
        return Score(
            name=f'temporal{len(videos)}_{reader.shape[0]}f',
            figures=figures,
            verdict=self.judge(curves),
            settings={
                'split': name_split(reader, held_out),
                'real_clips': len(real),
                'measures': measures.describe(),
                'corruption': {'noise': controls.SLIGHT_NOISE, 'blur_px': controls.SLIGHT_BLUR},
                'curves': to_json(curves),
            },
        )

    def list_figures(self, curves: dict[str, Curve]) -> dict[str, float]:
        """Return the mean of each curve and its slope per frame, and VBench's dimensions where they are wanted."""
        figures = {}
        for name, curve in curves.items():
            figures[name] = curve.average
            if len(curve.frames) > 1:
                figures[f'{name}_slope'] = curve.slope
        if self.vbench:
            for name, dimension in DIMENSIONS.items():
                figures[f'{name}_vbench'] = dimension.normalise(curves[name].average)
        return figures

    def judge(self, curves: dict[str, dict[str, Curve]]) -> dict[str, bool]:
        """Judge samples beside real and shuffled clips, each by its curves; nan passes nothing.

        steady: in every figure of STEADY, what samples lose by being shuffled is at least `steady` of what real clips
        lose. It is a share of what they have lost then, so it does not hang on how much there is to be seen. Figures
        in which real clips lose next to nothing are left out, and where all are nothing is steady.
        moves: samples move at least `motion` of what real clips do.
        luminance, saturation, contrast: the intervals of the slopes of samples and of real clips overlap.
        """
        means = {row: {name: curve.average for name, curve in each.items()} for row, each in curves.items()}
        judgements = []
        for name, best in STEADY.items():
            loss = _compute_loss(means['samples'][name], means['samples shuffled'][name], best)
            real_loss = _compute_loss(means['real'][name], means['shuffled'][name], best)
            if real_loss >= LEAST_LOSS:
                judgements.append(loss >= self.steady * real_loss)
        is_steady = bool(judgements) and all(judgements)

        moves = means['samples']['motion'] >= self.motion * means['real']['motion']
        verdict = {'steady': is_steady, 'moves': bool(moves)}
        for name in DRIFTING:
            verdict[name] = _overlap(curves['samples'][name].slope_interval, curves['real'][name].slope_interval)
        return verdict


def make_rows(samples: np.ndarray, real: np.ndarray, seed: int) -> dict[str, Callable[[], np.ndarray]]:
    """Return what makes the clips of each row, samples and real ones first, so that one set is in memory at a time."""
    return {
        'samples': lambda: samples,
        'real': lambda: real,
        'samples shuffled': lambda: controls.shuffle_frames(samples, seed),
        'corrupted': lambda: controls.corrupt_slightly(real, seed),
        'shuffled': lambda: controls.shuffle_frames(real, seed),
        'reversed': lambda: controls.reverse_frames(real),
        'frozen': lambda: controls.freeze(real),
        'noise': lambda: controls.make_noise(real, seed),
    }


def to_json(curves: dict[str, dict[str, Curve]]) -> dict[str, dict[str, Any]]:
    """Return curves by row and figure as JSON values."""
    return {row: {name: curve.to_json() for name, curve in each.items()} for row, each in curves.items()}


def _compute_loss(figure: float, shuffled: float, best: float) -> float:
    """Return which share of the distance of shuffled clips from the best value is due to the shuffling; nan of none."""
    distance = abs(shuffled - best)
    return 1 - abs(figure - best) / distance if distance > 0 else math.nan


def _overlap(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[1] and b[0] <= a[1]
