"""Bilinear resizes of frames, by the conventions that published networks were used with.

They differ in where an output pixel samples its input, and scores differ with them: a protocol names the one it uses.
Each is two matrices, one over rows and one over columns, with at most two weights for each output pixel.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.errors import UserError

# 'tf_legacy': TensorFlow 1's resize_bilinear, source = destination * in / out, which shifts the picture.
# 'half_pixel': pixels are areas, no antialiasing: torch's F.interpolate(mode='bilinear', align_corners=False).
# 'align_corners': the corner pixels of input and output are the same points.
Resize = Literal['tf_legacy', 'half_pixel', 'align_corners']


def source_positions(size: int, new_size: int, method: Resize) -> np.ndarray:
    """Return where each of `new_size` output pixels samples its input, in input pixels from 0: float64 (new_size,)."""
    pixels = np.arange(new_size, dtype=np.float64)
    if method == 'tf_legacy':
        return pixels * size / new_size
    if method == 'half_pixel':
        # Torch clamps at the first pixel; at the last one both neighbours are the last.
        return np.maximum((pixels + 0.5) * size / new_size - 0.5, 0)
    if method == 'align_corners':
        return pixels * (size - 1) / max(new_size - 1, 1)
    raise UserError(f'resize={method}: want tf_legacy, half_pixel or align_corners')


def resize_matrix(size: int, new_size: int, method: Resize) -> np.ndarray:
    """Return the weights of input pixels in each output pixel: float32 (new_size, size), whose rows sum to 1."""
    positions = source_positions(size, new_size, method)
    lower = np.minimum(np.floor(positions).astype(np.int64), size - 1)
    upper = np.minimum(lower + 1, size - 1)
    share = positions - lower
    rows = np.arange(new_size)

    matrix = np.zeros((new_size, size))
    # Added, as both neighbours are one pixel at the border.
    np.add.at(matrix, (rows, lower), 1 - share)
    np.add.at(matrix, (rows, upper), share)
    return matrix.astype(np.float32)


def resize_bilinear(x: jax.Array, height: int, width: int, method: Resize) -> jax.Array:
    """Resize pictures (..., H, W, C), floats, to (..., height, width, C); a side that fits already stays as it is.

    Raises:
      UserError: there is no such method, or a side is empty.
    """
    *lead, old_height, old_width, channels = x.shape
    if min(old_height, old_width, height, width) < 1:
        raise UserError(f'frames of {old_height}x{old_width} pixels cannot become {height}x{width}: want sides of 1 up')
    x = x.reshape(-1, old_height, old_width, channels)
    # The matrices are exact in float32 alone, and accelerators multiply in less by default.
    exact = jax.lax.Precision.HIGHEST
    if old_height != height:
        rows = jnp.asarray(resize_matrix(old_height, height, method), x.dtype)
        x = jnp.einsum('ih,nhwc->niwc', rows, x, precision=exact)
    if old_width != width:
        columns = jnp.asarray(resize_matrix(old_width, width, method), x.dtype)
        x = jnp.einsum('kw,nhwc->nhkc', columns, x, precision=exact)
    return x.reshape(*lead, height, width, channels)
