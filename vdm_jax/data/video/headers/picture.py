"""What one packet shows."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """The picture in a packet.

    Attributes:
      key: whether decoding may begin here: this picture, and all that are shown after it, come out as they do when
        decoding begins at the start of the file.
      shown: whether it is shown; others only lean on it where it is not.
      order: where it is shown among the pictures of its stream, smaller ones first; None where that is the order in
        which they are coded.
    """

    key: bool
    shown: bool = True
    order: tuple[int, int] | None = None
