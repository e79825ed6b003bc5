"""LPIPS of videos: how different each frame looks from the true one (Zhang et al. 2018, arXiv:1801.03924).

Frames are compared in batches of about the same number of pixels, so that memory is the same for any number of videos.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.codecs import lpips
from vdm_jax.codecs.codec import Weights
from vdm_jax.errors import UserError, format_ranges

PIXELS_AT_ONCE = 2**19  # of one of the two videos; VGG-16 takes about 2 kB for each


def measure_lpips(videos: np.ndarray, true: np.ndarray, weights: Weights, backbone: lpips.Backbone) -> np.ndarray:
    """Return LPIPS of each frame beside the true one: (N, T) float32, 0 where they look the same.

    Args:
      videos: (N, T, H, W, C), bytes, or other numbers from 0 to 255 such as a mean of samples; C is 3, or 1 for grey.
      true: Of the same shape.
      weights: What codecs.lpips takes, as pretrained.load('lpips', 'lpips_alex').params.
      backbone: Their network, as the same object's config.

    Raises:
      UserError: They are no two such arrays of one shape, hold other numbers or are smaller than the network takes.
    """
    _check(videos, true, backbone)
    num_videos, num_frames, height, width, channels = videos.shape
    frames = [each.reshape(-1, height, width, channels) for each in (videos, true)]
    count = num_videos * num_frames
    batch = max(1, min(count, PIXELS_AT_ONCE // (height * width)))

    distances = np.zeros(count, np.float32)
    for start in range(0, count, batch):
        # The last batch begins earlier, so that all are of one size and one program serves them.
        first = min(start, count - batch)
        pair = [_to_bytes_or_floats(each[first : first + batch]) for each in frames]
        distances[first : first + batch] = _compare(weights, *pair, backbone)
    return distances.reshape(num_videos, num_frames)


@functools.partial(jax.jit, static_argnums=3)
def _compare(weights: Weights, x: jax.Array, y: jax.Array, backbone: lpips.Backbone) -> jax.Array:
    x, y = (each.astype(jnp.float32) / 127.5 - 1 for each in (x, y))
    return lpips.distance(weights, x, y, backbone)


def _to_bytes_or_floats(frames: np.ndarray) -> np.ndarray:
    """Return frames in a dtype that a device takes as it is."""
    return frames if frames.dtype == np.uint8 else frames.astype(np.float32)


def _check(videos: np.ndarray, true: np.ndarray, backbone: lpips.Backbone) -> None:
    least = backbone.smallest
    is_shape = videos.ndim == 5 and videos.shape == true.shape and videos.shape[-1] in (1, 3)
    if not is_shape or min(videos.shape[2:4]) < least:
        raise UserError(
            f'LPIPS with {backbone.name} takes two videos (N, T, H, W, 3) of one shape, or 1 for grey, of '
            f'{least}x{least} pixels or more; found {videos.shape} and {true.shape}'
        )
    for name, array in {'videos': videos, 'true': true}.items():
        if array.dtype.kind not in 'uif':
            raise UserError(f'LPIPS takes numbers from 0 to 255; {name} are {array.dtype}')
        # Comparisons with nan are false.
        is_good = (
            ((array >= 0) & (array <= 255)).all((1, 2, 3, 4)) if array.dtype != np.uint8 else np.ones(len(array), bool)
        )
        if not is_good.all():
            bad = np.flatnonzero(~is_good)
            raise UserError(
                f'LPIPS takes numbers from 0 to 255; {len(bad)} of {len(array)} of {name} have others or nan: number '
                f'{format_ranges(map(int, bad))}'
            )
