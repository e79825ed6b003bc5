"""Where the picture lies inside black bars, for each clip of a video, found while its shots are looked for."""

from collections.abc import Iterator

import numpy as np

from data_pipelines.curate import frame_stats
from data_pipelines.optional_deps import need

EVERY = 0.25  # seconds from one picture that is looked at to the next
LEAST = 0.5  # of height and width: what would leave less is a dark picture, not one with bars
THIN = 0.02  # of height or width: bars that take less together are the edge of a scan, and stay


class Bars:
    """Looks at frames as they go past; a few numbers are kept of each picture that was looked at."""

    def __init__(self, times: np.ndarray):
        """times: seconds of each frame by its number."""
        self._times, self._shape = times, None
        self._found = []  # (number, (top, bottom, left, right))

    def watch(self, frames: Iterator[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
        """The same frames, uint8 (H, W, 3) RGB."""
        due = -np.inf
        for number, frame in frames:
            if self._times[number] >= due:
                due = self._times[number] + EVERY
                self._look(number, frame)
            yield number, frame

    def box(self, first: int, stop: int) -> tuple[int, int, int, int] | None:
        """(top, bottom, left, right) of the picture in the frames first <= number < stop; None: there are no bars."""
        boxes = np.array([box for number, box in self._found if first <= number < stop])
        if not len(boxes):
            return None
        top, left = boxes[:, (0, 2)].min(0).tolist()
        bottom, right = boxes[:, (1, 3)].max(0).tolist()
        height, width = self._shape
        if bottom - top > (1 - THIN) * height:
            top, bottom = 0, height
        if right - left > (1 - THIN) * width:
            left, right = 0, width
        whole = (bottom - top, right - left) == self._shape
        small = bottom - top < LEAST * height or right - left < LEAST * width
        return None if whole or small else (top, bottom, left, right)

    def _look(self, number, frame):
        cv2 = need('cv2')
        luma = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
        self._shape = luma.shape
        if (
            np.count_nonzero(luma <= frame_stats.BLACK) < frame_stats.BLACK_SHARE * luma.size
        ):  # a black one has no edges
            bars = frame_stats.Bars()
            bars.add(luma)
            self._found.append((number, bars.box))
