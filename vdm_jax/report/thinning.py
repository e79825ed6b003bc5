"""Curves of any length -> as many points as a page can hold, with every peak still there."""

import numpy as np


def thin_curve(x: np.ndarray, y: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return at most `limit` points of a curve: the lowest and the highest of each bucket, in their order.

    Args:
      x: (N,), ascending.
      y: (N,), finite.
      limit: At least 4; a curve of no more points stays as it is.
    """
    if len(x) <= limit:
        return x, y
    edges = _bucket_edges(len(x), limit // 2 - 1)
    chosen = [0, len(x) - 1]
    for start, end in zip(edges[:-1], edges[1:], strict=True):
        bucket = y[start:end]
        chosen += [start + int(bucket.argmin()), start + int(bucket.argmax())]
    rows = np.unique(chosen)
    return x[rows], y[rows]


def average_curve(x: np.ndarray, y: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean point of each of at most `limit` buckets of a curve; arguments as thin_curve."""
    if len(x) <= limit:
        return x, y
    edges = _bucket_edges(len(x), limit)
    counts = np.diff(edges)
    # A sum of huge numbers is infinite; nothing is worth a warning here.
    with np.errstate(over='ignore', invalid='ignore'):
        return np.add.reduceat(x, edges[:-1]) / counts, np.add.reduceat(y, edges[:-1]) / counts


def spread_evenly(count: int, limit: int) -> list[int]:
    """Return at most `limit` of the numbers below `count`, evenly spread, the first and the last among them."""
    if count <= limit:
        return [*range(count)]
    return sorted({round(number) for number in np.linspace(0, count - 1, limit)})


def _bucket_edges(count: int, buckets: int) -> np.ndarray:
    # Fewer buckets than points: none of them is empty.
    return np.linspace(0, count, buckets + 1).astype(np.int64)
