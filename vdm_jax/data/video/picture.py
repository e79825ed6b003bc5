"""From a decoded frame to the picture that a player shows: uint8 RGB, upright, its pixels square."""

import dataclasses
import struct
import threading
import zlib

import numpy as np

from vdm_jax.data.video.container import reasons
from vdm_jax.data.video.transforms import over_white

LIMITED = 1  # FFmpeg's AVCOL_RANGE_MPEG: black is 16 of 255, white 235


@dataclasses.dataclass(frozen=True)
class Orientation:
    """How a stored picture becomes the one that is shown: rows and columns change places, then either is mirrored."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def of_matrix(cls, matrix: bytes) -> 'Orientation':
        """Of a display matrix (ISO/IEC 14496-12, section 8.3.2; nine int32 as FFmpeg hands them on), by the nearest
        quarter turn.
        """
        a, b, _, c, d = struct.unpack('<5i', matrix[:20])  # x' = a x + c y, y' = b x + d y
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, d < 0, a < 0)
        return cls(True, b < 0, c < 0)

    @property
    def mirrored(self) -> bool:
        """Whether the picture is shown as in a mirror."""
        return self.transpose ^ self.flip_rows ^ self.flip_columns

    @property
    def rotation(self) -> int:
        """Degrees counterclockwise, 0 to 270, that the picture is turned by, after it was mirrored left to right where
        it is `mirrored`.
        """
        if not self.transpose:
            return 180 if self.flip_rows else 0
        return 90 if self.flip_rows != self.mirrored else 270

    def apply(self, video: np.ndarray) -> np.ndarray:
        """Frames (..., H, W, C) as they are shown; a view."""
        if self.transpose:
            video = video.swapaxes(-3, -2)
        if self.flip_rows:
            video = video[..., ::-1, :, :]
        return video[..., ::-1, :] if self.flip_columns else video

    def stored_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the stored picture that is shown as `height` x `width`; the same the other way round."""
        return (width, height) if self.transpose else (height, width)


# Counterclockwise, without mirroring.
QUARTER_TURNS = (
    Orientation(),
    Orientation(transpose=True, flip_rows=True),
    Orientation(flip_rows=True, flip_columns=True),
    Orientation(transpose=True, flip_columns=True),
)


def orientation_of(frame) -> Orientation:
    """How a PyAV frame is to be shown, by its display matrix."""
    from av.sidedata.sidedata import Type

    try:
        matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    except ValueError:  # it has data of a kind that this PyAV does not know, such as Exif, and shows none
        return QUARTER_TURNS[round(frame.rotation / 90) % 4]
    return Orientation() if matrix is None else Orientation.of_matrix(bytes(matrix))


def rgb(frame, crop: tuple[int, int, int, int] = (0, 0, 0, 0)) -> np.ndarray:
    """A PyAV frame as uint8 (H, W, 3): palettes resolved, transparency over white, grey of limited range stretched.

    crop: rows at the top and bottom, columns at the left and right that are not shown.
    """
    components, palette = frame.format.components, frame.format.has_palette
    with reasons():
        if len(components) == 1 and components[0].bits >= 8 and not palette and frame.color_range == LIMITED:
            pixels = _stretched_grey(frame)
        else:
            clear = palette or any(component.is_alpha for component in components)
            pixels = _converter().reformat(frame, format='rgba' if clear else 'rgb24', threads=1).to_ndarray()
            pixels = over_white(pixels) if clear else pixels
    top, bottom, left, right = crop
    return pixels[top : len(pixels) - bottom, left : pixels.shape[1] - right]


def _stretched_grey(frame):
    """FFmpeg's scaler takes all 8-bit grey for full range, whatever the file says."""
    (component,) = frame.format.components
    grey = _rows(frame.planes[0], frame.width * ((component.bits + 7) // 8))
    if component.bits > 8:
        grey = grey.view('>u2' if frame.format.is_big_endian else '<u2')
    scale = 2 ** (component.bits - 8)
    stretched = np.clip((grey.astype(np.float32) / scale - 16) * (255 / 219), 0, 255).round().astype(np.uint8)
    return stretched[..., None].repeat(3, -1)


def digest_of(frame) -> int:
    """32 bits of what was decoded, the same for the same samples."""
    planes, components, digest = frame.planes, frame.format.components, 0
    for number, plane in enumerate(planes):
        if len(planes) == 1:
            size = -(-frame.width * frame.format.padded_bits_per_pixel // 8)
        else:
            own = [component for component in components if component.plane == number]
            size = plane.width * sum(-(-component.bits // 8) for component in own)
        digest = zlib.crc32(np.ascontiguousarray(_rows(plane, size)), digest)
    return digest


def _rows(plane, size):
    """The rows of a plane, uint8 (height, size), without what fills them up."""
    rows = np.frombuffer(plane, np.uint8)
    if not plane.line_size:  # a palette
        return rows
    rows = rows[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)
    return rows[:, :size]


def _converter():
    """A thread's converter of colours: to make one takes longer than to use it on a small frame."""
    if not hasattr(_own, 'converter'):
        from av.video.reformatter import VideoReformatter

        _own.converter = VideoReformatter()
    return _own.converter


_own = threading.local()
