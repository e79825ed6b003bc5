"""Statistics of a clip's frames one by one: brightness, contrast, sharpness, black frames, black bars."""

import numpy as np

from data_pipelines.optional_deps import require

# Pixels of a side, of which OpenCV takes 2**15 - 2 at most.
LONG = 2**14
SHARP_SIDE = 256  # pixels of the short side at which sharpness is measured
BLACK = 25  # of 255: a pixel no brighter is black, and a frame with 98% of such is (FFmpeg's blackdetect: 10%, 98%)
BLACK_SHARE = 0.98
BAR_LEVEL = 24  # of 255: a row or column of a bar is no brighter than this on the mean in any picture ...
BAR_SPREAD = 8  # ... and its standard deviation no larger


class FrameStats:
    """Takes the frames of one clip, one at a time."""

    def __init__(self) -> None:
        self._means: list[float] = []
        self._spreads: list[float] = []
        self._sharpness: list[float] = []
        self._black_frames = 0
        self._bars = BlackBars()

    def add(self, small: np.ndarray) -> None:
        """Take the next frame's luma, uint8, shrunk."""
        mean, spread = require('cv2').meanStdDev(small)
        self._means.append(mean[0, 0])
        self._spreads.append(spread[0, 0])
        self._black_frames += is_black(small)

    def add_full_size(self, luma: np.ndarray) -> None:
        """Take the full-size luma, uint8 (H, W), of one of the frames: for sharpness and black bars."""
        cv2 = require('cv2')
        laplacian = cv2.Laplacian(resize_short_side(luma, SHARP_SIDE), cv2.CV_32F)
        deviation = cv2.meanStdDev(laplacian)[1][0, 0]
        self._sharpness.append(float(deviation) ** 2)
        self._bars.add(luma)

    def finish(self) -> dict[str, float]:
        """Return brightness, contrast, black, sharpness and letterbox (data_pipelines.curate.scores.SCORES)."""
        top, bottom, left, right = self._bars.box
        height, width = self._bars.shape
        return {
            'brightness': float(np.mean(self._means)) / 255,
            'contrast': float(np.mean(self._spreads)) / 255,
            'black': self._black_frames / len(self._means),
            'sharpness': float(np.mean(self._sharpness)),
            'letterbox': 1 - (bottom - top) * (right - left) / (height * width),
        }


class BlackBars:
    """Finds black bars: rows and columns at the edges that are dark and even in every picture that was added.

    Attributes:
      shape: (H, W) of the pictures; (0, 0) before the first.
    """

    def __init__(self) -> None:
        self.shape = (0, 0)
        self._rows = np.zeros(0, bool)
        self._columns = np.zeros(0, bool)

    def add(self, luma: np.ndarray) -> None:
        """Take a picture's luma, uint8 (H, W)."""
        rows = _find_content(luma, axis=1)
        columns = _find_content(luma, axis=0)
        if self.shape == (0, 0):
            height, width = luma.shape
            self.shape = height, width
            self._rows = rows
            self._columns = columns
        self._rows = self._rows | rows
        self._columns = self._columns | columns

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Return (top, bottom, left, right) of the content, frame[top:bottom, left:right]; all where all is black."""
        # Dark rows between bright ones are content too.
        rows = np.flatnonzero(self._rows)
        columns = np.flatnonzero(self._columns)
        if not len(rows) or not len(columns):
            return 0, self.shape[0], 0, self.shape[1]
        return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def is_black(luma: np.ndarray) -> bool:
    """Return whether a frame counts as black: BLACK_SHARE of its pixels are no brighter than BLACK."""
    return bool(np.count_nonzero(luma <= BLACK) >= BLACK_SHARE * luma.size)


def to_luma(frame: np.ndarray) -> np.ndarray:
    """Convert a frame, uint8 (H, W, 3) RGB, to its luma, uint8 (H, W)."""
    cv2 = require('cv2')
    luma: np.ndarray = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    return luma


def _find_content(luma: np.ndarray, axis: int) -> np.ndarray:
    """Return which rows (axis 1) or columns (axis 0) belong to content rather than to a bar, bool."""
    cv2 = require('cv2')
    count = luma.shape[axis]
    mean = cv2.reduce(luma, axis, cv2.REDUCE_SUM, dtype=cv2.CV_64F).ravel() / count
    mean_square = cv2.reduce(luma, axis, cv2.REDUCE_SUM2, dtype=cv2.CV_64F).ravel() / count
    content: np.ndarray = (mean > BAR_LEVEL) | (mean_square - mean**2 > BAR_SPREAD**2)
    return content


def resize_short_side(picture: np.ndarray, side: int) -> np.ndarray:
    """Resize to a short side of `side` pixels, up or down; to less where the long side would pass LONG."""
    cv2 = require('cv2')

    # By a whole number first, which takes a fraction of the time.
    factor = min(picture.shape) // (2 * side)
    if factor > 1:
        height, width = (length // factor for length in picture.shape)
        divisible = picture[: height * factor, : width * factor]
        picture = cv2.resize(divisible, (width, height), interpolation=cv2.INTER_AREA)

    scale = min(side / min(picture.shape), LONG / max(picture.shape))
    if scale == 1:
        return picture
    height, width = (max(1, round(length * scale)) for length in picture.shape)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized: np.ndarray = cv2.resize(picture, (width, height), interpolation=interpolation)
    return resized
