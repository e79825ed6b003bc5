"""HEVC (ITU-T H.265): at which pictures decoding may begin, and the order in which all are shown."""

import dataclasses

from vdm_jax.data.video.headers.bits import HEAD, Bits, parameter_sets, unescape, units
from vdm_jax.data.video.headers.order import OrderCount
from vdm_jax.data.video.headers.picture import Picture

# Types of units, table 7-1. Those of slices are below 32: up to 9 they are of pictures that lean on others, 16 to 23 of
# such as decoding may begin at.
LEADING = range(6, 10)  # shown before the key picture that they follow
BROKEN_LINK = range(16, 19)
IDR = range(19, 21)
CRA = 21
KEYS = range(16, 24)
VPS, SPS, PPS = 32, 33, 34
END = range(36, 38)  # of a sequence, of a stream


@dataclasses.dataclass(frozen=True)
class Parameters:
    """What the parameter sets say of slice headers, sections 7.3.2.2 and 7.3.2.3.

    Attributes:
      order_bits: of the low part of an order count.
      interlaced: whether the source was, in part or in whole.
      separate_planes: whether the colour planes are coded each by itself.
      output_flag: whether each picture says if it is shown.
      extra_bits: of a slice header that mean nothing yet.
    """

    order_bits: int
    interlaced: bool
    separate_planes: bool
    output_flag: bool
    extra_bits: int


class Reader:
    """Pictures of a stream whose extradata are a HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, section 8.3.3)."""

    reorders = True

    def __init__(self, extradata: bytes):
        """Raises: ValueError, IndexError for extradata of another form."""
        self._length_size, self._sets = _configuration(extradata)
        self._parameters = _parameters(self._sets)
        self.may_be_interlaced = self._parameters.interlaced
        self._counts = OrderCount(self._parameters.order_bits)
        self._begun = False

    def read(self, packet: memoryview) -> Picture | None:
        picture = None
        for unit in units(packet, self._length_size):
            kind, layer = (unit[0] >> 1) & 63, (unit[0] & 1) << 5 | unit[1] >> 3
            if layer:  # another view, which is not decoded
                continue
            if kind in END or kind in (VPS, SPS, PPS) and bytes(unit) not in self._sets:
                return None
            if kind >= VPS or not unit[2] & 128:  # no slice, or one that does not begin a picture
                continue
            if picture is not None:
                return None
            picture = self._picture(kind, bytes(unit[:HEAD]))
            if picture is None:
                return None
        return picture

    def _picture(self, kind, unit):
        """Of its first slice, section 7.3.6.1; None where the decoder may leave it or others out."""
        parameters, first = self._parameters, not self._begun
        self._begun = True
        bits = Bits(unescape(unit)[2:])
        bits.read(1)
        if kind in KEYS and bits.read(1) and not first:  # pictures before it are not to be shown
            return None
        if kind in BROKEN_LINK and not first:
            return None
        bits.golomb()
        bits.read(parameters.extra_bits)
        bits.golomb()
        if parameters.output_flag and not bits.read(1):
            return None
        if kind in IDR:
            self._counts.begin()
            return Picture(key=True, order=self._counts.of(0, True))
        bits.read(2 * parameters.separate_planes)
        is_lowest = unit[1] & 7 == 1  # of the temporal layers
        leaned_on = kind % 2 == 1 or kind >= 16
        leads = is_lowest and leaned_on and kind not in LEADING
        return Picture(key=kind == CRA, order=self._counts.of(bits.read(parameters.order_bits), leads))


def _configuration(extradata):
    """(bytes of a unit's length, the parameter sets)."""
    if extradata[0] != 1:
        raise ValueError('no HEVCDecoderConfigurationRecord')
    sets, at = set(), 23
    for _ in range(extradata[22]):  # kinds of them
        more, at = parameter_sets(extradata, at + 3, int.from_bytes(extradata[at + 1 : at + 3]))
        sets.update(more)
    return (extradata[21] & 3) + 1, sets


def _parameters(sets):
    of_kind = {kind: {unescape(unit)[2:] for unit in sets if (unit[0] >> 1) & 63 == kind} for kind in (SPS, PPS)}
    sequences = {_sequence(Bits(data)) for data in of_kind[SPS]}
    pictures = {_picture_set(Bits(data)) for data in of_kind[PPS]}
    if len(sequences) != 1 or len(pictures) != 1:
        raise ValueError('parameter sets that differ')
    return Parameters(*sequences.pop(), *pictures.pop())


def _sequence(bits):
    """(order_bits, interlaced, separate_planes)."""
    bits.read(4)
    layers = bits.read(3)  # below the highest temporal one
    bits.read(1 + 40)
    progressive, interlaced = bits.read(1), bits.read(1)
    bits.read(46 + 8)
    present = [(bits.read(1), bits.read(1)) for _ in range(layers)]
    if layers:
        bits.read(2 * (8 - layers))
    for profile, level in present:
        bits.read(88 * profile + 8 * level)
    bits.golomb()
    separate_planes = bits.golomb() == 3 and bool(bits.read(1))
    bits.golomb()
    bits.golomb()
    if bits.read(1):  # the part of the picture that is shown
        for _ in range(4):
            bits.golomb()
    bits.golomb()
    bits.golomb()
    return bits.golomb() + 4, bool(interlaced and not progressive), separate_planes


def _picture_set(bits):
    """(output_flag, extra_bits)."""
    bits.golomb()
    bits.golomb()
    bits.read(1)
    return bool(bits.read(1)), bits.read(3)
