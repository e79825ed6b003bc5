"""Intervals of means and of their ratios over clips, by the bootstrap (Efron 1979); nan counts for nothing."""

import numpy as np

ROUNDS = 1000
LEVEL = 0.95
AT_ONCE = 2**22  # numbers that are drawn at once
ABOUT = f'{LEVEL:.0%} bootstrap over clips, {ROUNDS} rounds'


def resample_means(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return the means of ROUNDS sets of clips, each drawn with replacement from values (N,): (ROUNDS,)."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.full(ROUNDS, np.nan)
    rng = np.random.default_rng(seed)
    # Many rounds at once, and not all: 50,000 values would take a gigabyte.
    rounds_at_once = max(1, AT_ONCE // len(finite))
    means = []
    for first in range(0, ROUNDS, rounds_at_once):
        count = min(rounds_at_once, ROUNDS - first)
        means.append(finite[rng.integers(0, len(finite), (count, len(finite)))].mean(1))
    return np.concatenate(means)


def find_interval(means: np.ndarray) -> tuple[float, float]:
    """Return the ends of the middle LEVEL of resampled figures."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def mean_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the interval of the mean of values (N,)."""
    return find_interval(resample_means(values, seed))


def ratio_interval(above: np.ndarray, below: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the interval of the ratio of the means of two independent sets of clips, (N,) and (M,)."""
    return find_interval(resample_means(above, seed) / resample_means(below, seed + 1))
