"""Letterbox detection: the box of the picture inside black bars, for each clip of a video.

It watches the frames while shots are looked for, so that they are decoded once.
"""

from collections.abc import Iterator

import numpy as np

from data_pipelines.curate.frame_stats import BlackBars, is_black, to_luma

SAMPLE_SECONDS = 0.25  # from one picture that is looked at to the next
SMALLEST_SHARE = 0.5  # of height and width: what would leave less is a dark picture, not one with bars
THINNEST_SHARE = 0.02  # of height or width: bars that take less together are the edge of a scan, and stay

Box = tuple[int, int, int, int]  # (top, bottom, left, right)


class LetterboxDetector:
    """Looks at frames as they go past, and keeps a box of each one that it sampled.

    Args:
      times: Seconds of each frame by its number.
    """

    def __init__(self, times: np.ndarray) -> None:
        self._times = times
        self._shape = (0, 0)
        self._boxes: list[tuple[int, Box]] = []  # (frame number, box)

    def watch(self, frames: Iterator[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the same (number, frame), uint8 (H, W, 3) RGB, sampling some on the way."""
        due = -np.inf
        for number, frame in frames:
            if self._times[number] >= due:
                due = self._times[number] + SAMPLE_SECONDS
                self._sample(number, frame)
            yield number, frame

    def box(self, first: int, stop: int) -> Box | None:
        """Return the box of the picture in the frames first <= number < stop; None: there are no bars."""
        boxes = np.array([box for number, box in self._boxes if first <= number < stop])
        if not len(boxes):
            return None
        # The union: what any picture of the clip shows is not cut away.
        top, left = boxes[:, (0, 2)].min(0).tolist()
        bottom, right = boxes[:, (1, 3)].max(0).tolist()

        height, width = self._shape
        if bottom - top > (1 - THINNEST_SHARE) * height:
            top = 0
            bottom = height
        if right - left > (1 - THINNEST_SHARE) * width:
            left = 0
            right = width

        is_full_frame = (bottom - top, right - left) == self._shape
        is_too_small = bottom - top < SMALLEST_SHARE * height or right - left < SMALLEST_SHARE * width
        return None if is_full_frame or is_too_small else (top, bottom, left, right)

    def _sample(self, number: int, frame: np.ndarray) -> None:
        luma = to_luma(frame)
        height, width = luma.shape
        self._shape = height, width

        # A black frame has no edges.
        if not is_black(luma):
            bars = BlackBars()
            bars.add(luma)
            self._boxes.append((number, bars.box))
