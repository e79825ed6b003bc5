"""Packets of a stream: what their container says of them, and their numbers, which decoders hand on with the frames."""

import dataclasses
from collections.abc import Iterable, Iterator


@dataclasses.dataclass(frozen=True, slots=True)
class Packet:
    """One packet of a stream as its container describes it, times in ticks.

    Attributes:
      pts: when its frame is shown, None where the container does not say.
      dts: when it is to be decoded, None where the container does not say.
      duration: how long its frame is shown, 0 where the container does not say.
      mark: a number to know it by, wherever reading began.
      is_key: whether the container says that decoding may begin at it.
      is_discarded: whether an edit list cuts its frame away.
      is_partial: whether the file has a part of it alone.
    """

    pts: int | None
    dts: int | None
    duration: int
    mark: int
    is_key: bool
    is_discarded: bool
    is_partial: bool = False

    @property
    def stamp(self) -> int | None:
        """When it is shown, or where that is not said, decoded."""
        return self.dts if self.pts is None else self.pts


def mark_of(packet) -> int:
    """A number to know a packet by, wherever reading began: of where it lies in the file, and its size."""
    return (packet.pos or 0) << 24 ^ packet.size


def number_packets(packets: Iterable, first: int = 0) -> Iterator[tuple[int, object]]:
    """Yields (number, packet) of a stream's packets, counted from `first`; then (the next number, None), with which a
    decoder gives up the frames that it holds back.

    The times of each packet are replaced by its number: a frame leaves the decoder with those of the packet that it was
    coded in, so that its packet is known whatever timestamps the file has.
    """
    number = first
    for packet in packets:
        if packet.size:
            packet.pts = packet.dts = number
            yield number, packet
            number += 1
    yield number, None
