"""Sets of clips that a sound evaluation must refuse, each made from real ones; uint8 (N, T, H, W, C)."""

import numpy as np


def make_noise(videos: np.ndarray, seed: int = 0) -> np.ndarray:
    """Draw every value uniformly."""
    return np.random.default_rng(seed).integers(0, 256, videos.shape, dtype=np.uint8)


def freeze(videos: np.ndarray) -> np.ndarray:
    """Hold the first frame of each clip."""
    return np.repeat(videos[:, :1], videos.shape[1], axis=1)


def shuffle_frames(videos: np.ndarray, seed: int = 0) -> np.ndarray:
    """Put the frames of each clip in another order, never the true one where there are two frames or more."""
    rng = np.random.default_rng(seed)
    frames = videos.shape[1]
    order = np.stack([rng.permutation(frames) for _ in videos])
    # A permutation may be the true order by chance.
    same = (order == np.arange(frames)).all(1)
    order[same] = np.roll(order[same], 1, axis=1)
    return np.take_along_axis(videos, order[:, :, None, None, None], axis=1)


def copy_training_clips(train: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Take `count` exact training clips, each at most once."""
    return train[np.random.default_rng(seed).permutation(len(train))[:count]]


def make_controls(videos: np.ndarray, train: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Make all controls, by the names of their rows, from held-out clips and training clips."""
    return {
        'noise': make_noise(videos, seed),
        'frozen': freeze(videos),
        'shuffled': shuffle_frames(videos, seed),
        'copied': copy_training_clips(train, len(videos), seed),
    }
