"""VP8 (RFC 6386) and VP9 (its bitstream specification): frames in the order of coding, some of them hidden."""

from vdm_jax.data.video.headers.bits import Bits
from vdm_jax.data.video.headers.picture import Picture


class Vp8Reader:
    """A packet is a frame; its first byte tells (RFC 6386, section 9.1)."""

    reorders = False
    may_be_interlaced = False

    def __init__(self, extradata: bytes):
        pass

    def read(self, packet: memoryview) -> Picture:
        return Picture(key=not packet[0] & 1, shown=bool(packet[0] & 16))


class Vp9Reader:
    """A packet is a frame, or several of which one is shown at most (annex B)."""

    reorders = False
    may_be_interlaced = False

    def __init__(self, extradata: bytes):
        pass

    def read(self, packet: memoryview) -> Picture | None:
        frames = [_frame(Bits(bytes(frame[:2]))) for frame in _frames(packet)]
        count = sum(shown for _, shown in frames)
        return Picture(key=frames[0][0], shown=count == 1) if count < 2 else None


def _frames(packet):
    """The frames of a packet, whose index stands at its end."""
    marker = packet[-1]
    if marker & 224 != 192:
        return [packet]
    count, size = (marker & 7) + 1, (marker >> 3 & 3) + 1
    start = len(packet) - 2 - count * size
    if start < 0 or packet[start] != marker:
        return [packet]
    frames, at = [], 0
    for number in range(count):
        place = start + 1 + number * size
        length = int.from_bytes(packet[place : place + size], 'little')
        if length:
            frames.append(packet[at : at + length])
        at += length
    return frames


def _frame(bits):
    """(key, shown) of the uncompressed header, section 6.2."""
    if bits.read(2) != 2:
        raise ValueError('no frame of VP9')
    profile = bits.read(1) | bits.read(1) << 1
    bits.read(profile == 3)
    if bits.read(1):  # one that was decoded before is shown
        return False, True
    return not bits.read(1), bool(bits.read(1))
