"""The picture in one packet, as far as headers describe it."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class CodedPicture:
    """The picture in a packet.

    Attributes:
      key: Whether decoding may begin here: this picture, and all that are shown after it, come out as they do when
        decoding begins at the start of the file.
      shown: Whether it is shown; one that is not only serves as a reference of others.
      order: Its rank among the pictures of its stream as they are shown, smaller ones first; None where they are shown
        in the order in which they are coded.
    """

    key: bool
    shown: bool = True
    order: tuple[int, int] | None = None
