"""What is measured of a clip to choose by: a number for each name of SCORES, from its frames as they come."""

from collections.abc import Sequence

import numpy as np

from data_pipelines.curate.captions import of_caption
from data_pipelines.curate.duplicates import Hashes
from data_pipelines.curate.frame_stats import Picture, luma, sized
from data_pipelines.curate.motion import Motion
from data_pipelines.optional_deps import need
from vdm_jax.data.records import Caption

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


class Measure:
    """Measures one clip of so many seconds; frames go in one at a time, and none is kept but the last.

    Raises: UserError where the libraries are not installed.
    """

    def __init__(self, seconds: float):
        need('cv2')
        self._motion, self._picture, self._hashes = Motion(seconds), Picture(), Hashes(seconds)
        self._start = None

    def add(self, frame: np.ndarray, seconds: float):
        """The next frame, uint8 (H, W, 3) RGB, all of one size; seconds: when it is shown, from any zero."""
        self._start = seconds if self._start is None else self._start
        whole = luma(frame)
        small, since = sized(whole, SIDE), seconds - self._start
        self._picture.add(small)
        self._hashes.add(small, since)
        if self._motion.add(small, since):
            self._picture.look(whole)

    def finish(self) -> tuple[dict[str, float], bytes]:
        """Its scores by name, to six digits, and the hashes of its pictures over time (duplicates)."""
        scores = self._motion.finish() | self._picture.finish()
        return _rounded(scores), self._hashes.finish()


def of_captions(captions: Sequence[Caption]) -> dict[str, float]:
    """Scores of a clip's captions, the mean over them by their weights; none where there are none."""
    total = sum(caption.weight for caption in captions)
    if not total:
        return {}
    found = [(of_caption(caption.text), caption.weight / total) for caption in captions]
    return _rounded({name: sum(scores[name] * share for scores, share in found) for name in found[0][0]})


def _rounded(scores):
    return {name: float(f'{value:.6g}') for name, value in scores.items()}
