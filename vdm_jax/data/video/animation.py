"""Animated pictures (GIF, WebP, APNG), read with Pillow, frame after frame.

FFmpeg's own reader of GIF takes files without control blocks for a single picture, and it reads no animated WebP.
"""

import io
import warnings
from collections.abc import Iterator

import numpy as np

from vdm_jax.data.transforms import over_white
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.container import head_of
from vdm_jax.data.video.limits import Limits

FORMATS = 'GIF', 'WEBP', 'PNG'  # Pillow's names
CONTAINERS = 'gif', 'webp', 'apng'
USUAL = 100  # milliseconds that browsers show a frame for which is to be shown for
SHORTEST = 10  # or less


def is_animation(head: bytes) -> bool:
    """Whether a file that begins so (container.HEAD bytes) is a picture."""
    return head[:4] == b'GIF8' or head[:4] == b'RIFF' and head[8:12] == b'WEBP' or head[:8] == b'\x89PNG\r\n\x1a\n'


def frames(path: str | bytes, limits: Limits) -> Iterator[tuple[np.ndarray, int]]:
    """Yields (frame uint8 (H, W, 3) with transparency over white, microseconds it is shown).

    A file that is cut off has the frames that are left, for it promises no number. Raises BrokenVideoError where there
    is none, or they are larger or more than `limits`.
    """
    from PIL import Image

    count = 0
    try:
        _check_canvas(head_of(path), limits)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of sizes, which limits are for
            image = Image.open(io.BytesIO(path) if isinstance(path, bytes) else path, formats=FORMATS)
        with image:
            limits.check_size(*image.size)
            while True:
                limits.check_frames(count + 1)
                image.seek(count)
                pixels = over_white(np.asarray(image.convert('RGBA')))
                duration = image.info.get('duration') or 0
                yield pixels, round(1000 * (duration if duration > SHORTEST else USUAL))
                count += 1
    except EOFError:
        if count:
            return
        raise BrokenVideoError('no frame decodes') from None
    except (OSError, SyntaxError, ValueError, ArithmeticError, MemoryError, Image.DecompressionBombError) as error:
        if count and not isinstance(error, MemoryError):
            return
        raise BrokenVideoError(getattr(error, 'strerror', None) or str(error) or type(error).__name__) from error


def codec_of(head: bytes) -> str:
    """gif, webp or apng, of a file that begins so."""
    return 'gif' if head[:3] == b'GIF' else 'webp' if head[:4] == b'RIFF' else 'apng'


def _check_canvas(head, limits):
    """Of a GIF, which Pillow has an opinion on, and of a WebP, whose decoder takes its memory when it is opened."""
    if head[:3] == b'GIF':
        limits.check_size(*(int.from_bytes(head[at : at + 2], 'little') for at in (6, 8)))
    if head[12:16] == b'VP8X':
        limits.check_size(*(int.from_bytes(head[at : at + 3], 'little') + 1 for at in (24, 27)))
