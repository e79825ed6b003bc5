"""Figures of plain pixels: error, flicker, and how near a sample is to the clips it was trained on.

Videos are uint8 (N, T, H, W, C); errors are in pixel values, 0 to 255.
"""

import numpy as np


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each clip in dB, (N,): 10 log10(255^2 / mean squared error); inf where equal."""
    error = np.square(a.astype(np.float64) - b.astype(np.float64)).mean((1, 2, 3, 4))
    with np.errstate(divide='ignore'):
        return 10 * np.log10(255**2 / error)


def flicker(videos: np.ndarray) -> float:
    """Mean absolute second difference in time, |x[t-1] - 2 x[t] + x[t+1]|; nan for fewer than three frames.

    The first difference (VBench's temporal flickering, Huang et al. 2024, arXiv:2311.17982) is meant for still scenes
    and counts every motion; the second is zero for anything that fades or brightens steadily, and white noise of
    standard deviation s gives s * sqrt(12 / pi).
    """
    if videos.shape[1] < 3:
        return float('nan')
    return float(np.mean([np.abs(np.diff(clip.astype(np.int16), n=2, axis=0)).mean() for clip in videos]))


def nearest(videos: np.ndarray, train: np.ndarray, chunk: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    """For each clip its nearest training clip: root mean squared error (N,), and index into `train` (N,).

    The search multiplies matrices, `chunk` training clips at a time; the error of the clip found is then exact.
    """
    flat = videos.reshape(len(videos), -1)
    queries = flat.astype(np.float32) - 128
    best = np.full(len(videos), np.inf, np.float32)
    index = np.zeros(len(videos), np.int64)
    for begin in range(0, len(train), chunk):
        block = train[begin : begin + chunk].reshape(-1, flat.shape[1]).astype(np.float32) - 128
        distance = np.square(block).sum(1) - 2 * queries @ block.T  # less |query|^2, the same for all
        here = distance.argmin(1)
        better = distance[np.arange(len(videos)), here]
        index = np.where(better < best, begin + here, index)
        best = np.minimum(best, better)
    error = [
        np.sqrt(np.square(a.astype(np.float64) - train[i].ravel()).mean()) for a, i in zip(flat, index, strict=True)
    ]
    return np.array(error), index
