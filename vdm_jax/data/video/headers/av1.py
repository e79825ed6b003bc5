"""AV1 (its specification, sections 5.3 to 5.9): a temporal unit shows one frame, in the order of coding."""

from vdm_jax.data.video.headers.bits import Bits
from vdm_jax.data.video.headers.picture import Picture

SEQUENCE, FRAME_HEADER, FRAME = 1, 3, 6  # types of units


class Reader:
    """Pictures of a stream; extradata say nothing that is needed."""

    reorders = False
    may_be_interlaced = False

    def __init__(self, extradata: bytes):
        pass

    def read(self, packet: memoryview) -> Picture | None:
        frames = []
        for kind, layer, payload in _units(packet):
            if kind == SEQUENCE and Bits(bytes(payload[:1])).read(5) & 1:  # of a still picture: its headers are others
                return None
            if kind in (FRAME_HEADER, FRAME):
                if layer:
                    return None
                frames.append(_frame(Bits(bytes(payload[:1]))))
        if sum(shown for _, shown in frames) != 1:
            return None
        key, shown = frames[0]
        return Picture(key=key and shown)


def _units(packet):
    """Yields (type, spatial layer, payload) of each."""
    at = 0
    while at < len(packet):
        head, layer = packet[at], 0
        at += 1
        if head & 4:
            layer = (packet[at] >> 3) & 3
            at += 1
        length = len(packet) - at
        if head & 2:
            length, at = _number(packet, at)
        yield (head >> 3) & 15, layer, packet[at : at + length]
        at += length


def _number(packet, at):
    """(the number in LEB128 at `at`, where it ends)."""
    value = 0
    for count in range(8):
        byte = packet[at + count]
        value |= (byte & 127) << 7 * count
        if not byte & 128:
            return value, at + count + 1
    raise ValueError('a number is longer than 8 bytes')


def _frame(bits):
    """(whether it is a key frame that all after it can begin from, whether one is shown)."""
    if bits.read(1):  # one that was coded before is shown
        return False, True
    kind = bits.read(2)
    return kind == 0, bool(bits.read(1))
