"""Sets of clips that a sound evaluation must refuse, each made from real ones; uint8 (N, T, H, W, C)."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from scipy import ndimage

# What samples may differ from real clips by and still be good: of values of 0 to 255, and of pixels.
SLIGHT_NOISE: Final = 4.0
SLIGHT_BLUR: Final = 0.5
Seed = int | tuple[int, ...]  # as numpy's generators take them


def make_noise(videos: np.ndarray, seed: Seed = 0) -> np.ndarray:
    """Draw every value uniformly."""
    return np.random.default_rng(seed).integers(0, 256, videos.shape, dtype=np.uint8)


def freeze(videos: np.ndarray) -> np.ndarray:
    """Hold the first frame of each clip."""
    return np.repeat(videos[:, :1], videos.shape[1], axis=1)


def shuffle_frames(videos: np.ndarray, seed: Seed = 0) -> np.ndarray:
    """Put the frames of each clip in another order, never the true one where there are two frames or more."""
    rng = np.random.default_rng(seed)
    frames = videos.shape[1]
    order = np.stack([rng.permutation(frames) for _ in videos])
    # A permutation may be the true order by chance.
    same = (order == np.arange(frames)).all(1)
    order[same] = np.roll(order[same], 1, axis=1)
    return np.take_along_axis(videos, order[:, :, None, None, None], axis=1)


def reverse_frames(videos: np.ndarray) -> np.ndarray:
    """Play each clip backwards."""
    return videos[:, ::-1].copy()


def corrupt_slightly(
    videos: np.ndarray, seed: int = 0, noise: float = SLIGHT_NOISE, blur: float = SLIGHT_BLUR
) -> np.ndarray:
    """Blur each frame and add noise that is new in every frame.

    Args:
      videos: uint8 (N, T, H, W, C).
      seed: Of the noise.
      noise: Standard deviation of values of 0 to 255.
      blur: Standard deviation of the Gaussian in pixels.
    """
    rng = np.random.default_rng(seed)
    corrupt = np.empty_like(videos)
    # Clip by clip, for memory.
    for number, clip in enumerate(videos):
        soft = ndimage.gaussian_filter(clip.astype(np.float32), (0, blur, blur, 0), mode='nearest')
        soft += noise * rng.standard_normal(clip.shape, np.float32)
        corrupt[number] = np.clip(np.rint(soft), 0, 255)
    return corrupt


def copy_training_clips(train: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Take `count` exact training clips, each at most once."""
    return train[np.random.default_rng(seed).permutation(len(train))[:count]]


def change_each(
    change: Callable[[np.ndarray, Seed], np.ndarray], videos: np.ndarray, numbers: Sequence[int] | np.ndarray, seed: int
) -> np.ndarray:
    """Change each clip by a seed of its own, so that what becomes of it does not hang on the clips beside it.

    Args:
      change: `make_noise` or `shuffle_frames`.
      videos: One or more, (N, T, H, W, C).
      numbers: Of the clips in their set, (N,).
      seed: Of the set.
    """
    pairs = zip(videos, numbers, strict=True)
    return np.concatenate([change(video[np.newaxis], (seed, int(number))) for video, number in pairs])


def make_controls(videos: np.ndarray, train: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """Make all controls, by the names of their rows, from held-out clips and training clips."""
    return {
        'noise': make_noise(videos, seed),
        'frozen': freeze(videos),
        'shuffled': shuffle_frames(videos, seed),
        'copied': copy_training_clips(train, len(videos), seed),
    }
