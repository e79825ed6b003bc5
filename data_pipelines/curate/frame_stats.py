"""What the pictures of a clip are like, one by one: brightness, contrast, sharpness, black frames, black bars."""

import numpy as np

from data_pipelines.optional_deps import need

LONG = 2**14  # pixels of a side, of which OpenCV takes 2**15 - 2 at most
SHARP_SIDE = 256  # pixels of the short side at which sharpness is measured
BLACK = 25  # of 255: a pixel no brighter is black, and a frame with 98% of such is (FFmpeg's blackdetect: 10%, 98%)
BLACK_SHARE = 0.98
BAR_LEVEL = 24  # of 255: a row or column of a bar is no brighter than this on the mean in any picture ...
BAR_SPREAD = 8  # ... and its standard deviation no larger


class Picture:
    """Takes the frames of one clip, one at a time."""

    def __init__(self):
        self._means, self._spreads, self._sharp = [], [], []
        self._black = 0
        self._bars = Bars()

    def add(self, small: np.ndarray):
        """The next frame's luma, uint8, shrunk."""
        mean, spread = need('cv2').meanStdDev(small)
        self._means.append(mean[0, 0])
        self._spreads.append(spread[0, 0])
        self._black += np.count_nonzero(small <= BLACK) >= BLACK_SHARE * small.size

    def look(self, whole: np.ndarray):
        """One of the frames to look at closely: its luma, uint8 (H, W), as large as it is."""
        cv2 = need('cv2')
        pixels = cv2.Laplacian(sized(whole, SHARP_SIDE), cv2.CV_32F)
        self._sharp.append(float(cv2.meanStdDev(pixels)[1][0, 0]) ** 2)
        self._bars.add(whole)

    def finish(self) -> dict[str, float]:
        """Its scores."""
        top, bottom, left, right = self._bars.box
        height, width = self._bars.shape
        return {
            'brightness': float(np.mean(self._means)) / 255,
            'contrast': float(np.mean(self._spreads)) / 255,
            'black': self._black / len(self._means),
            'sharpness': float(np.mean(self._sharp)),
            'letterbox': 1 - (bottom - top) * (right - left) / (height * width),
        }


class Bars:
    """Black bars at the edges: rows and columns that are dark and even in every picture that was added."""

    def __init__(self):
        self.shape = None
        self._rows = self._columns = None

    def add(self, whole: np.ndarray):
        """A picture's luma, uint8 (H, W)."""
        rows, columns = _lines(whole, 1), _lines(whole, 0)
        if self.shape is None:
            self.shape, self._rows, self._columns = whole.shape, rows, columns
        self._rows, self._columns = self._rows | rows, self._columns | columns

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(top, bottom, left, right) of the picture inside, so that it is frame[top:bottom, left:right]; all of it
        where everything is black.
        """
        rows, columns = np.flatnonzero(self._rows), np.flatnonzero(self._columns)
        if not len(rows) or not len(columns):
            return 0, self.shape[0], 0, self.shape[1]
        return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def luma(frame: np.ndarray) -> np.ndarray:
    """The luma of a frame, uint8 (H, W, 3) RGB -> (H, W)."""
    cv2 = need('cv2')
    return cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)


def _lines(whole, axis):
    """Which rows (axis 1) or columns (0) belong to a picture rather than to a bar, bool."""
    cv2 = need('cv2')
    count = whole.shape[axis]
    mean = cv2.reduce(whole, axis, cv2.REDUCE_SUM, dtype=cv2.CV_64F).ravel() / count
    square = cv2.reduce(whole, axis, cv2.REDUCE_SUM2, dtype=cv2.CV_64F).ravel() / count
    return (mean > BAR_LEVEL) | (square - mean**2 > BAR_SPREAD**2)


def sized(picture: np.ndarray, side: int) -> np.ndarray:
    """The picture with a short side of so many pixels, whatever it had; of fewer where its long one would pass LONG."""
    cv2 = need('cv2')
    whole = min(picture.shape) // (2 * side)
    if whole > 1:  # by a whole number first, which takes a fraction of the time
        height, width = (length // whole for length in picture.shape)
        picture = cv2.resize(picture[: height * whole, : width * whole], (width, height), interpolation=cv2.INTER_AREA)
    scale = min(side / min(picture.shape), LONG / max(picture.shape))
    if scale == 1:
        return picture
    height, width = (max(1, round(length * scale)) for length in picture.shape)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
