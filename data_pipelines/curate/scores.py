"""Scores of a clip, measured from its frames as they come and from its captions: a number for each name of SCORES."""

from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.curate.captions import score_caption
from data_pipelines.curate.duplicates import ClipHasher
from data_pipelines.curate.frame_stats import FrameStats, resize_short_side, to_luma
from data_pipelines.curate.motion import MotionScorer
from data_pipelines.optional_deps import require
from vdm_jax.data.records.schema import Caption

SIDE = 128  # pixels of the short side at which everything is measured that needs no detail

# Name: what it is, with unit and range. What cannot be measured (motion of one frame) a clip does not have.
SCORES = {
    'motion': 'mean speed over picture and time, by optical flow: short sides of the picture a second, from 0',
    'shake': 'how unsteadily the camera is held: mean square root of the jolts of the whole picture, short sides a '
    'second, from 0',
    'frozen': 'share of the time in which the picture stands still, for 0.25 s or more at once: 0 to 1',
    'repeated': 'share of the frames, without the first, that are the one before shown again: 0 to 1',
    'brightness': 'mean luma: 0 to 1',
    'contrast': 'standard deviation of the luma of a frame: 0 to 0.5',
    'sharpness': 'variance of the Laplacian of the luma (0 to 255) at a short side of 256 pixels: from 0',
    'black': 'share of the frames of which 98% is darker than a tenth of white: 0 to 1',
    'letterbox': 'share of the picture that is black bars at its edges: 0 to 1',
    'caption_words': 'words of a caption: from 0',
    'caption_motion': 'share of the words of a caption that tell of motion or change, in English: 0 to 1',
    'caption_symbols': 'share of the characters of a caption, without spaces, that are no letters: 0 to 1',
}

# What a recipe drops unless it says otherwise; |missing lets images of one frame pass. A picture that stands still has
# a motion of 0, with camera noise of 5 levels up to 0.005; the calmest of sixteen real clips has 0.013. No limit on
# shake: how much is too much depends on what is to be learned (a steady hand 0.1, a jerky one 0.3).
FILTERS = ('motion>=0.006|missing', 'frozen<=0.25|missing', 'black<=0.1', 'contrast>=0.02')


class ClipScorer:
    """Measures one clip. Frames go in one at a time, and none is held but the last.

    Args:
      seconds: The clip's length.

    Raises:
      UserError: the libraries are not installed.
    """

    def __init__(self, seconds: float) -> None:
        require('cv2')
        self._motion = MotionScorer(seconds)
        self._frame_stats = FrameStats()
        self._hasher = ClipHasher(seconds)
        self._start: float | None = None

    def add(self, frame: np.ndarray, seconds: float) -> None:
        """Take the next frame.

        Args:
          frame: uint8 (H, W, 3) RGB, all of one size.
          seconds: When it is shown, from any zero.
        """
        if self._start is None:
            self._start = seconds
        since_start = seconds - self._start

        luma = to_luma(frame)
        small = resize_short_side(luma, SIDE)
        self._frame_stats.add(small)
        self._hasher.add(small, since_start)

        # What needs detail is slow: the frames that flow is taken between are enough for it.
        if self._motion.add(small, since_start):
            self._frame_stats.add_full_size(luma)

    def finish(self) -> tuple[dict[str, float], bytes]:
        """Return the scores by name, to six digits, and the hashes of its frames (duplicates.ClipHasher)."""
        scores = self._motion.finish() | self._frame_stats.finish()
        return _round_scores(scores), self._hasher.finish()


def score_captions(captions: Sequence[Caption]) -> dict[str, float]:
    """Return the scores of a clip's captions, the mean over them by their weights; none where there are none."""
    total = sum(caption.weight for caption in captions)
    if not total:
        return {}
    weighted = [(score_caption(caption.text), caption.weight / total) for caption in captions]
    names = weighted[0][0]
    return _round_scores({name: sum(scores[name] * share for scores, share in weighted) for name in names})


def _round_scores(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f'{value:.6g}') for name, value in scores.items()}
