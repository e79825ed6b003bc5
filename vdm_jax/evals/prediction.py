"""Figures of predicted frames as OpenSTL defines them (Tan et al. 2023, openstl/core/metrics.py), in plain numpy.

Frames are (..., T, H, W, C) with values 0 to 255 (a mean of samples is no whole number); they are compared as x / 255.
Each figure is first taken for every frame, then averaged over frames, so that a clip has one number of each kind.

mse, mae  summed over the pixels and channels of a frame, not averaged: 64x64 frames can differ by 4096.
psnr      10 log10(1 / mean squared error) of each frame, in dB; one equal frame makes it infinite. (Until June
          2023 OpenSTL took differences of unsigned bytes, which wrap around: 38 dB on Moving MNIST is such a figure.)
ssim      scikit-image's structural_similarity with its defaults for floats up to version 0.19, which OpenSTL pins:
          windows of 7x7 pixels, all of equal weight, sample covariance, K1 = 0.01, K2 = 0.03, places whose window
          leaves the frame left out, channels one by one, and a data range of 2 (floats might be -1 to 1) although the
          values span 1. The last makes the two constants four times as large and the figure higher; ours does the same.
"""

import numpy as np

WINDOW = 7  # pixels
C1, C2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
BETTER = {'mse': np.min, 'mae': np.min, 'ssim': np.max, 'psnr': np.max}


def mse(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Squared error, summed over each frame and averaged over frames: (..., T, H, W, C) -> (...)."""
    return np.square(_difference(predicted, true)).sum((-3, -2, -1)).mean(-1)


def mae(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Absolute error, summed over each frame and averaged over frames: (..., T, H, W, C) -> (...)."""
    return np.abs(_difference(predicted, true)).sum((-3, -2, -1)).mean(-1)


def psnr(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB, averaged over frames: (..., T, H, W, C) -> (...)."""
    with np.errstate(divide='ignore'):
        return -10 * np.log10(np.square(_difference(predicted, true)).mean((-3, -2, -1))).mean(-1)


def ssim(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Structural similarity (Wang et al. 2004), averaged over frames: (..., T, H, W, C) -> (...); 1 = equal.

    Raises:
      ValueError: frames smaller than a window.
    """
    if min(true.shape[-3:-1]) < WINDOW:
        raise ValueError(f'frames of {true.shape[-3]}x{true.shape[-2]} are smaller than the window of {WINDOW}')
    a, b = np.asarray(predicted, np.float64) / 255, np.asarray(true, np.float64) / 255
    mean_a, mean_b = _windows(a), _windows(b)
    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    variance_a = unbiased * (_windows(a * a) - mean_a**2)
    variance_b = unbiased * (_windows(b * b) - mean_b**2)
    covariance = unbiased * (_windows(a * b) - mean_a * mean_b)
    above = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    below = (mean_a**2 + mean_b**2 + C1) * (variance_a + variance_b + C2)
    return (above / below).mean((-4, -3, -2, -1))


FLOORS = ('copy last frame', 'mean picture')
METRICS = {'mse': mse, 'mae': mae, 'ssim': ssim, 'psnr': psnr}


def figures(samples: np.ndarray, true: np.ndarray) -> dict[str, dict[str, float]]:
    """The figures of N samples for each clip.

    Args:
      samples: predicted frames, uint8 (clips, N, T, H, W, C).
      true: uint8 (clips, T, H, W, C).

    Returns:
      'one sample': what a single sample is expected to score (the mean over all N of each clip);
      'mean of N': the N samples averaged pixel by pixel, then scored, which is what suits squared error best;
      'best of N': of each clip's N the best one, chosen for each figure by that figure, with the truth in hand.
    """
    count = samples.shape[1]
    rows = {'one sample': [], f'mean of {count}': [], f'best of {count}': []}
    for drawn, clip in zip(samples, true, strict=True):  # one at a time: the windows take 8 bytes a pixel and figure
        each = {name: metric(drawn, clip) for name, metric in METRICS.items()}
        mean = drawn.mean(0)
        rows['one sample'].append({name: values.mean() for name, values in each.items()})
        rows[f'mean of {count}'].append({name: metric(mean, clip) for name, metric in METRICS.items()})
        rows[f'best of {count}'].append({name: BETTER[name](values) for name, values in each.items()})
    return {
        row: {name: float(np.mean([clip[name] for clip in clips])) for name in METRICS} for row, clips in rows.items()
    }


def floors(known: np.ndarray, true: np.ndarray) -> dict[str, dict[str, float]]:
    """The figures of what needs no network, from known frames (clips, k, H, W, C) and those after them.

    'copy last frame': the last known frame, held. 'mean picture': one picture for all, the mean of all known frames,
    which in squared error beats the copy where little of the frame is lit and what is lit moves (digits on black).
    """
    held = np.repeat(known[:, -1:], true.shape[1], axis=1)
    mean = np.broadcast_to(known.mean((0, 1)), true.shape)
    return {row: figures(still[:, None], true)['one sample'] for row, still in zip(FLOORS, (held, mean), strict=True)}


def _difference(predicted, true):
    return (np.asarray(predicted, np.float64) - true) / 255


def _windows(x):
    """Mean over each window that lies within the frame: (..., H, W, C) -> (..., H - 6, W - 6, C)."""
    for axis in (-3, -2):
        places = x.shape[axis] - WINDOW + 1
        x = sum(np.take(x, range(first, first + places), axis) for first in range(WINDOW)) / WINDOW
    return x
