"""HEVC (ITU-T H.265): at which pictures decoding may begin, and the order in which all are shown."""

import dataclasses

from vdm_jax.data.video.headers.bits import HEAD_BYTES, Bits, read_parameter_sets, split_units, unescape
from vdm_jax.data.video.headers.coded_picture import CodedPicture
from vdm_jax.data.video.headers.order_count import OrderCount

# Types of units, table 7-1. Those of slices are below 32: up to 9 they are of pictures that refer to others, 16 to 23
# of pictures at which decoding may begin.
LEADING = range(6, 10)  # shown before the key picture that they follow
BROKEN_LINK = range(16, 19)
IDR = range(19, 21)
CRA = 21
KEYS = range(16, 24)
VPS = 32
SPS = 33
PPS = 34
END = range(36, 38)  # of a sequence, of a stream


@dataclasses.dataclass(frozen=True)
class SequenceParameters:
    """What a sequence parameter set says of slice headers, section 7.3.2.2.

    Attributes:
      order_bits: Of the low part of an order count.
      interlaced: Whether the source was, in part or in whole.
      separate_planes: Whether the colour planes are coded each by itself.
    """

    order_bits: int
    interlaced: bool
    separate_planes: bool


@dataclasses.dataclass(frozen=True)
class PictureParameters:
    """What a picture parameter set says of slice headers, section 7.3.2.3.

    Attributes:
      output_flag: Whether each picture says if it is shown.
      extra_bits: Of a slice header, reserved.
    """

    output_flag: bool
    extra_bits: int


class Reader:
    """Pictures of a stream whose extradata are a HEVCDecoderConfigurationRecord (ISO/IEC 14496-15, section 8.3.3)."""

    reorders = True

    def __init__(self, extradata: bytes):
        """Read the parameter sets.

        Raises:
          ValueError, IndexError: The extradata are of another form.
        """
        self._length_size, self._parameter_sets = _read_configuration(extradata)
        self._sequence, self._pictures = _read_parameters(self._parameter_sets)
        self.may_be_interlaced = self._sequence.interlaced
        self._order_count = OrderCount(self._sequence.order_bits)
        self._is_first = True

    def read(self, packet: memoryview) -> CodedPicture | None:
        picture = None
        for unit in split_units(packet, self._length_size):
            kind = (unit[0] >> 1) & 63
            layer = (unit[0] & 1) << 5 | unit[1] >> 3
            # Another view or layer, which is not decoded.
            if layer:
                continue

            is_new_parameter_set = kind in (VPS, SPS, PPS) and bytes(unit) not in self._parameter_sets
            # Behind an end of sequence a CRA counts anew, as an IDR does (NoRaslOutputFlag, section 8.1.3).
            if is_new_parameter_set or kind in END:
                return None

            # Neither other units nor slices that do not begin a picture say more of it.
            if kind >= VPS or not unit[2] & 128:
                continue
            if picture is not None:  # a second one
                return None
            picture = self._read_picture(kind, bytes(unit[:HEAD_BYTES]))
            if picture is None:
                return None
        return picture

    def _read_picture(self, kind: int, unit: bytes) -> CodedPicture | None:
        """Read the picture's first slice, section 7.3.6.1; None where the decoder may leave it or others out."""
        is_first = self._is_first
        self._is_first = False

        bits = Bits(unescape(unit)[2:])
        bits.read_flag()
        # A key may say that pictures before it are not to be shown.
        if kind in KEYS and bits.read_flag() and not is_first:
            return None
        if kind in BROKEN_LINK and not is_first:
            return None
        # slice_pic_parameter_set_id, reserved bits, slice_type.
        bits.read_golomb()
        bits.read(self._pictures.extra_bits)
        bits.read_golomb()
        if self._pictures.output_flag and not bits.read_flag():
            return None

        if kind in IDR:
            self._order_count.start_sequence()
            return CodedPicture(key=True, order=self._order_count.next_count(0, True))
        bits.read(2 * self._sequence.separate_planes)
        low = bits.read(self._sequence.order_bits)
        is_lowest_layer = unit[1] & 7 == 1  # of the temporal ones
        # Of the types below 16 the even ones are pictures that no other of their layer refers to.
        is_reference = kind % 2 == 1 or kind >= 16
        # prevTid0Pic of section 8.3.1: counts are derived from such pictures alone, as any other may have been dropped.
        is_base = is_lowest_layer and is_reference and kind not in LEADING
        return CodedPicture(key=kind == CRA, order=self._order_count.next_count(low, is_base))


def _read_configuration(extradata: bytes) -> tuple[int, set[bytes]]:
    """Return the bytes of a unit's length, and the parameter sets."""
    if extradata[0] != 1:
        raise ValueError('no HEVCDecoderConfigurationRecord')
    parameter_sets: set[bytes] = set()
    # The head of the record is 22 bytes, and one for the number of kinds; each kind begins with its type and a count.
    position = 23
    for _ in range(extradata[22]):  # kinds of them
        count = int.from_bytes(extradata[position + 1 : position + 3])
        sets_of_kind, position = read_parameter_sets(extradata, position + 3, count)
        parameter_sets.update(sets_of_kind)
    return (extradata[21] & 3) + 1, parameter_sets


def _read_parameters(parameter_sets: set[bytes]) -> tuple[SequenceParameters, PictureParameters]:
    def units_of(kind: int) -> set[bytes]:
        return {unescape(unit)[2:] for unit in parameter_sets if (unit[0] >> 1) & 63 == kind}

    sequences = {_read_sequence(Bits(data)) for data in units_of(SPS)}
    pictures = {_read_picture_set(Bits(data)) for data in units_of(PPS)}
    if len(sequences) != 1 or len(pictures) != 1:
        raise ValueError('parameter sets that differ')
    return sequences.pop(), pictures.pop()


def _read_sequence(bits: Bits) -> SequenceParameters:
    """Read a sequence parameter set; what is read and not assigned matters to decoders alone."""
    # sps_video_parameter_set_id.
    bits.read(4)
    layers = bits.read(3)  # below the highest temporal one
    # sps_temporal_id_nesting_flag, then profile_tier_level: profile space,
    # tier, profile and what it is compatible with.
    bits.read(1 + 40)
    is_progressive = bits.read_flag()
    is_interlaced = bits.read_flag()
    # Further flags of the source and of constraints, and the level.
    bits.read(46 + 8)

    # Of each layer, whether its profile and its level are stored.
    stored = [(bits.read(1), bits.read(1)) for _ in range(layers)]
    if layers:
        bits.read(2 * (8 - layers))
    for profile, level in stored:
        bits.read(88 * profile + 8 * level)

    # sps_seq_parameter_set_id, chroma_format_idc (3 is 4:4:4), then width and height.
    bits.read_golomb()
    separate_planes = bits.read_golomb() == 3 and bits.read_flag()
    bits.read_golomb()
    bits.read_golomb()
    if bits.read_flag():  # the part of the picture that is shown
        for _ in range(4):
            bits.read_golomb()
    # bit_depth_luma, bit_depth_chroma, log2_max_pic_order_cnt_lsb_minus4.
    bits.read_golomb()
    bits.read_golomb()
    order_bits = bits.read_golomb() + 4
    return SequenceParameters(order_bits, is_interlaced and not is_progressive, separate_planes)


def _read_picture_set(bits: Bits) -> PictureParameters:
    # Numbers of this set and of its sequence's, dependent_slice_segments_enabled_flag.
    bits.read_golomb()
    bits.read_golomb()
    bits.read_flag()
    output_flag = bits.read_flag()
    return PictureParameters(output_flag, extra_bits=bits.read(3))
