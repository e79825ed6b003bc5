"""How much moves in a clip, how steadily its camera is held, and how long its picture stands still."""

import numpy as np

from data_pipelines.optional_deps import need

STEP = 0.1  # seconds, at least, between two pictures that optical flow is taken between: 7 to 10 a second
STEPS = 5  # so many at least in a clip shorter than that, frames allowing
STILL = 1.0  # levels of 255: the mean change of an 8th by an 8th of the picture below which nothing changed there
NARROW = 32  # pixels of the short side, below which optical flow cannot be taken
FREEZE = 0.25  # seconds that a picture has to stand still for; animation that holds drawings stays below


class Motion:
    """Takes the frames of one clip of so many seconds, one at a time."""

    def __init__(self, seconds: float):
        self._flow = need('cv2').DISOpticalFlow_create(need('cv2').DISOPTICAL_FLOW_PRESET_FAST)
        self._seconds = seconds
        self._step = min(STEP, seconds / STEPS) - 2e-3  # times of some files are rounded to milliseconds
        self._seen = self._last = None  # (seconds, picture) of the last one that flow was taken of, and of all
        self._speeds, self._shifts = [], []
        self._frames = self._repeated = 0
        self._since = 0.0  # when the picture became the one that is shown
        self._frozen = 0.0

    def add(self, small: np.ndarray, seconds: float) -> bool:
        """The next frame's luma, uint8 with a short side of the same pixels each time, `seconds` after the first.
        Whether it was one of those between which flow is taken.
        """
        self._frames += 1
        if self._last is not None:
            if _still(self._last, small):
                self._repeated += 1
            else:
                self._thaw(seconds)
        self._last = small
        if self._seen is not None and seconds - self._seen[0] < self._step:
            return False
        if self._seen is not None and min(small.shape) >= NARROW:
            flow = self._flow.calc(self._seen[1], small, None)
            flow = flow / (min(small.shape) * (seconds - self._seen[0]))
            self._speeds.append(float(np.hypot(flow[..., 0], flow[..., 1]).mean()))
            self._shifts.append(np.median(flow.reshape(-1, 2), 0))
        self._seen = seconds, small
        return True

    def finish(self) -> dict[str, float]:
        """Its scores; those that need more frames than came are left out."""
        if self._frames < 2:
            return {}
        self._thaw(self._seconds)
        scores = {'repeated': self._repeated / (self._frames - 1), 'frozen': self._frozen / self._seconds}
        if self._speeds:
            scores['motion'] = float(np.mean(self._speeds))
        if len(self._shifts) > 2:
            shifts = np.array(self._shifts, np.float64)
            jolts = shifts[1:-1] - (shifts[:-2] + shifts[2:]) / 2
            scores['shake'] = float(np.sqrt((jolts**2).sum(1).mean()))
        return scores

    def _thaw(self, seconds):
        if seconds - self._since >= FREEZE:
            self._frozen += seconds - self._since
        self._since = seconds


def _still(one, other):
    cv2 = need('cv2')
    change = cv2.absdiff(one, other).astype(np.float32)
    return cv2.resize(change, (8, 8), interpolation=cv2.INTER_AREA).max() < STILL
