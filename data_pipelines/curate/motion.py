"""Motion scores: how much moves in a clip, how steady its camera is, and how long its picture stands still."""

import numpy as np

from data_pipelines.optional_deps import require

FLOW_SECONDS = 0.1  # at least, between two frames that optical flow is taken between: 7 to 10 a second
FLOW_STEPS = 5  # so many at least in a clip shorter than that, frames allowing
STILL_LEVELS = 1.0  # of 255: the mean change of an 8th by an 8th of the picture below which nothing changed there
NARROWEST = 32  # pixels of the short side, below which optical flow cannot be taken
FREEZE_SECONDS = 0.25  # that a picture has to stand still for; animation that holds drawings stays below


class MotionScorer:
    """Takes the frames of one clip, one at a time.

    Args:
      seconds: The clip's length.
    """

    def __init__(self, seconds: float) -> None:
        cv2 = require('cv2')
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._seconds = seconds
        # A little less than that, as times of some files are whole milliseconds.
        self._flow_seconds = min(FLOW_SECONDS, seconds / FLOW_STEPS) - 2e-3
        self._speeds: list[float] = []
        self._shifts: list[np.ndarray] = []  # the median flow (x, y), in short sides a second

        self._flow_frame: tuple[float, np.ndarray] | None = None  # (seconds, luma) of the last one that flow is from
        self._last_frame: np.ndarray | None = None
        self._frames = 0
        self._repeated_frames = 0

        self._still_since = 0.0  # when the picture became the one that is shown
        self._frozen_seconds = 0.0

    def add(self, small: np.ndarray, seconds: float) -> bool:
        """Take the next frame, and return whether it is one of those that flow is taken between.

        Args:
          small: Its luma, uint8 (H, W), with the same short side each time.
          seconds: When it is shown, from the first frame on.
        """
        self._frames += 1
        if self._last_frame is not None:
            if _is_still(self._last_frame, small):
                self._repeated_frames += 1
            else:
                self._end_still(seconds)
        self._last_frame = small

        if self._flow_frame is not None:
            since, reference = self._flow_frame
            if seconds - since < self._flow_seconds:
                return False
            if min(small.shape) >= NARROWEST:
                self._measure_flow(reference, small, seconds - since)
        self._flow_frame = seconds, small
        return True

    def finish(self) -> dict[str, float]:
        """Return motion, shake, frozen and repeated, without those that need more frames than came."""
        if self._frames < 2:
            return {}
        self._end_still(self._seconds)
        scores = {
            'repeated': self._repeated_frames / (self._frames - 1),
            'frozen': self._frozen_seconds / self._seconds,
        }
        if self._speeds:
            scores['motion'] = float(np.mean(self._speeds))
        if len(self._shifts) > 2:
            # A steady pan moves as the mean of its neighbours does; what is left is jolts.
            shifts = np.array(self._shifts, np.float64)
            jolts = shifts[1:-1] - (shifts[:-2] + shifts[2:]) / 2
            scores['shake'] = float(np.sqrt((jolts**2).sum(1).mean()))
        return scores

    def _measure_flow(self, reference: np.ndarray, small: np.ndarray, seconds: float) -> None:
        flow = self._flow.calc(reference, small, None)
        flow = flow / (min(small.shape) * seconds)
        self._speeds.append(float(np.hypot(flow[..., 0], flow[..., 1]).mean()))
        # The median is the camera's motion, unless what moves by itself fills half of the picture.
        self._shifts.append(np.median(flow.reshape(-1, 2), 0))

    def _end_still(self, seconds: float) -> None:
        """Count the stretch since the picture last changed, where it is long enough to be a freeze."""
        if seconds - self._still_since >= FREEZE_SECONDS:
            self._frozen_seconds += seconds - self._still_since
        self._still_since = seconds


def _is_still(before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether nothing changes from one luma to the next, in any of 8 x 8 parts of the picture."""
    cv2 = require('cv2')
    # Means over parts: noise averages out in them, and a small thing that moves still shows in its own.
    change = cv2.absdiff(before, after).astype(np.float32)
    return bool(cv2.resize(change, (8, 8), interpolation=cv2.INTER_AREA).max() < STILL_LEVELS)
