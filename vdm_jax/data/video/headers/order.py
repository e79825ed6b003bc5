"""Picture order counts of H.264 and HEVC: where a picture is shown, told in its low bits."""


class OrderCount:
    """The counts of pictures as they are coded (H.264, section 8.2.1.1; HEVC, section 8.3.1)."""

    def __init__(self, bits: int):
        """bits: how many low bits of a count a picture tells."""
        self._range = 1 << bits
        self._sequence = self._high = self._low = 0

    def begin(self) -> None:
        """A new sequence: its pictures are shown after all before."""
        self._sequence += 1
        self._high = self._low = 0

    def of(self, low: int, leads: bool) -> tuple[int, int]:
        """(sequence, count) of the next picture; leads: whether the pictures after it are counted from it."""
        half = self._range // 2
        high = self._high
        if low < self._low and self._low - low >= half:
            high += self._range
        elif low > self._low and low - self._low > half:
            high -= self._range
        if leads:
            self._high, self._low = high, low
        return self._sequence, high + low
