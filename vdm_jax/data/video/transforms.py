"""Geometry of uint8 frames: resize, turn, crop, flip."""

from collections.abc import Sequence

import numpy as np


def cover(height: int, width: int, rows: int, columns: int) -> tuple[int, int]:
    """Return (height, width) scaled, the aspect kept (rounded), to just cover `rows` x `columns` pixels."""
    scale = max(rows / height, columns / width)
    return max(rows, round(height * scale)), max(columns, round(width * scale))


def resize(frame_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize one uint8 frame, grey or RGB, to (height, width, C): bicubic, antialiased when it shrinks.

    By Pillow and not the decoder's own scaler: that one writes small RGB frames with half the chroma columns (2 to 4
    grey levels off at 32 and 64 pixels) and its arithmetic depends on the machine. reducing_gap=3 averages whole blocks
    first: 0.3 of 255 levels off plain bicubic at most on the clips tried, at a third of its cost.
    """
    if frame_HWC.shape[:2] == (height, width):
        return frame_HWC
    from PIL import Image

    image = Image.fromarray(frame_HWC[..., 0] if frame_HWC.shape[2] == 1 else frame_HWC)
    image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(image).reshape(height, width, frame_HWC.shape[2])


def crop(video_THWC: np.ndarray, rows: int, columns: int, corner: Sequence[float] | None = None) -> np.ndarray:
    """Cut rows x columns pixels from a video.

    corner: (down, right), shares of the room that is left, in [0, 1); None: the centre.
    """
    spare_rows = video_THWC.shape[1] - rows
    spare_columns = video_THWC.shape[2] - columns
    if corner is None:
        top = spare_rows // 2
        left = spare_columns // 2
    else:
        down, right = corner
        # A share below 1 of one row more than is spare: each of the spare_rows + 1 places is drawn as often.
        top = int(down * (spare_rows + 1))
        left = int(right * (spare_columns + 1))
    return video_THWC[:, top : top + rows, left : left + columns]


def flip(video_THWC: np.ndarray) -> np.ndarray:
    """Mirror a video left to right."""
    return video_THWC[:, :, ::-1]


def over_white(frame_HWC4: np.ndarray) -> np.ndarray:
    """Lay a frame with transparency over white, uint8 (H, W, 3); white is what GIF viewers and FFmpeg assume."""
    # 255 * 255 and the half that rounds just fit into 16 bits.
    alpha = frame_HWC4[..., 3:].astype(np.uint16)
    return ((frame_HWC4[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
