"""Metrics of plain pixels: errors, PSNR and SSIM of frames, and the nearest training clip.

Videos are (..., T, H, W, C) with values 0 to 255, bytes or a mean of samples, which is no whole number.

mse, mae, psnr and ssim of frames are defined as OpenSTL has them (Tan et al. 2023, openstl/core/metrics.py), in plain
numpy: values are compared as x / 255, each figure is first taken for every frame and then averaged over frames.

mse, mae  summed over the pixels and channels of a frame, not averaged: 64x64 frames can differ by 4096.
psnr      10 log10(1 / mean squared error) of each frame, in dB; one equal frame makes it infinite. (Until June
          2023 OpenSTL took differences of unsigned bytes, which wrap around: 38 dB on Moving MNIST is such a figure.)
ssim      scikit-image's structural_similarity with its defaults for floats up to version 0.19, which OpenSTL pins:
          windows of 7x7 pixels, all of equal weight, sample covariance, K1 = 0.01, K2 = 0.03, positions whose window
          leaves the frame left out, channels one by one, and a data range of 2 (floats might be -1 to 1) although the
          values span 1. The last makes the two constants four times as large and the figure higher; ours does the same.
"""

import numpy as np

from vdm_jax.errors import UserError

FRAME = (-3, -2, -1)  # axes of a frame
CLIP = (-4, -3, -2, -1)  # axes of a clip
WINDOW = 7  # pixels
C1 = (0.01 * 2) ** 2
C2 = (0.03 * 2) ** 2


def compute_mse(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Sum squared errors over each frame and average over frames: (..., T, H, W, C) -> (...)."""
    errors: np.ndarray = np.square(_subtract(predicted, true)).sum(FRAME).mean(-1)
    return errors


def compute_mae(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Sum absolute errors over each frame and average over frames: (..., T, H, W, C) -> (...)."""
    errors: np.ndarray = np.abs(_subtract(predicted, true)).sum(FRAME).mean(-1)
    return errors


def compute_psnr(predicted: np.ndarray, true: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Compute the peak signal-to-noise ratio in dB, 10 log10(1 / mean squared error over `axes`); inf where equal.

    Over CLIP it is one number a clip, (..., T, H, W, C) -> (...); over FRAME one a frame, (..., T).
    """
    errors = np.square(_subtract(predicted, true)).mean(axes)
    with np.errstate(divide='ignore'):
        decibels: np.ndarray = -10 * np.log10(errors)
    return decibels


def compute_frame_psnr(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Average the PSNR of each frame over frames: (..., T, H, W, C) -> (...) dB."""
    decibels: np.ndarray = compute_psnr(predicted, true, FRAME).mean(-1)
    return decibels


def check_window(height: int, width: int) -> None:
    """Check that frames are large enough for SSIM.

    Raises:
      UserError: They are smaller than a window.
    """
    if min(height, width) < WINDOW:
        raise UserError(f'SSIM wants frames of {WINDOW} pixels or more a side; found {height}x{width}')


def compute_ssim(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Average structural similarity (Wang et al. 2004) over frames: (..., T, H, W, C) -> (...); 1 = equal.

    Raises:
      UserError: Frames are smaller than a window.
    """
    check_window(*true.shape[-3:-1])

    a = np.asarray(predicted, np.float64) / 255
    b = np.asarray(true, np.float64) / 255

    mean_a = _average_windows(a)
    mean_b = _average_windows(b)

    # scikit-image's default is the sample covariance, over n - 1.
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    variance_a = unbiased * (_average_windows(a * a) - mean_a**2)
    variance_b = unbiased * (_average_windows(b * b) - mean_b**2)
    covariance = unbiased * (_average_windows(a * b) - mean_a * mean_b)

    above = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    below = (mean_a**2 + mean_b**2 + C1) * (variance_a + variance_b + C2)
    similarity: np.ndarray = (above / below).mean(CLIP)
    return similarity


# What is known of frames beside the truth, by the names that scores call it.
FRAME_METRICS = {'mse': compute_mse, 'mae': compute_mae, 'ssim': compute_ssim, 'psnr': compute_frame_psnr}


def find_nearest(videos: np.ndarray, train: np.ndarray, chunk: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest training clip of each clip: root mean squared error (N,), and its index in `train` (N,).

    The search multiplies matrices, `chunk` training clips at a time; the error of the nearest clip is then exact.

    Args:
      videos: uint8 (N, T, H, W, C).
      train: uint8 (M, T, H, W, C).
      chunk: Training clips that are compared at once.

    Returns:
      Errors in pixel values, 0 to 255, and indices.
    """
    flat = videos.reshape(len(videos), -1)
    # Centred: smaller numbers keep more digits where float32 subtracts large sums.
    queries = flat.astype(np.float32) - 128
    best = np.full(len(videos), np.inf, np.float32)
    index = np.zeros(len(videos), np.int64)

    for begin in range(0, len(train), chunk):
        block = train[begin : begin + chunk].reshape(-1, flat.shape[1]).astype(np.float32) - 128
        # |a - b|^2 by one product of matrices; less |query|^2, which is the same for all and changes no order.
        distance = np.square(block).sum(1) - 2 * queries @ block.T
        nearest = distance.argmin(1)
        least = distance[np.arange(len(videos)), nearest]
        index = np.where(least < best, begin + nearest, index)
        best = np.minimum(best, least)

    # The search is rounded, its result is measured anew: an exact copy is to have an error of exactly 0.
    error = [
        np.sqrt(np.square(a.astype(np.float64) - train[i].ravel()).mean()) for a, i in zip(flat, index, strict=True)
    ]
    return np.array(error), index


def _subtract(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    difference: np.ndarray = (np.asarray(predicted, np.float64) - true) / 255
    return difference


def _average_windows(x: np.ndarray) -> np.ndarray:
    """Average over each window that lies within the frame: (..., H, W, C) -> (..., H - 6, W - 6, C)."""
    # Windows of equal weight factorise: first along rows, then along columns.
    for axis in (-3, -2):
        count = x.shape[axis] - WINDOW + 1
        shifted = (np.take(x, range(first, first + count), axis) for first in range(WINDOW))
        x = sum(shifted, start=np.zeros(())) / WINDOW
    return x
