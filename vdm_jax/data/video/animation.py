"""Animated pictures (GIF, WebP, APNG), read with Pillow, frame after frame.

FFmpeg's own reader of GIF takes files without control blocks for a single picture, and it reads no animated WebP.
"""

import io
import struct
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.container import read_head
from vdm_jax.data.video.limits import Limits
from vdm_jax.data.video.transforms import over_white

if TYPE_CHECKING:
    from PIL import Image

FORMATS = 'GIF', 'WEBP', 'PNG'  # Pillow's names
CONTAINERS = 'gif', 'webp', 'apng'
# What Pillow raises for files that are damaged.
DAMAGE = OSError, SyntaxError, ValueError, ArithmeticError, MemoryError, LookupError, struct.error
# Browsers show a frame whose duration is SHORTEST or less for DEFAULT_DURATION; both in milliseconds.
DEFAULT_DURATION = 100
SHORTEST = 10


def is_gif_webp_or_png(head: bytes) -> bool:
    """Return whether a file that begins so (container.HEAD bytes) is a GIF, WebP or PNG, animated or still."""
    is_gif = head[:4] == b'GIF8'
    is_webp = head[:4] == b'RIFF' and head[8:12] == b'WEBP'
    is_png = head[:8] == b'\x89PNG\r\n\x1a\n'
    return is_gif or is_webp or is_png


def codec_of(head: bytes) -> str:
    """Return gif, webp or apng, for a picture that begins so."""
    if head[:3] == b'GIF':
        return 'gif'
    return 'webp' if head[:4] == b'RIFF' else 'apng'


def read_frames(path: str | bytes, limits: Limits) -> Iterator[tuple[np.ndarray, int]]:
    """Yield (frame uint8 (H, W, 3) with transparency over white, microseconds it is shown).

    A GIF that is cut off has the frames that are left, for it promises no number.

    Raises:
      BrokenVideoError: There is no frame, one is damaged or missing, or they are larger or more than `limits`.
    """
    from PIL import Image

    count = 0
    try:
        with _open_image(path, limits) as image:
            width, height = image.size
            # An APNG may begin with a still picture for programs that know no APNG.
            first = int(bool(image.info.get('default_image')))
            promised = getattr(image, 'n_frames', 1) - first if image.format == 'PNG' else 0
            while True:
                image.seek(first + count)
                # A frame that reaches over the canvas makes it grow.
                limits.check_size(*image.size)
                limits.check_frames(count + 1)
                pixels = over_white(np.asarray(image.convert('RGBA'))[:height, :width])
                duration = image.info.get('duration') or 0
                yield pixels, round(1000 * (duration if duration > SHORTEST else DEFAULT_DURATION))
                count += 1
    except EOFError:
        if not count:
            raise BrokenVideoError('no frame decodes') from None
    except (*DAMAGE, Image.DecompressionBombError) as error:
        # Pillow reads on after the last frame of a GIF without an end.
        is_at_end = isinstance(error, LookupError) or 'truncated' in str(error)
        is_cut_gif = count and codec_of(read_head(path)) == 'gif' and is_at_end
        if not is_cut_gif:
            reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
            raise BrokenVideoError(f'frame {count} is damaged: {reason}' if count else reason) from error
        promised = 0
    if count < promised:
        raise BrokenVideoError(f'cut off: {count} of {promised} frames')


def _open_image(path: str | bytes, limits: Limits) -> 'Image.Image':
    """Open a picture with Pillow, its canvas within limits."""
    from PIL import Image

    head = read_head(path)
    # Of GIF Pillow has limits of its own, which would speak first.
    if head[:3] == b'GIF':
        width, height = (int.from_bytes(head[at : at + 2], 'little') for at in (6, 8))
        limits.check_size(width, height)
    # The decoder of the extended WebP takes its memory when it is opened, before anything of it can be asked.
    if head[12:16] == b'VP8X':
        width, height = (int.from_bytes(head[at : at + 3], 'little') + 1 for at in (24, 27))
        limits.check_size(width, height)
    with warnings.catch_warnings():
        # They are about sizes, which `limits` decides.
        warnings.simplefilter('ignore')
        return Image.open(io.BytesIO(path) if isinstance(path, bytes) else path, formats=FORMATS)
