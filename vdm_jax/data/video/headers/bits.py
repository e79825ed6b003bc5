"""Reading headers bit by bit, as H.26x and AV1 write them."""

HEAD = 64  # bytes of a unit that are looked at; the fields that are read lie in its first dozen


class Bits:
    """Bits of some bytes, from the first on, most significant first; `left`: how many are still to be read."""

    def __init__(self, data: bytes):
        self._value = int.from_bytes(data)
        self.left = 8 * len(data)

    def read(self, count: int) -> int:
        """The next `count` bits as a number. Raises: ValueError where there are not so many."""
        if count > self.left:
            raise ValueError('the header is cut off')
        self.left -= count
        return (self._value >> self.left) & ((1 << count) - 1)

    def golomb(self) -> int:
        """The next number in the unsigned Exp-Golomb code, ue(v) of H.264, section 9.1."""
        zeros = 0
        while not self.read(1):
            zeros += 1
        return (1 << zeros) - 1 + self.read(zeros)

    def signed_golomb(self) -> int:
        """The next number in the signed Exp-Golomb code, se(v) of H.264, section 9.1.1."""
        code = self.golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def unescape(unit: bytes) -> bytes:
    """A unit of H.264 or HEVC without the bytes that keep start codes out of it."""
    return unit.replace(b'\0\0\3', b'\0\0')


def units(packet: memoryview, length_size: int):
    """Yields the NAL units of a packet as mp4 and Matroska store them, each behind its length.

    Raises: ValueError for a packet that is not made of such units.
    """
    at, end = 0, len(packet)
    while at < end:
        length = int.from_bytes(packet[at : at + length_size])
        at += length_size
        if not 0 < length <= end - at:
            raise ValueError('a unit is longer than its packet')
        yield packet[at : at + length]
        at += length


def parameter_sets(record: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    """(the next `count` parameter sets of a decoder configuration record, where they end); each stands behind its
    length, of two bytes.
    """
    sets = []
    for _ in range(count):
        length = int.from_bytes(record[at : at + 2])
        sets.append(bytes(record[at + 2 : at + 2 + length]))
        at += 2 + length
    return sets, at
