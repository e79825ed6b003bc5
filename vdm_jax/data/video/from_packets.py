"""An index made of a file's packets, where their headers prove what a decoder will give; nothing is decoded."""

import numpy as np

from vdm_jax.data.video.headers import Picture, reader_of
from vdm_jax.data.video.index import Frames
from vdm_jax.data.video.packets import Packet, mark_of
from vdm_jax.data.video.times import ANY_JUMP

CONTAINERS = 'mov', 'matroska'  # whose times are those at which frames are shown


class Walk:
    """The packets of a stream, one after the other, and what their headers say, for as long as that suffices."""

    def __init__(self, container, stream):
        context = stream.codec_context
        codec = context.codec
        self.packets: list[Packet] = []
        self._longest = ANY_JUMP / float(stream.time_base)  # ticks that a frame may be shown
        self._pictures: list[Picture] | None = None
        self._has_pts = container.format.name != 'avi'  # which stores none; FFmpeg guesses
        if container.format.name.startswith(CONTAINERS):
            self._reader = reader_of(codec.canonical_name, codec.intra_only, context.extradata or b'')
            self._pictures = None if self._reader is None else []

    def add(self, packet) -> None:
        """The next packet, not empty."""
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
        if self._pictures is None:
            return
        try:
            picture = self._reader.read(memoryview(packet))
        except (ValueError, IndexError):  # a header that is cut off
            picture = None
        if picture is None:
            self._pictures = None
        else:
            self._pictures.append(picture)

    def suffices(self, reorder_depth: int) -> bool:
        """Whether the decoder will give just the pictures shown, in the order of their times.

        reorder_depth: how many frames it holds back to put them in order.
        """
        packets, pictures = self.packets, self._pictures
        if not pictures or not pictures[0].key or any(packet.pts is None for packet in packets):
            return False
        if any(packet.is_key and not picture.key for packet, picture in zip(packets, pictures, strict=True)):
            return False
        stamps = np.array([packet.pts for packet in packets])
        coded = sorted(range(len(packets)), key=lambda k: pictures[k].order or (0, k))
        if coded[0] != 0:  # what is shown before the first key may lean on more
            return False
        steps = np.diff(stamps[coded])
        if (steps <= 0).any() or (steps > self._longest).any():
            return False
        if self._reader.reorders and (np.array(coded) - np.arange(len(coded))).max() > reorder_depth:
            return False
        discarded = np.array([packet.is_discarded for packet in packets])[coded]
        left = np.flatnonzero(~discarded)  # an edit list may cut off both ends, and take nothing out of the middle
        return len(left) > 0 and left[-1] - left[0] + 1 == len(left) and bool(self._shown_packets())

    def frames(self) -> Frames:
        """What the packets say, where that `suffices`."""
        shown = self._shown_packets()
        return Frames(
            packets=shown,
            pts=np.array([self.packets[k].pts for k in shown], np.int64),
            keys=[k for k, picture in enumerate(self._pictures) if picture.key],
            digests=[],
            any_order=self._reader.reorders and shown != sorted(shown),
            interlaced=self._reader.may_be_interlaced,
        )

    def _shown_packets(self):
        """The packets of the frames, in the order in which they are shown."""
        pairs = enumerate(zip(self.packets, self._pictures, strict=True))
        shown = [k for k, (packet, picture) in pairs if picture.shown and not packet.is_discarded]
        return sorted(shown, key=lambda k: self.packets[k].pts)
