"""Sets of clips that a sound evaluation must refuse, each made from real ones; uint8 (N, T, H, W, C)."""

import numpy as np


def noise(videos: np.ndarray, seed: int = 0) -> np.ndarray:
    """Every value drawn uniformly."""
    return np.random.default_rng(seed).integers(0, 256, videos.shape, dtype=np.uint8)


def frozen(videos: np.ndarray) -> np.ndarray:
    """The first frame, held."""
    return np.repeat(videos[:, :1], videos.shape[1], axis=1)


def shuffled(videos: np.ndarray, seed: int = 0) -> np.ndarray:
    """The frames of each clip in another order (never the true one, where there are two frames or more)."""
    rng, frames = np.random.default_rng(seed), videos.shape[1]
    order = np.stack([rng.permutation(frames) for _ in videos])
    same = (order == np.arange(frames)).all(1)
    order[same] = np.roll(order[same], 1, axis=1)
    return np.take_along_axis(videos, order[:, :, None, None, None], axis=1)


def copied(train: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Exact training clips, each at most once."""
    return train[np.random.default_rng(seed).permutation(len(train))[:count]]


def make(videos: np.ndarray, train: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """All controls by name, from held-out clips and training clips."""
    return {
        'noise': noise(videos, seed),
        'frozen': frozen(videos),
        'shuffled': shuffled(videos, seed),
        'copied': copied(train, len(videos), seed),
    }
