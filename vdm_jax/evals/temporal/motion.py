"""How much moves, and how evenly: flow magnitudes, VBench's dynamic degree and motion smoothness."""

from abc import ABC, abstractmethod

import numpy as np

FASTEST = 0.05  # share of the pixels that decide whether a pair of frames moves
LIMIT = 6 / 256  # px a px of the shorter side
SAMPLED_FPS = 8  # about the rate at which the dynamic degree looks at frames


def compute_motion(flow: np.ndarray) -> np.ndarray:
    """Average the length of flow over each frame: (T - 1, H, W, 2) -> (T - 1,) px."""
    lengths: np.ndarray = np.linalg.norm(flow, axis=-1).mean((1, 2))
    return lengths


def compute_top_motion(flow: np.ndarray) -> np.ndarray:
    """Average the length of flow over the fastest twentieth of each frame: (T - 1, H, W, 2) -> (T - 1,) px."""
    lengths = np.sort(np.linalg.norm(flow, axis=-1).reshape(len(flow), flow.shape[1] * flow.shape[2]), axis=1)
    # Of less than 20 pixels one.
    count = max(int(lengths.shape[1] * FASTEST), 1)
    top: np.ndarray = lengths[:, -count:].mean(1)
    return top


def count_interval(fps: float) -> int:
    """Return how many frames of a video at this rate lie between two that the dynamic degree looks at."""
    return max(1, round(fps / SAMPLED_FPS))


def is_dynamic(top_motion: np.ndarray, side: int) -> bool:
    """Return VBench's dynamic degree of one clip: whether enough pairs of frames move.

    A pair moves where its fastest twentieth goes more than 6 px for every 256 px of the shorter side; of N frames
    round(N / 4) pairs have to, and one of fewer than three frames.

    Args:
      top_motion: Of `compute_top_motion`, (N - 1,), of frames at about 8 a second.
      side: The shorter side of a frame in pixels.
    """
    frames = len(top_motion) + 1
    moving = int((top_motion > LIMIT * side).sum())
    return moving >= max(round(4 * frames / 16), 1)


class Interpolator(ABC):
    """What guesses the frame between two others."""

    @abstractmethod
    def interpolate(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Return the frame halfway between two frames (H, W, C), 0 to 255."""

    @abstractmethod
    def describe(self) -> str:
        """Return what it is, for the settings of a score."""


class LinearBlend(Interpolator):
    """The mean of the two frames, which is right for what fades and doubles what moves."""

    def interpolate(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Return their mean, not rounded."""
        mean: np.ndarray = (before.astype(np.float64) + after) / 2
        return mean

    def describe(self) -> str:
        """Return its name."""
        return 'linear blend'


def compute_smoothness(clip: np.ndarray, interpolator: Interpolator) -> np.ndarray:
    """Compute VBench's motion smoothness of frames 1, 3, …, each guessed from its two neighbours.

    (255 - mean absolute error) / 255; VBench guesses by AMT-S.

    Args:
      clip: (T, H, W, C), 0 to 255.
      interpolator: What guesses.

    Returns:
      ((T - 1) // 2,), 0 to 1.
    """
    errors = []
    for t in range(1, len(clip) - 1, 2):
        guess = interpolator.interpolate(clip[t - 1], clip[t + 1])
        errors.append(np.abs(guess - clip[t].astype(np.float64)).mean())
    smoothness: np.ndarray = 1 - np.array(errors) / 255
    return smoothness
