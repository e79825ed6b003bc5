"""How much a picture flickers: first and second differences in time."""

import numpy as np


def compute_flickering(clip: np.ndarray) -> np.ndarray:
    """Compute VBench's temporal flickering of each pair of frames, (255 - mean |x[t+1] - x[t]|) / 255.

    It is meant for still scenes and counts every motion (Huang et al. 2024, arXiv:2311.17982); nothing is steadier than
    a frozen frame, which scores 1.

    Args:
      clip: (T, H, W, C), 0 to 255.

    Returns:
      (T - 1,), 0 to 1, 1 = equal frames.
    """
    steadiness: np.ndarray = 1 - np.abs(np.diff(_widen(clip), axis=0)).mean((1, 2, 3)) / 255
    return steadiness


def compute_second_differences(clip: np.ndarray) -> np.ndarray:
    """Average |x[t-1] - 2 x[t] + x[t+1]| over each frame t but the first and last: (T, H, W, C) -> (T - 2,).

    It is zero for anything that fades or brightens steadily, and white noise of standard deviation s gives
    s * sqrt(12 / pi).
    """
    differences: np.ndarray = np.abs(np.diff(_widen(clip), n=2, axis=0)).mean((1, 2, 3))
    return differences


def compute_flicker(videos: np.ndarray) -> float:
    """Average the absolute second difference in time over uint8 (N, T, H, W, C); nan for fewer than three frames."""
    if videos.shape[1] < 3:
        return float('nan')
    # Clip by clip, for memory.
    return float(np.mean([compute_second_differences(clip).mean() for clip in videos]))


def _widen(clip: np.ndarray) -> np.ndarray:
    # In int16, since differences of bytes wrap around.
    return clip.astype(np.int16) if clip.dtype == np.uint8 else np.asarray(clip, np.float64)
