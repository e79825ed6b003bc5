"""AV1 (its specification, sections 5.3 to 5.9): a temporal unit shows one frame, in the order of coding."""

from collections.abc import Iterator
from typing import NamedTuple

from vdm_jax.data.video.headers.bits import Bits
from vdm_jax.data.video.headers.coded_picture import CodedPicture

# Types of units.
SEQUENCE = 1
FRAME_HEADER = 3
FRAME = 6


class _Unit(NamedTuple):
    kind: int
    spatial_layer: int
    payload: memoryview


class _Frame(NamedTuple):
    is_key: bool  # a key frame that all after it can begin from
    is_shown: bool


class Reader:
    """Pictures of a stream; its extradata hold nothing that is needed."""

    reorders = False
    may_be_interlaced = False

    def __init__(self, extradata: bytes):
        pass

    def read(self, packet: memoryview) -> CodedPicture | None:
        frames = []
        for kind, spatial_layer, payload in _split_units(packet):
            # A still picture has other headers.
            if kind == SEQUENCE and Bits(bytes(payload[:1])).read(5) & 1:
                return None
            if kind in (FRAME_HEADER, FRAME):
                if spatial_layer:
                    return None
                frames.append(_read_frame(Bits(bytes(payload[:1]))))
        # Without spatial layers a temporal unit shows exactly one frame: any other form is left to the decoder.
        if sum(frame.is_shown for frame in frames) != 1:
            return None
        # A key frame that is hidden and shown later (a forward key frame) is no place
        # to begin: what comes between refers back.
        return CodedPicture(key=frames[0].is_key and frames[0].is_shown)


def _split_units(packet: memoryview) -> Iterator[_Unit]:
    position = 0
    while position < len(packet):
        head = packet[position]
        position += 1
        spatial_layer = 0
        if head & 4:  # an extension follows
            spatial_layer = (packet[position] >> 3) & 3
            position += 1
        length = len(packet) - position
        if head & 2:  # its length is stored
            length, position = _read_leb128(packet, position)
        yield _Unit((head >> 3) & 15, spatial_layer, packet[position : position + length])
        position += length


def _read_leb128(packet: memoryview, position: int) -> tuple[int, int]:
    """Return the number in LEB128 at a position, and the position after it."""
    value = 0
    for count in range(8):
        byte = packet[position + count]
        value |= (byte & 127) << 7 * count
        if not byte & 128:
            return value, position + count + 1
    raise ValueError('a number is longer than 8 bytes')


def _read_frame(bits: Bits) -> _Frame:
    # show_existing_frame: a frame that was coded before is shown, and no other field follows.
    if bits.read_flag():
        return _Frame(is_key=False, is_shown=True)
    # frame_type, where 0 is KEY_FRAME; then show_frame.
    kind = bits.read(2)
    return _Frame(is_key=kind == 0, is_shown=bits.read_flag())
