"""H.264 (ITU-T H.264): which pictures are IDR, and the order in which all are shown."""

import dataclasses

from vdm_jax.data.video.headers.bits import HEAD_BYTES, Bits, read_parameter_sets, split_units, unescape
from vdm_jax.data.video.headers.coded_picture import CodedPicture
from vdm_jax.data.video.headers.order_count import OrderCount

# Types of units, table 7-1.
SLICE = 1
PARTITION = 2
IDR = 5
SPS = 7
PPS = 8
CHROMA_PROFILES = 44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244  # whose parameter sets have more fields


@dataclasses.dataclass(frozen=True)
class Sequence:
    """What a sequence parameter set says of slice headers, section 7.3.2.1.

    Attributes:
      separate_planes: Whether the colour planes are coded each by itself.
      frame_num_bits: Of the number of a frame.
      order_bits: Of the low part of an order count; 0 where pictures are shown in the order in which they are coded.
      frames_only: Whether no picture is a field.
    """

    separate_planes: bool
    frame_num_bits: int
    order_bits: int
    frames_only: bool


class Reader:
    """Pictures of a stream whose extradata are an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, section 5.3.3)."""

    def __init__(self, extradata: bytes):
        """Read the parameter sets.

        Raises:
          ValueError, IndexError: The extradata are of another form, or only decoding can order the pictures.
        """
        self._length_size, self._parameter_sets = _read_configuration(extradata)
        sequences = {_read_sequence(unit) for unit in self._parameter_sets if unit[0] & 31 == SPS}
        if len(sequences) != 1:
            raise ValueError('not one sequence parameter set')
        (self._sequence,) = sequences
        self._order_count = OrderCount(self._sequence.order_bits or 1)
        self._frame_num = 0  # of the last reference picture
        self.reorders = self._sequence.order_bits > 0
        self.may_be_interlaced = not self._sequence.frames_only

    def read(self, packet: memoryview) -> CodedPicture | None:
        picture = None
        for unit in split_units(packet, self._length_size):
            kind = unit[0] & 31
            is_new_parameter_set = kind in (SPS, PPS) and bytes(unit) not in self._parameter_sets
            # A set that the record does not have may change what all later headers
            # mean; data partitions have other ones.
            if is_new_parameter_set or PARTITION <= kind < IDR:
                return None
            # Slices that do not begin a picture say no more of it.
            if kind not in (SLICE, IDR) or not unit[1] & 128:
                continue
            if picture is not None:  # a second one
                return None
            picture = self._read_picture(bytes(unit[:HEAD_BYTES]))
            if picture is None:
                return None
        return picture

    def _read_picture(self, unit: bytes) -> CodedPicture | None:
        """Read the picture's first slice, section 7.3.3; None for a field, and where pictures before it are missing."""
        sequence = self._sequence
        is_idr = unit[0] & 31 == IDR
        # nal_ref_idc: no other picture refers to one where it is 0.
        is_reference = bool(unit[0] & 96)

        bits = Bits(unescape(unit)[1:])
        # first_mb_in_slice, slice_type and pic_parameter_set_id.
        for _ in range(3):
            bits.read_golomb()
        bits.read(2 * sequence.separate_planes)
        frame_num = bits.read(sequence.frame_num_bits)

        # It rises by one after each reference picture (section 7.4.3), so a gap means that pictures were lost.
        if not is_idr and frame_num != (self._frame_num + 1) % (1 << sequence.frame_num_bits):
            return None
        if is_reference:
            self._frame_num = frame_num

        if not sequence.frames_only and bits.read_flag():  # a field
            return None
        if is_idr:
            bits.read_golomb()
            self._order_count.start_sequence()
        if not sequence.order_bits:
            return CodedPicture(key=is_idr)
        order = self._order_count.next_count(bits.read(sequence.order_bits), is_reference)
        return CodedPicture(key=is_idr, order=order)


def _read_configuration(extradata: bytes) -> tuple[int, set[bytes]]:
    """Return the bytes of a unit's length, and the parameter sets."""
    if extradata[0] != 1:
        raise ValueError('no AVCDecoderConfigurationRecord')
    # Five bytes in comes their number, in five bits; behind them that of the picture parameter sets, in a byte.
    sequences, position = read_parameter_sets(extradata, 6, extradata[5] & 31)
    pictures, _ = read_parameter_sets(extradata, position + 1, extradata[position])
    return (extradata[4] & 3) + 1, {*sequences, *pictures}


def _read_sequence(unit: bytes) -> Sequence:
    """Read a sequence parameter set, section 7.3.2.1.1; what is read and not assigned matters to decoders alone."""
    data = unescape(unit)
    profile = data[1]
    bits = Bits(data[4:])
    bits.read_golomb()

    separate_planes = False
    if profile in CHROMA_PROFILES:
        chroma = bits.read_golomb()
        separate_planes = chroma == 3 and bits.read_flag()

        # bit_depth_luma, bit_depth_chroma, qpprime_y_zero_transform_bypass.
        bits.read_golomb()
        bits.read_golomb()
        bits.read_flag()
        # seq_scaling_matrix_present_flag; 4:4:4 has lists for each colour plane.
        if bits.read_flag():
            for number in range(12 if chroma == 3 else 8):
                if bits.read_flag():
                    _skip_scaling_list(bits, 16 if number < 6 else 64)

    # log2_max_frame_num_minus4, then pic_order_cnt_type: 2 shows pictures in the order in which they are coded.
    frame_num_bits = bits.read_golomb() + 4
    order_type = bits.read_golomb()
    order_bits = 0
    if order_type == 0:
        order_bits = bits.read_golomb() + 4
    elif order_type == 1:
        raise ValueError('pictures are ordered by a cycle of offsets')

    # max_num_ref_frames, gaps_in_frame_num_value_allowed_flag, then width and height in macroblocks.
    bits.read_golomb()
    bits.read_flag()
    bits.read_golomb()
    bits.read_golomb()
    return Sequence(separate_planes, frame_num_bits, order_bits, frames_only=bits.read_flag())


def _skip_scaling_list(bits: Bits, size: int) -> None:
    """Skip a scaling list, section 7.3.2.1.1.1."""
    last_scale = 8
    next_scale = 8
    for _ in range(size):
        # After a 0 the rest of the list is not stored.
        if next_scale:
            next_scale = (last_scale + bits.read_signed_golomb()) % 256
        last_scale = next_scale or last_scale
