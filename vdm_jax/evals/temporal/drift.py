"""What drifts in long videos: brightness, colour, contrast, and the picture away from its first frame."""

import numpy as np

from vdm_jax.evals.temporal.clips import REC_601, compute_luma
from vdm_jax.evals.temporal.consistency import compare


def compute_luminance(clip: np.ndarray, weights: tuple[float, float, float] = REC_601) -> np.ndarray:
    """Average the luma of each frame: (T, H, W, C) -> (T,), 0 to 255.

    Luma weighs the stored values, gamma and all, by Rec. 601 (clips.REC_601) or Rec. 709.
    """
    luminance: np.ndarray = compute_luma(clip, weights).mean((1, 2))
    return luminance


def compute_contrast(clip: np.ndarray, weights: tuple[float, float, float] = REC_601) -> np.ndarray:
    """Compute the standard deviation of luma over each frame: (T, H, W, C) -> (T,), 0 to 127.5."""
    contrast: np.ndarray = compute_luma(clip, weights).std((1, 2))
    return contrast


def compute_saturation(clip: np.ndarray) -> np.ndarray:
    """Average the saturation of HSV, (max - min) / max of a pixel's channels, 0 for black: -> (T,), 0 to 1."""
    high = clip.max(-1).astype(np.float64)
    low = clip.min(-1)
    saturation: np.ndarray = ((high - low) / np.where(high > 0, high, 1)).mean((1, 2))
    return saturation


def compute_subject_drift(features: np.ndarray) -> np.ndarray:
    """Compute 1 - cos to the first frame: features (..., T, D) -> (..., T), 0 to 2, 0 for the first."""
    drift: np.ndarray = 1 - compare(features, features[..., :1, :])
    return drift
