"""Scan a file's packets, whose headers may prove what a decoder will output; nothing is decoded."""

from typing import TYPE_CHECKING

import numpy as np

from vdm_jax.data.video.container import time_base_of
from vdm_jax.data.video.headers import HeaderReader, make_reader
from vdm_jax.data.video.headers.coded_picture import CodedPicture
from vdm_jax.data.video.index import Frames
from vdm_jax.data.video.packets import Packet, mark_of
from vdm_jax.data.video.timestamps import ANY_JUMP

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

    from vdm_jax.data.video.packets import VideoPacket

CONTAINERS = 'mov', 'matroska'  # whose times are those at which frames are shown


class PacketScan:
    """The packets of a stream, one after the other, and what their headers say, for as long as that suffices.

    Attributes:
      packets: Those that were added.
    """

    def __init__(self, container: 'InputContainer', stream: 'VideoStream'):
        context = stream.codec_context
        codec = context.codec
        self.packets: list[Packet] = []
        self._longest = ANY_JUMP / float(time_base_of(stream))  # ticks that a frame may be shown
        self._has_pts = container.format.name != 'avi'  # which stores none; FFmpeg guesses
        # One a packet; None once headers do not suffice.
        self._pictures: list[CodedPicture] | None = None
        self._reader: HeaderReader | None = None
        if container.format.name.startswith(CONTAINERS):
            self._reader = make_reader(codec.canonical_name, codec.intra_only, context.extradata or b'')
            self._pictures = None if self._reader is None else []

    def add(self, packet: 'VideoPacket') -> None:
        """Add the next packet, which is not empty."""
        self.packets.append(
            Packet(
                pts=packet.pts if self._has_pts else None,
                dts=packet.dts,
                duration=packet.duration or 0,
                mark=mark_of(packet),
                is_key=packet.is_keyframe,
                is_discarded=packet.is_discard,
                is_partial=packet.is_corrupt,
            )
        )
        if self._pictures is None or self._reader is None:
            return

        try:
            picture = self._reader.read(memoryview(packet))
        except (ValueError, IndexError):  # a header that is cut off
            picture = None
        # One packet that only decoding can settle is enough: the whole file is decoded then.
        if picture is None:
            self._pictures = None
        else:
            self._pictures.append(picture)

    def find_frames(self, reorder_depth: int) -> Frames | None:
        """Return the frames, None where headers do not prove which the decoder will output.

        They do where it will output just the pictures shown, in the order of their times.

        reorder_depth: How many frames the decoder holds back to put them in order.
        """
        if self._reader is None or not self._pictures:
            return None
        stamps = [packet.pts for packet in self.packets if packet.pts is not None]
        if len(stamps) < len(self.packets):
            return None
        if not self._is_order_certain(self._reader, self._pictures, stamps, reorder_depth):
            return None

        displayed = []
        for k, (packet, picture) in enumerate(zip(self.packets, self._pictures, strict=True)):
            if picture.shown and not packet.is_discarded:
                displayed.append(k)
        if not displayed:
            return None
        in_order_of_coding = displayed == sorted(displayed, key=stamps.__getitem__)
        displayed.sort(key=stamps.__getitem__)
        return Frames(
            packets=displayed,
            pts=np.array([stamps[k] for k in displayed], np.int64),
            keys=[k for k, picture in enumerate(self._pictures) if picture.key],
            digests=[],
            # Waiting for any order keeps more frames in the decoder, so it is left alone where nothing is reordered.
            any_order=self._reader.reorders and not in_order_of_coding,
            interlaced=self._reader.may_be_interlaced,
        )

    def _is_order_certain(
        self, reader: HeaderReader, pictures: list[CodedPicture], stamps: list[int], reorder_depth: int
    ) -> bool:
        """Return whether order counts, times, keys and edit lists agree with each other and with the decoder."""
        packets = self.packets
        if not pictures[0].key:
            return False
        # Seeking stops at what the container calls a key: one that is none (intra refresh,
        # recovery points) gives broken pictures.
        if any(packet.is_key and not picture.key for packet, picture in zip(packets, pictures, strict=True)):
            return False

        # Codecs without order counts show pictures as they are coded.
        by_order = sorted(range(len(packets)), key=lambda k: pictures[k].order or (0, k))
        # What is shown before the first key may refer to pictures that a cut took away.
        if by_order[0] != 0:
            return False
        steps = np.diff(np.array(stamps)[by_order])
        if (steps <= 0).any() or (steps > self._longest).any():
            return False
        # A decoder that holds back fewer frames than the pictures need (B pyramids
        # that are not announced) leaves some out.
        if reader.reorders and (np.array(by_order) - np.arange(len(by_order))).max() > reorder_depth:
            return False

        # An edit list may cut off both ends, and take nothing out of the middle.
        is_discarded = np.array([packet.is_discarded for packet in packets])[by_order]
        left = np.flatnonzero(~is_discarded)
        return len(left) > 0 and bool(left[-1] - left[0] + 1 == len(left))
