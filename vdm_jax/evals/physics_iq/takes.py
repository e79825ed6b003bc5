"""A second recording of a clip: the same events with other random detail, which is what no prediction can know.

Physics-IQ films every scene twice. Of a clip that there is once, such as one of a world drawn on the fly, the second
take is made: events stay the same, and the camera stands elsewhere by a part of a pixel, the same in all frames, and
has other noise in each. So the variance of a world whose events are exact is that of the recording alone.
"""

import numpy as np
from scipy import ndimage

SHIFT = 0.5  # pixels, along x and along y, at most
NOISE = 2.0  # standard deviation of values of 0 to 255


def make_second_take(videos: np.ndarray, seed: int = 0, shift: float = SHIFT, noise: float = NOISE) -> np.ndarray:
    """Record clips again.

    Args:
      videos: uint8 (N, T, H, W, C).
      seed: Of shifts and noise.
      shift: The camera is moved by up to so many pixels along each axis, uniformly; edges reach on.
      noise: Standard deviation of values of 0 to 255.

    Returns:
      uint8, of the same shape.
    """
    rng = np.random.default_rng(seed)
    takes = np.empty_like(videos)
    for number, clip in enumerate(videos):
        down, right = rng.uniform(-shift, shift, 2)
        moved = ndimage.shift(clip.astype(np.float32), (0, down, right, 0), order=1, mode='nearest')
        moved += noise * rng.standard_normal(clip.shape, np.float32)
        takes[number] = np.clip(np.rint(moved), 0, 255)
    return takes


def enlarge(videos: np.ndarray, side: int) -> np.ndarray:
    """Repeat pixels of (..., H, W, C), by one whole factor, until the shorter side has `side` pixels or more.

    The masks' kernels of 5x5 pixels are meant for pictures of hundreds: of a ball of five pixels they leave nothing.
    """
    factor = -(-side // min(videos.shape[-3:-1]))
    if factor <= 1:
        return videos
    return np.repeat(np.repeat(videos, factor, axis=-3), factor, axis=-2)
