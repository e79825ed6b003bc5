"""Physics-IQ: does what moves, move where, when and as much as in a real recording?

Four figures of a generated clip beside a real one (Motamed et al. 2025, arXiv:2501.09038), of their masks (masks.py)
and their pixels:

spatial         IoU of the pixels that ever change
spatiotemporal  IoU of each frame's mask, averaged over frames; of two empty masks it is 1
weighted        of the shares of frames in which a pixel changes: the lesser ones over the greater ones, summed
mse             mean squared error of values of 0 to 1

They mean nothing by themselves: a second recording of the same scene does not agree with the first one either. The
score puts them beside that "physical variance".

The formula is the one that was released with the benchmark at e457754 and so named. Published tables differ from it: of
the four figures that MAGI-1 reports it makes 52.1, their table says 56.0. (The released program also rounds figures to
four digits on its way, which moves a score by a few hundredths.)
"""

from collections.abc import Mapping

import numpy as np

VERSION = 'physics_iq_released_e457754'
AGREEMENTS = ('spatial', 'spatiotemporal', 'weighted')


def compute_spatial_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the IoU of what ever changes: masks bool (..., T, H, W) twice -> (...), 0 to 1; 1 where nothing does."""
    return _compute_iou(np.asarray(a.any(-3)), np.asarray(b.any(-3)))


def compute_spatiotemporal_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the IoU of each frame: masks bool (..., T, H, W) twice -> (..., T), 0 to 1; 1 where both are empty."""
    return _compute_iou(a, b)


def compute_weighted_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the IoU of shares of frames: masks bool (..., T, H, W) twice -> (...); 1 where nothing changes."""
    share_a = a.mean(-3)
    share_b = b.mean(-3)
    return _divide(np.minimum(share_a, share_b).sum((-2, -1)), np.maximum(share_a, share_b).sum((-2, -1)))


def compute_mse(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the squared error of each frame: (..., T, H, W, C) of 0 to 255 twice -> (..., T), 0 to 1."""
    error: np.ndarray = np.square((np.asarray(a, np.float64) - b) / 255).mean((-3, -2, -1))
    return error


def compare_clips(video: np.ndarray, mask: np.ndarray, real: np.ndarray, real_mask: np.ndarray) -> dict[str, float]:
    """Return the four figures of one clip beside another one.

    Args:
      video: (T, H, W, C), 0 to 255.
      mask: bool (T, H', W'), of it.
      real: (T, H, W, C), 0 to 255.
      real_mask: bool (T, H', W'), of that one.
    """
    return {
        'spatial': float(compute_spatial_iou(mask, real_mask)),
        'spatiotemporal': float(compute_spatiotemporal_iou(mask, real_mask).mean()),
        'weighted': float(compute_weighted_iou(mask, real_mask)),
        'mse': float(compute_mse(video, real).mean()),
    }


def compute_score(figures: Mapping[str, float], variance: Mapping[str, float]) -> float:
    """Compute the score of a set of clips, 0 to 100: VERSION's formula.

    It is 100 (mean over the three IoUs of its ratio to that of two recordings - (mse - that of two recordings)), cut to
    0 to 100. It is nan where two recordings have nothing in common.

    Args:
      figures: Means over clips of those beside the first recording.
      variance: Means over clips of those of the second recording beside the first one.
    """
    if not all(variance[name] > 0 for name in AGREEMENTS):
        return float('nan')
    ratio = np.mean([figures[name] / variance[name] for name in AGREEMENTS])
    return float(100 * np.clip(ratio - (figures['mse'] - variance['mse']), 0, 1))


def _compute_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _divide(np.logical_and(a, b).sum((-2, -1)), np.logical_or(a, b).sum((-2, -1)))


def _divide(intersection: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Return the ratio, 1 where both are zero."""
    iou: np.ndarray = np.where(union > 0, intersection / np.where(union > 0, union, 1), 1.0)
    return iou
