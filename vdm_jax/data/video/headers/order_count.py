"""Picture order counts of H.264 and HEVC: when a picture is shown, of which it stores the low bits."""


class OrderCount:
    """The counts of pictures as they are coded (H.264, section 8.2.1.1; HEVC, section 8.3.1)."""

    def __init__(self, bits: int):
        """Start counting.

        bits: How many low bits of its count a picture stores.
        """
        self._range = 1 << bits
        self._sequence = 0
        # Of the last picture that counts were derived from.
        self._high = 0
        self._low = 0

    def start_sequence(self) -> None:
        """Start a new sequence: its pictures are shown after all before."""
        self._sequence += 1
        self._high = 0
        self._low = 0

    def next_count(self, low: int, is_base: bool) -> tuple[int, int]:
        """Return (sequence, count) of the next picture.

        low: The low bits that it stores. is_base: Whether the counts of the pictures after it are derived from it.
        """
        half = self._range // 2
        high = self._high
        # A jump by more than half the range means that the low bits have wrapped around.
        if low < self._low and self._low - low >= half:
            high += self._range
        elif low > self._low and low - self._low > half:
            high -= self._range
        if is_base:
            self._high = high
            self._low = low
        return self._sequence, high + low
