"""All temporal figures of a set of clips, of any content, as curves over frames.

figure                  frames     what
luminance               0, 1, …    mean luma, 0 to 255
contrast                0, 1, …    standard deviation of luma
saturation              0, 1, …    mean saturation of HSV, 0 to 1
subject_drift           0, 1, …    1 - cos of the subject's features to those of the first frame
flickering              1, 2, …    VBench's temporal flickering, 1 = still
subject_consistency     1, 2, …    VBench's consistency, of the subject's features
background_consistency  1, 2, …    the same of the background's features
warp_error              1, 2, …    Lai et al.'s, of values of 0 to 1
visible                 1, 2, …    share of the frame that the warp error was measured on
motion                  1, 2, …    mean length of flow, px a frame
top_motion              one a pair mean length of the fastest twentieth of flow at about 8 frames a second
second_difference       1, 2, …    mean |x[t-1] - 2 x[t] + x[t+1]|
smoothness              1, 3, …    VBench's motion smoothness, 1 = as guessed from the neighbours
dynamic_degree          0          VBench's: 1 where the clip moves, a single value a clip
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.evals.temporal import consistency, drift, flicker, motion
from vdm_jax.evals.temporal.clips import REC_601, check_clip
from vdm_jax.evals.temporal.consistency import ColourHistogram, FrameEncoder, Thumbnail
from vdm_jax.evals.temporal.curves import Curve
from vdm_jax.evals.temporal.flow import BlockMatching, Flow
from vdm_jax.evals.temporal.motion import Interpolator, LinearBlend
from vdm_jax.evals.temporal.warp import compute_warp_errors

LEAST_FRAMES = 3
FIGURES = (
    'luminance', 'contrast', 'saturation', 'subject_drift', 'flickering', 'subject_consistency',
    'background_consistency', 'warp_error', 'visible', 'motion', 'top_motion', 'second_difference', 'smoothness',
    'dynamic_degree',
)  # fmt: skip
SINGLE = ('dynamic_degree',)  # of one value a clip
# Figures that do not begin at frame 0.
FROM_FIRST = ('luminance', 'contrast', 'saturation', 'subject_drift', 'dynamic_degree')


@dataclass(frozen=True, eq=False)
class Measures:
    """What figures are measured with.

    Attributes:
      flow: Of warp error and motion.
      subject: Features of the subject.
      background: Features of the background.
      interpolator: Of smoothness.
      fps: Frames a second of the clips.
      luma: Weights of red, green and blue in luminance and contrast.
      leavers: Whether pixels that leave the frame count in the warp error.
    """

    flow: Flow = BlockMatching()
    subject: FrameEncoder = Thumbnail()
    background: FrameEncoder = ColourHistogram()
    interpolator: Interpolator = LinearBlend()
    fps: float = motion.SAMPLED_FPS
    luma: tuple[float, float, float] = REC_601
    leavers: bool = False

    def describe(self) -> dict[str, object]:
        """Return what belongs to the settings of a score, JSON values by name."""
        return {
            'flow': self.flow.describe(),
            'subject_encoder': self.subject.describe(),
            'background_encoder': self.background.describe(),
            'interpolator': self.interpolator.describe(),
            'fps': self.fps,
            'luma': list(self.luma),
            'leavers': self.leavers,
        }


def measure_videos(videos: Iterable[np.ndarray], measures: Measures = Measures()) -> dict[str, Curve]:
    """Measure all figures of clips, one clip in memory at a time.

    Args:
      videos: (N, T, H, W, C), or N clips (T, H, W, C); uint8, or floats of 0 to 255; C 1 or 3.
      measures: What they are measured with.

    Returns:
      Curves by the names of the figures.

    Raises:
      UserError: There are no clips, they differ in length, or one has too few frames or too small ones.
    """
    rows: dict[str, list[np.ndarray]] = {}
    frames = None
    for number, video in enumerate(videos):
        clip = check_clip(video, LEAST_FRAMES, measures.flow.least_side)
        if frames is not None and len(clip) != frames:
            raise UserError(f'clip {number} has frames={len(clip)}, the first one {frames}: curves want equal lengths')
        frames = len(clip)
        for name, values in measure_clip(clip, number, measures).items():
            rows.setdefault(name, []).append(values)
    if frames is None:
        raise UserError('there are no videos to measure: want 1 or more')

    interval = motion.count_interval(measures.fps)
    strides = {'smoothness': 2, 'top_motion': interval}
    firsts = dict.fromkeys(FROM_FIRST, 0) | {'top_motion': interval}
    return {
        name: Curve(name, np.stack(values), firsts.get(name, 1), strides.get(name, 1)) for name, values in rows.items()
    }


def measure_clip(clip: np.ndarray, number: int, measures: Measures) -> dict[str, np.ndarray]:
    """Measure all figures of clip `number` of a set, (T, H, W, C): values over frames by name."""
    subject = measures.subject.encode(clip, number)
    background = measures.background.encode(clip, number)
    forward = measures.flow.compute_forward(clip, number)
    backward = measures.flow.compute_backward(clip, number)
    errors, visible = compute_warp_errors(clip, forward, backward, measures.leavers)

    interval = motion.count_interval(measures.fps)
    sampled = forward if interval == 1 else measures.flow.compute_forward(clip, number, interval)
    top_motion = motion.compute_top_motion(sampled)
    # Of a single frame at that rate nothing is known.
    is_dynamic = float(motion.is_dynamic(top_motion, min(clip.shape[1:3]))) if len(top_motion) else np.nan

    return {
        'luminance': drift.compute_luminance(clip, measures.luma),
        'contrast': drift.compute_contrast(clip, measures.luma),
        'saturation': drift.compute_saturation(clip),
        'subject_drift': drift.compute_subject_drift(subject),
        'flickering': flicker.compute_flickering(clip),
        'subject_consistency': consistency.compute_consistency(subject),
        'background_consistency': consistency.compute_consistency(background),
        'warp_error': errors,
        'visible': visible,
        'motion': motion.compute_motion(forward),
        'top_motion': top_motion,
        'second_difference': flicker.compute_second_differences(clip),
        'smoothness': motion.compute_smoothness(clip, measures.interpolator),
        'dynamic_degree': np.array([is_dynamic]),
    }
