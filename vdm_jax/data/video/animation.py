"""Animated pictures (GIF, WebP, APNG), read with Pillow, frame after frame.

FFmpeg's own reader of GIF takes files without control blocks for a single picture, and it reads no animated WebP.
"""

import io
import struct
import warnings
from collections.abc import Iterator

import numpy as np

from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.container import head_of
from vdm_jax.data.video.limits import Limits
from vdm_jax.data.video.transforms import over_white

FORMATS = 'GIF', 'WEBP', 'PNG'  # Pillow's names
CONTAINERS = 'gif', 'webp', 'apng'
# What Pillow raises for files that are damaged.
DAMAGE = OSError, SyntaxError, ValueError, ArithmeticError, MemoryError, LookupError, struct.error
USUAL = 100  # milliseconds that browsers show a frame for which is to be shown for
SHORTEST = 10  # or less


def is_animation(head: bytes) -> bool:
    """Whether a file that begins so (container.HEAD bytes) is a picture."""
    return head[:4] == b'GIF8' or head[:4] == b'RIFF' and head[8:12] == b'WEBP' or head[:8] == b'\x89PNG\r\n\x1a\n'


def frames(path: str | bytes, limits: Limits) -> Iterator[tuple[np.ndarray, int]]:
    """Yields (frame uint8 (H, W, 3) with transparency over white, microseconds it is shown).

    A GIF that is cut off has the frames that are left, for it promises no number. Raises BrokenVideoError where there
    is none, where one is damaged or missing, or they are larger or more than `limits`.
    """
    from PIL import Image

    count = 0
    try:
        with _open(path, limits) as image:
            width, height = image.size
            first = int(bool(image.info.get('default_image')))  # of an APNG, for those who know none
            promised = getattr(image, 'n_frames', 1) - first if image.format == 'PNG' else 0
            while True:
                image.seek(first + count)
                limits.check_size(*image.size)  # one that reaches over the canvas makes it grow
                limits.check_frames(count + 1)
                pixels = over_white(np.asarray(image.convert('RGBA'))[:height, :width])
                duration = image.info.get('duration') or 0
                yield pixels, round(1000 * (duration if duration > SHORTEST else USUAL))
                count += 1
    except EOFError:
        if not count:
            raise BrokenVideoError('no frame decodes') from None
    except (*DAMAGE, Image.DecompressionBombError) as error:
        # Pillow reads on where there is nothing.
        is_at_end = isinstance(error, LookupError) or 'truncated' in str(error)
        is_cut_gif = count and codec_of(head_of(path)) == 'gif' and is_at_end
        if not is_cut_gif:
            reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
            raise BrokenVideoError(f'frame {count} is damaged: {reason}' if count else reason) from error
        promised = 0
    if count < promised:
        raise BrokenVideoError(f'cut off: {count} of {promised} frames')


def _open(path, limits):
    """Pillow's picture, its canvas within limits."""
    from PIL import Image

    head = head_of(path)
    if head[:3] == b'GIF':  # of which Pillow has an opinion of its own
        limits.check_size(*(int.from_bytes(head[at : at + 2], 'little') for at in (6, 8)))
    if head[12:16] == b'VP8X':  # whose decoder takes its memory when it is opened
        limits.check_size(*(int.from_bytes(head[at : at + 3], 'little') + 1 for at in (24, 27)))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of sizes, which limits are for
        return Image.open(io.BytesIO(path) if isinstance(path, bytes) else path, formats=FORMATS)


def codec_of(head: bytes) -> str:
    """gif, webp or apng, of a file that begins so."""
    return 'gif' if head[:3] == b'GIF' else 'webp' if head[:4] == b'RIFF' else 'apng'
