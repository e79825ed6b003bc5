"""Turn a decoded frame into the picture that a player shows: uint8 RGB, upright, its pixels square."""

import dataclasses
import struct
import threading
import zlib
from typing import TYPE_CHECKING

import numpy as np

from vdm_jax.data.video.container import translate_errors
from vdm_jax.data.video.transforms import over_white

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.plane import VideoPlane
    from av.video.reformatter import VideoReformatter

LIMITED = 1  # FFmpeg's AVCOL_RANGE_MPEG: black is 16 of 255, white 235


@dataclasses.dataclass(frozen=True)
class Orientation:
    """How a stored picture becomes the one that is shown.

    Attributes:
      transpose: Whether rows and columns are swapped, before anything is mirrored.
      flip_rows: Whether the picture is mirrored top to bottom.
      flip_columns: Whether the picture is mirrored left to right.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def of_matrix(cls, matrix: bytes) -> 'Orientation':
        """Return the orientation of a display matrix, by the nearest quarter turn.

        matrix: Nine int32, as FFmpeg hands them on (ISO/IEC 14496-12, section 8.3.2).
        """
        # x' = a x + c y, y' = b x + d y
        a, b, _, c, d = struct.unpack('<5i', matrix[:20])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, d < 0, a < 0)
        return cls(True, b < 0, c < 0)

    @property
    def mirrored(self) -> bool:
        """Whether the picture is shown as in a mirror."""
        return self.transpose ^ self.flip_rows ^ self.flip_columns

    @property
    def rotation(self) -> int:
        """Degrees counterclockwise, 0 to 270, that the picture is turned by.

        Where it is `mirrored`, it is mirrored left to right first.
        """
        if not self.transpose:
            return 180 if self.flip_rows else 0
        return 90 if self.flip_rows != self.mirrored else 270

    def apply(self, video: np.ndarray) -> np.ndarray:
        """Return frames (…, H, W, C) as they are shown; a view."""
        if self.transpose:
            video = video.swapaxes(-3, -2)
        if self.flip_rows:
            video = video[..., ::-1, :, :]
        return video[..., ::-1, :] if self.flip_columns else video

    def stored_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) of the stored picture that is shown as `height` x `width`, and the other way round."""
        return (width, height) if self.transpose else (height, width)


# Counterclockwise, without mirroring.
QUARTER_TURNS = (
    Orientation(),
    Orientation(transpose=True, flip_rows=True),
    Orientation(flip_rows=True, flip_columns=True),
    Orientation(transpose=True, flip_columns=True),
)


def orientation_of(frame: 'VideoFrame') -> Orientation:
    """Return how a frame is to be shown, by its display matrix."""
    from av.sidedata.sidedata import Type

    try:
        matrix = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]  # keys are not str
    except ValueError:  # it has data of a kind that this PyAV does not know, such as Exif, and shows none
        return QUARTER_TURNS[round(frame.rotation / 90) % 4]
    return Orientation() if matrix is None else Orientation.of_matrix(bytes(matrix))


def to_rgb(frame: 'VideoFrame', crop: tuple[int, int, int, int] = (0, 0, 0, 0)) -> np.ndarray:
    """Convert a frame to uint8 (H, W, 3): palettes resolved, transparency over white, grey of limited range stretched.

    crop: Rows at the top and bottom, columns at the left and right that are not shown.
    """
    components = frame.format.components
    has_palette = frame.format.has_palette
    is_grey = len(components) == 1 and components[0].bits >= 8 and not has_palette
    has_transparency = has_palette or any(component.is_alpha for component in components)
    with translate_errors():
        if is_grey and frame.color_range == LIMITED:
            pixels = _stretch_grey(frame)
        elif has_transparency:
            pixels = over_white(_convert(frame, 'rgba'))
        else:
            pixels = _convert(frame, 'rgb24')
    top, bottom, left, right = crop
    return pixels[top : len(pixels) - bottom, left : pixels.shape[1] - right]


def _stretch_grey(frame: 'VideoFrame') -> np.ndarray:
    """Convert grey of limited range: FFmpeg's scaler takes all 8-bit grey for full range, whatever the file says."""
    (component,) = frame.format.components
    grey = _plane_rows(frame.planes[0], frame.width * ((component.bits + 7) // 8))
    if component.bits > 8:
        grey = grey.view('>u2' if frame.format.is_big_endian else '<u2')
    scale = 2 ** (component.bits - 8)
    # From 16 ... 235 to 0 ... 255, rounded once, at the end.
    stretched = np.clip((grey.astype(np.float32) / scale - 16) * (255 / 219), 0, 255).round().astype(np.uint8)
    grey_rgb: np.ndarray = stretched[..., None].repeat(3, -1)
    return grey_rgb


def digest_frame(frame: 'VideoFrame') -> int:
    """Return 32 bits of what was decoded, the same for the same samples."""
    planes = frame.planes
    digest = 0
    for number, plane in enumerate(planes):
        if len(planes) == 1:
            row_bytes = -(-frame.width * frame.format.padded_bits_per_pixel // 8)
        else:
            components = [component for component in frame.format.components if component.plane == number]
            row_bytes = plane.width * sum(-(-component.bits // 8) for component in components)
        digest = zlib.crc32(np.ascontiguousarray(_plane_rows(plane, row_bytes)).data, digest)
    return digest


def _plane_rows(plane: 'VideoPlane', row_bytes: int) -> np.ndarray:
    """Return the rows of a plane, uint8 (height, row_bytes), without their padding."""
    samples: np.ndarray = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]  # a plane is a buffer
    if not plane.line_size:  # a palette
        return samples
    # Behind a row there may be bytes that nobody cleared: a digest of them would change from run to run.
    rows: np.ndarray = samples[: plane.height * plane.line_size].reshape(plane.height, plane.line_size)[:, :row_bytes]
    return rows


class _Converters(threading.local):
    """A converter of colours for each thread: to make one takes longer than to use it on a small frame."""

    converter: 'VideoReformatter | None' = None


_converters = _Converters()


def _convert(frame: 'VideoFrame', pixel_format: str) -> np.ndarray:
    """Convert a frame to a packed format, uint8 (H, W, channels)."""
    if _converters.converter is None:
        from av.video.reformatter import VideoReformatter

        _converters.converter = VideoReformatter()
    # On one thread: the loader works on many clips at once, so more of them would only wait for each other.
    return _converters.converter.reformat(frame, format=pixel_format, threads=1).to_ndarray()
