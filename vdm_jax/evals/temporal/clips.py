"""What clips temporal figures can be taken of: (T, H, W, C), bytes or floats of 0 to 255."""

import numpy as np

from vdm_jax.errors import UserError

REC_601 = (0.299, 0.587, 0.114)
REC_709 = (0.2126, 0.7152, 0.0722)


def check_clip(clip: np.ndarray, frames: int = 3, side: int = 1) -> np.ndarray:
    """Return a clip where temporal figures can be taken of it.

    Args:
      clip: (T, H, W, C), C 1 or 3; uint8, or floats of 0 to 255.
      frames: It has to have, or more.
      side: Pixels that its shorter side has to have, or more.

    Raises:
      UserError: It has another shape or type, too few frames or pixels, or values that are no colours.
    """
    clip = np.asarray(clip)
    if clip.ndim != 4 or clip.shape[-1] not in (1, 3):
        raise UserError(f'a clip of shape {clip.shape}: want (frames, height, width, channels) with 1 or 3 channels')
    if len(clip) < frames:
        raise UserError(f'a clip has frames={len(clip)}: temporal figures want {frames} or more')
    if min(clip.shape[1:3]) < side:
        raise UserError(f'frames of {clip.shape[1]}x{clip.shape[2]}: want sides of {side} pixels or more')
    if clip.dtype == np.uint8:
        return clip

    if not np.issubdtype(clip.dtype, np.floating):
        raise UserError(f'a clip of {clip.dtype}: want uint8, or floats of 0 to 255')
    if not np.isfinite(clip).all():
        raise UserError('a clip holds nan or infinity: want values of 0 to 255')
    low = float(clip.min())
    high = float(clip.max())
    if low < 0 or high > 255:
        raise UserError(f'a clip of floats has values from {low:g} to {high:g}: want 0 to 255')
    return clip


def compute_luma(clip: np.ndarray, weights: tuple[float, float, float] = REC_601) -> np.ndarray:
    """Weigh red, green and blue as they are stored, gamma and all: (..., C) -> float64 (...), 0 to 255."""
    if clip.shape[-1] == 1:
        return clip[..., 0].astype(np.float64)
    luma: np.ndarray = clip @ np.asarray(weights, np.float64)
    return luma


def round_to_bytes(clip: np.ndarray) -> np.ndarray:
    """Return a clip as uint8."""
    return clip if clip.dtype == np.uint8 else np.rint(clip).astype(np.uint8)
