"""Geometry of uint8 frames: resize, turn, crop, flip."""

import numpy as np


def cover(height, width, rows, columns):
    """(height, width) scaled, the aspect kept (rounded), to just cover `rows` x `columns` pixels."""
    scale = max(rows / height, columns / width)
    return max(rows, round(height * scale)), max(columns, round(width * scale))


def resize(frame_HWC, height, width):
    """One uint8 frame, grey or RGB, to (height, width, C): bicubic, antialiased when it shrinks.

    Pillow and not the decoder's own scaler: that one writes small RGB frames with half the chroma columns (2 to 4 grey
    levels off at 32 and 64 pixels) and its arithmetic depends on the machine. reducing_gap=3 averages whole blocks
    first: 0.3 of 255 levels off plain bicubic at most on the clips tried, at a third of its cost.
    """
    if frame_HWC.shape[:2] == (height, width):
        return frame_HWC
    from PIL import Image

    image = Image.fromarray(frame_HWC[..., 0] if frame_HWC.shape[2] == 1 else frame_HWC)
    image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(image).reshape(height, width, frame_HWC.shape[2])


def turn(video_THWC, degrees):
    """The video turned counterclockwise by the nearest multiple of 90 degrees."""
    return np.rot90(video_THWC, round(degrees / 90) % 4, axes=(1, 2))


def crop(video_THWC, rows, columns, where=None):
    """rows x columns pixels from the video: its centre, or where = (down, right), both in [0, 1)."""
    spare = video_THWC.shape[1] - rows, video_THWC.shape[2] - columns
    y, x = (s // 2 for s in spare) if where is None else (int(u * (s + 1)) for u, s in zip(where, spare, strict=True))
    return video_THWC[:, y : y + rows, x : x + columns]


def flip(video_THWC):
    """Mirrored left to right."""
    return video_THWC[:, :, ::-1]


def over_white(frame_HWC4):
    """A frame with transparency laid over white, uint8 (H, W, 3); white is what GIF viewers and FFmpeg assume."""
    alpha = frame_HWC4[..., 3:].astype(np.uint16)
    return ((frame_HWC4[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
