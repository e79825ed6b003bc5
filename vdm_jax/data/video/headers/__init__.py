"""What the headers inside a packet say of its picture: enough to know, without decoding, what a decoder will output.

Each codec has a reader, made from the stream's extradata, whose `read(packet)` returns a CodedPicture, or None where
the packet holds anything that only decoding can settle: fields, several pictures, other parameter sets. Codecs without
a file here have no reader; their files are decoded once instead.
"""

from collections.abc import Callable
from typing import Protocol

from vdm_jax.data.video.headers import av1, h264, hevc, vpx
from vdm_jax.data.video.headers.coded_picture import CodedPicture


class HeaderReader(Protocol):
    """Reads the packets of a stream, one after the other.

    Attributes:
      reorders: Whether pictures may be shown in another order than they are coded in.
      may_be_interlaced: Whether the lines of a picture may belong to two moments.
    """

    @property
    def reorders(self) -> bool: ...

    @property
    def may_be_interlaced(self) -> bool: ...

    def read(self, packet: memoryview) -> CodedPicture | None:
        """Read the next packet; None where its headers do not suffice.

        Raises:
          ValueError, IndexError: A header is cut off, or of another form.
        """


READERS: dict[str, Callable[[bytes], HeaderReader]] = {
    'h264': h264.Reader,
    'hevc': hevc.Reader,
    'av1': av1.Reader,
    'vp8': vpx.Vp8Reader,
    'vp9': vpx.Vp9Reader,
}

# Intra-only codecs that may have a field in each packet.
FIELD_CODECS = 'mjpeg', 'mjpegb'


class IntraReader:
    """Codecs that code every picture by itself: a packet is a picture, and a key."""

    reorders = False
    may_be_interlaced = True

    def read(self, packet: memoryview) -> CodedPicture:
        return CodedPicture(key=True)


def make_reader(codec: str, intra_only: bool, extradata: bytes) -> HeaderReader | None:
    """Return the reader of a stream's packets, None where there is none.

    Args:
      codec: FFmpeg's name of the format, such as 'h264'.
      intra_only: Whether the codec has key pictures alone.
      extradata: What the container stores for the decoder.
    """
    if intra_only and codec not in FIELD_CODECS:
        return IntraReader()
    if codec not in READERS:
        return None
    try:
        return READERS[codec](extradata)
    # Extradata that are cut off, or of another form.
    except (IndexError, ValueError):
        return None
