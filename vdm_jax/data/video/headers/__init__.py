"""What the headers inside a packet say of its picture: enough to know, without decoding, what a decoder will give.

Each codec has a reader, made of the stream's extradata, whose `read(packet)` gives a Picture, or None where the packet
holds anything that only decoding can settle: fields, several pictures, other parameter sets. `reader_of` gives none for
codecs that have no file here; their files are decoded once instead.
"""

from vdm_jax.data.video.headers import av1, h264, hevc, vpx
from vdm_jax.data.video.headers.picture import Picture

READERS = {'h264': h264.Reader, 'hevc': hevc.Reader, 'av1': av1.Reader, 'vp8': vpx.Vp8Reader, 'vp9': vpx.Vp9Reader}

FIELDS = 'mjpeg', 'mjpegb'  # codecs of pictures alone that may have a field in each packet


class IntraReader:
    """Codecs that code every picture by itself: a packet is a picture, and a key."""

    reorders = False
    may_be_interlaced = True

    def read(self, packet: memoryview) -> Picture:
        return Picture(key=True)


def reader_of(codec: str, intra_only: bool, extradata: bytes):
    """The reader of a stream's packets, None where there is none.

    codec: FFmpeg's name of the format, such as 'h264'. intra_only: whether the codec has key pictures alone.
    """
    if intra_only and codec not in FIELDS:
        return IntraReader()
    if codec not in READERS:
        return None
    try:
        return READERS[codec](extradata)
    except (IndexError, ValueError):  # extradata that are cut off, or of another form
        return None
