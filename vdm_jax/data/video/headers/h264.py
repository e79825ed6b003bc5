"""H.264 (ITU-T H.264): which pictures are IDR, and the order in which all are shown."""

import dataclasses

from vdm_jax.data.video.headers.bits import HEAD, Bits, parameter_sets, unescape, units
from vdm_jax.data.video.headers.order import OrderCount
from vdm_jax.data.video.headers.picture import Picture

SLICE, PARTITION, IDR, SPS, PPS = 1, 2, 5, 7, 8  # types of units, table 7-1
CHROMA_PROFILES = 44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244  # whose parameter sets say more


@dataclasses.dataclass(frozen=True)
class Sequence:
    """What a sequence parameter set says of slice headers, section 7.3.2.1.

    Attributes:
      separate_planes: whether the colour planes are coded each by itself.
      frame_num_bits: of the number of a frame.
      order_bits: of the low part of an order count; 0 where pictures are shown in the order in which they are coded.
      frames_only: whether no picture is a field.
    """

    separate_planes: bool
    frame_num_bits: int
    order_bits: int
    frames_only: bool


class Reader:
    """Pictures of a stream whose extradata are an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, section 5.3.3)."""

    def __init__(self, extradata: bytes):
        """Raises: ValueError, IndexError for extradata of another form, or pictures that only decoding can order."""
        self._length_size, self._sets = _configuration(extradata)
        sequences = {_sequence(unit) for unit in self._sets if unit[0] & 31 == SPS}
        if len(sequences) != 1:
            raise ValueError('not one sequence parameter set')
        (self._sequence,) = sequences
        self._counts = OrderCount(self._sequence.order_bits or 1)
        self._frame_num = 0  # of the last picture that others lean on
        self.reorders = self._sequence.order_bits > 0
        self.may_be_interlaced = not self._sequence.frames_only

    def read(self, packet: memoryview) -> Picture | None:
        picture = None
        for unit in units(packet, self._length_size):
            kind = unit[0] & 31
            if kind in (SPS, PPS) and bytes(unit) not in self._sets or PARTITION <= kind < IDR:
                return None
            if kind not in (SLICE, IDR) or not unit[1] & 128:  # a slice that does not begin a picture
                continue
            if picture is not None:
                return None
            picture = self._picture(bytes(unit[:HEAD]))
            if picture is None:
                return None
        return picture

    def _picture(self, unit):
        """Of its first slice, section 7.3.3; None for a field, and where pictures before it are missing."""
        sequence, idr = self._sequence, unit[0] & 31 == IDR
        bits = Bits(unescape(unit)[1:])
        for _ in range(3):  # first macroblock, type, picture parameter set
            bits.golomb()
        bits.read(2 * sequence.separate_planes)
        frame_num, is_reference = bits.read(sequence.frame_num_bits), bool(unit[0] & 96)
        if not idr and frame_num != (self._frame_num + 1) % (1 << sequence.frame_num_bits):
            return None
        if is_reference:
            self._frame_num = frame_num
        if not sequence.frames_only and bits.read(1):
            return None
        if idr:
            bits.golomb()
            self._counts.begin()
        if not sequence.order_bits:
            return Picture(key=idr)
        return Picture(key=idr, order=self._counts.of(bits.read(sequence.order_bits), is_reference))


def _configuration(extradata):
    """(bytes of a unit's length, the parameter sets)."""
    if extradata[0] != 1:
        raise ValueError('no AVCDecoderConfigurationRecord')
    sequences, at = parameter_sets(extradata, 6, extradata[5] & 31)
    pictures, _ = parameter_sets(extradata, at + 1, extradata[at])
    return (extradata[4] & 3) + 1, {*sequences, *pictures}


def _sequence(unit):
    data = unescape(unit)
    profile, bits, separate_planes = data[1], Bits(data[4:]), False
    bits.golomb()
    if profile in CHROMA_PROFILES:
        chroma = bits.golomb()
        separate_planes = chroma == 3 and bool(bits.read(1))
        bits.golomb()
        bits.golomb()
        bits.read(1)
        if bits.read(1):
            for number in range(12 if chroma == 3 else 8):
                if bits.read(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    frame_num_bits = bits.golomb() + 4
    kind, order_bits = bits.golomb(), 0
    if kind == 0:
        order_bits = bits.golomb() + 4
    elif kind == 1:
        raise ValueError('pictures are ordered by a cycle of offsets')
    bits.golomb()
    bits.read(1)
    bits.golomb()
    bits.golomb()
    return Sequence(separate_planes, frame_num_bits, order_bits, bool(bits.read(1)))


def _skip_scaling_list(bits, size):
    """Section 7.3.2.1.1.1."""
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed_golomb()) % 256
        last = following or last
