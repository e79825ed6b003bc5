"""Packets of a stream: what their container says of them, and their numbers, which decoders hand on with the frames."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream

    VideoPacket = av.Packet[VideoStream]


@dataclasses.dataclass(frozen=True, slots=True)
class Packet:
    """One packet of a stream as its container describes it, times in ticks.

    Attributes:
      pts: When its frame is shown, None where the container does not say.
      dts: When it is to be decoded, None where the container does not say.
      duration: How long its frame is shown, 0 where the container does not say.
      mark: A number to know it by, wherever reading began.
      is_key: Whether the container says that decoding may begin at it.
      is_discarded: Whether an edit list cuts its frame away.
      is_partial: Whether the file has only a part of it.
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
        """When it is shown, or where that is not known, decoded."""
        return self.dts if self.pts is None else self.pts


def mark_of(packet: 'VideoPacket') -> int:
    """Return a number to know a packet by, wherever reading began: of its position in the file, and its size."""
    return (packet.pos or 0) << 24 ^ packet.size


def number_packets(packets: Iterable['VideoPacket'], first: int = 0) -> Iterator[tuple[int, 'VideoPacket | None']]:
    """Yield (number, packet) of a stream's packets, counted from `first`; then (the next number, None).

    With None a decoder outputs the frames that it holds back. The times of each packet are replaced by its number: a
    frame leaves the decoder with those of the packet that it was coded in, so that its packet is known whatever
    timestamps the file has.
    """
    number = first
    for packet in packets:
        # Empty packets hold no picture: FFmpeg ends a stream with one.
        if packet.size:
            packet.pts = packet.dts = number
            yield number, packet
            number += 1
    yield number, None
