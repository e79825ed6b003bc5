"""A figure of clips over their frames, with its slope and how sure that is.

One number hides when a video goes wrong: colours that drift and pictures that fall apart late look like a somewhat
lower mean. A curve shows it, and its slope puts a number to it.
"""

import dataclasses
import functools
import math
from typing import Any

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A figure over the frames of N clips; nan is where it could not be measured, and is left out of every mean.

    Attributes:
      name: Of the figure.
      values: float (N, T').
      first_frame: To which frame the first value belongs, counted from 0.
      stride: Frames from one value to the next.
    """

    name: str
    values: np.ndarray
    first_frame: int = 0
    stride: int = 1

    @property
    def frames(self) -> np.ndarray:
        """The frame of each value, (T',)."""
        return self.first_frame + self.stride * np.arange(self.values.shape[1])

    @property
    def mean(self) -> np.ndarray:
        """Over clips, (T',)."""
        return _average(self.values, axis=0)

    @property
    def error(self) -> np.ndarray:
        """Standard error of `mean`, (T',); nan of fewer than two clips."""
        return _standard_error(self.values, axis=0)

    @property
    def clip_means(self) -> np.ndarray:
        """Over frames, (N,)."""
        return _average(self.values, axis=1)

    @property
    def average(self) -> float:
        """Over frames, then clips."""
        return float(_average(self.clip_means))

    @functools.cached_property
    def clip_slopes(self) -> np.ndarray:
        """Of each clip's own line of least squares, per frame, (N,); nan of fewer than two values."""
        return np.array([_fit_slope(self.frames, row) for row in self.values])

    @property
    def slope(self) -> float:
        """Mean slope of the clips, per frame: that of the mean curve where no value is nan."""
        return float(_average(self.clip_slopes))

    @property
    def slope_interval(self) -> tuple[float, float]:
        """Where the slope lies with 95% confidence, by Student's t over the clips' slopes; nan of fewer than two."""
        count = int(np.isfinite(self.clip_slopes).sum())
        if count < 2:
            return math.nan, math.nan
        half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2) * _standard_error(self.clip_slopes))
        return self.slope - half, self.slope + half

    def to_json(self) -> dict[str, Any]:
        """Return the curve as JSON values; None is what could not be measured."""
        return {
            'clips': len(self.values),
            'frames': self.frames.tolist(),
            'mean': _to_list(self.mean),
            'error': _to_list(self.error),
            'average': _to_list(self.average),
            'slope': _to_list(self.slope),
            'slope_interval': _to_list(self.slope_interval),
            'confidence': CONFIDENCE,
        }


def _average(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Average what is no nan; nan where nothing is left."""
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(axis)
    with np.errstate(invalid='ignore'):
        mean: np.ndarray = total / known.sum(axis)
    return mean


def _standard_error(values: np.ndarray, axis: int = 0) -> np.ndarray:
    known = np.isfinite(values)
    count = known.sum(axis)
    deviations = np.where(known, values - np.expand_dims(_average(values, axis), axis), 0)
    with np.errstate(invalid='ignore', divide='ignore'):
        variance = np.where(count > 1, np.square(deviations).sum(axis) / (count - 1), np.nan)
        error: np.ndarray = np.sqrt(variance / count)
    return error


def _fit_slope(frames: np.ndarray, values: np.ndarray) -> float:
    known = np.isfinite(values)
    if known.sum() < 2:
        return math.nan
    times = frames[known] - frames[known].mean()
    return float(times @ values[known] / np.square(times).sum())


def _to_list(values: Any) -> Any:
    """Return a number, or numbers, as JSON has them."""
    if np.ndim(values):
        return [_to_list(value) for value in values]
    return float(values) if math.isfinite(values) else None
