"""VP8 (RFC 6386) and VP9 (its bitstream specification): frames in the order of coding, some of them hidden."""

from typing import NamedTuple

from vdm_jax.data.video.headers.bits import Bits
from vdm_jax.data.video.headers.coded_picture import CodedPicture


class Vp8Reader:
    """A packet is a frame, which its first byte describes (RFC 6386, section 9.1)."""

    reorders = False
    may_be_interlaced = False

    def __init__(self, extradata: bytes):
        pass

    def read(self, packet: memoryview) -> CodedPicture:
        return CodedPicture(key=not packet[0] & 1, shown=bool(packet[0] & 16))


class Vp9Reader:
    """A packet is a frame, or several of which one is shown at most (annex B)."""

    reorders = False
    may_be_interlaced = False

    def __init__(self, extradata: bytes):
        pass

    def read(self, packet: memoryview) -> CodedPicture | None:
        frames = [_read_frame(Bits(bytes(frame[:2]))) for frame in _split_frames(packet)]
        shown_count = sum(frame.is_shown for frame in frames)
        if shown_count > 1:
            return None
        return CodedPicture(key=frames[0].is_key, shown=shown_count == 1)


class _Frame(NamedTuple):
    is_key: bool
    is_shown: bool


def _split_frames(packet: memoryview) -> list[memoryview]:
    """Return the frames of a packet, which has an index at its end where there are several."""
    marker = packet[-1]
    if marker & 224 != 192:
        return [packet]
    count = (marker & 7) + 1
    size = (marker >> 3 & 3) + 1  # bytes of a length
    # The index begins and ends with the marker.
    start = len(packet) - 2 - count * size
    if start < 0 or packet[start] != marker:
        return [packet]

    frames = []
    position = 0
    for number in range(count):
        entry = start + 1 + number * size
        length = int.from_bytes(packet[entry : entry + size], 'little')
        # A frame of no bytes is passed over by decoders.
        if length:
            frames.append(packet[position : position + length])
        position += length
    return frames


def _read_frame(bits: Bits) -> _Frame:
    """Read the uncompressed header, section 6.2."""
    if bits.read(2) != 2:
        raise ValueError('no frame of VP9')
    profile = bits.read(1) | bits.read(1) << 1
    bits.read(profile == 3)  # reserved
    # show_existing_frame: a frame that was decoded before is shown, and no other field follows.
    if bits.read_flag():
        return _Frame(is_key=False, is_shown=True)
    is_key = not bits.read_flag()
    return _Frame(is_key, is_shown=bits.read_flag())
