"""Check that a file is all there: as many frames, as much time or as many bytes as its header promises."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.container import open_bytes
from vdm_jax.data.video.packets import Packet

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

UNKNOWN_SIZES = 0, 2**32 - 1  # where the writer could not go back
FLV_TAGS = 8, 9, 18  # sound, video, data
ASF_PROPERTIES = bytes.fromhex('a1dcab8c47a9cf118ee400c00c205365')  # what precedes the size of the file, by 24 bytes
RECORDINGS = 'mpegts', 'mpeg', 'mpegvideo'  # formats of recordings, which may stop anywhere


def count_promised_packets(container: 'InputContainer', stream: 'VideoStream') -> int:
    """Return how many packets the header of an open file announces, before they are read; 0 where it does not."""
    return len(stream.index_entries) if container.format.name.startswith('mov') else 0


def check_complete(
    path: str | bytes,
    container: 'InputContainer',
    stream: 'VideoStream',
    packets: Sequence[Packet],
    end: float,
    promised: int,
) -> None:
    """Check that a file does not end before its header says; those of ts, mpg and gif say nothing.

    Args:
      path: Of the file, or the bytes in it.
      container: The open file.
      stream: Its video stream.
      packets: All of the stream.
      end: Seconds at which the last packet of any stream is over.
      promised: What `count_promised_packets` returned.

    Raises:
      BrokenVideoError: It does.
    """
    format_name = container.format.name
    count = sum(not packet.is_partial for packet in packets)
    if count < promised:
        raise BrokenVideoError(f'cut off: {count} of {promised} frames')
    if count < len(packets) and not format_name.startswith(RECORDINGS):
        raise BrokenVideoError(f'cut off: after {count} frames, in the middle of the next')
    if format_name == 'avi' and not _is_complete_riff(path):
        raise BrokenVideoError(f'cut off: {count} of {stream.frames} frames')
    if format_name == 'flv' and not _ends_with_flv_tag(path):
        raise BrokenVideoError(f'cut off: after {count} frames, in the middle of the next')
    if format_name == 'asf' and not _is_complete_asf(path):
        raise BrokenVideoError(f'cut off: after {count} frames')

    # Of the longest stream, sound included; compared with some slack.
    seconds = (container.duration or 0) / 1e6
    if format_name.startswith('matroska') and end < 0.95 * seconds - 0.5:
        raise BrokenVideoError(f'cut off: {end:.2f} of {seconds:.2f} seconds')


def _is_complete_riff(path: str | bytes) -> bool:
    """Return whether the first chunk of an AVI is as long as it says."""
    with open_bytes(path) as file:
        size = int.from_bytes(file.read(8)[4:], 'little')
        # Longer files have further chunks (OpenDML), so that only fewer bytes than the first one says are a mistake.
        return size in UNKNOWN_SIZES or file.seek(0, os.SEEK_END) >= size + 8


def _ends_with_flv_tag(path: str | bytes) -> bool:
    """Return whether an FLV ends where a tag does: with its size, behind it."""
    with open_bytes(path) as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(length - 4, 0))

        # Behind each tag stand four bytes with its size, so the last tag is found from the end of the file.
        size = int.from_bytes(file.read(4))
        file.seek(max(length - 4 - size, 0))
        head = file.read(4)
        # The head of a tag is 11 bytes; of its first byte the upper three bits are no part of the type.
        return 11 <= size < length and head[0] & 31 in FLV_TAGS and int.from_bytes(head[1:]) + 11 == size


def _is_complete_asf(path: str | bytes) -> bool:
    """Return whether a WMV has as many bytes as its header says (Advanced Systems Format, section 3.2)."""
    with open_bytes(path) as file:
        head = file.read(2**16)
        start = head.find(ASF_PROPERTIES)
        # Behind the GUID come the object's own size (8 bytes) and the file's id (16), then the size of the file.
        size = int.from_bytes(head[start + 40 : start + 48], 'little') if start >= 0 else 0
        return file.seek(0, os.SEEK_END) >= size
