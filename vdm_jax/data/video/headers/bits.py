"""Read headers bit by bit, as H.26x and AV1 write them."""

from collections.abc import Iterator

HEAD_BYTES = 64  # of a unit that are looked at; the fields that are read lie in its first dozen


class Bits:
    """Reader of the bits of some bytes, the most significant first.

    Attributes:
      left: How many bits are still to be read.
    """

    def __init__(self, data: bytes):
        self._value = int.from_bytes(data)
        self.left = 8 * len(data)

    def read(self, count: int) -> int:
        """Read the next `count` bits as a number.

        Raises:
          ValueError: There are not so many.
        """
        if count > self.left:
            raise ValueError('the header is cut off')
        self.left -= count
        return (self._value >> self.left) & ((1 << count) - 1)

    def read_flag(self) -> bool:
        """Read one bit."""
        return bool(self.read(1))

    def read_golomb(self) -> int:
        """Read a number in the unsigned Exp-Golomb code, ue(v) of H.264, section 9.1."""
        # As many bits as there were zeros follow the first 1.
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)

    def read_signed_golomb(self) -> int:
        """Read a number in the signed Exp-Golomb code, se(v) of H.264, section 9.1.1."""
        code = self.read_golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def unescape(unit: bytes) -> bytes:
    """Remove from a unit of H.264 or HEVC the bytes that keep start codes out of it."""
    # Three bytes of 0, 0 and 1 begin a unit elsewhere, so writers put a 3 behind each two zeros (section 7.4.1).
    return unit.replace(b'\0\0\3', b'\0\0')


def split_units(packet: memoryview, length_size: int) -> Iterator[memoryview]:
    """Yield the NAL units of a packet as mp4 and Matroska store them, each behind its length.

    Raises:
      ValueError: The packet is not made of such units.
    """
    position = 0
    end = len(packet)
    while position < end:
        length = int.from_bytes(packet[position : position + length_size])
        position += length_size
        if not 0 < length <= end - position:
            raise ValueError('a unit is longer than its packet')
        yield packet[position : position + length]
        position += length


def read_parameter_sets(record: bytes, position: int, count: int) -> tuple[list[bytes], int]:
    """Return the next `count` parameter sets of a decoder configuration record, and the position after them.

    Each stands behind its length, of two bytes.
    """
    sets = []
    for _ in range(count):
        length = int.from_bytes(record[position : position + 2])
        sets.append(bytes(record[position + 2 : position + 2 + length]))
        position += 2 + length
    return sets, position
