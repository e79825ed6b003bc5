"""Whether a file is all there: as many frames, as much time or as many bytes as its header promises."""

import io
import os
from collections.abc import Sequence

from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.packets import Packet

UNKNOWN = 0, 2**32 - 1  # sizes, where the writer could not go back
FLV_TAGS = 8, 9, 18  # sound, video, data
ASF_PROPERTIES = bytes.fromhex('a1dcab8c47a9cf118ee400c00c205365')  # what precedes the size of the file, by 24 bytes
RECORDINGS = 'mpegts', 'mpeg', 'mpegvideo'  # formats of recordings, which stop wherever they do


def promised_packets(container, stream) -> int:
    """How many packets the header of an open file announces, before they are read; 0 where it does not."""
    return len(stream.index_entries) if container.format.name.startswith('mov') else 0


def check_complete(path: str | bytes, container, stream, packets: Sequence[Packet], end: float, promised: int) -> None:
    """Raises BrokenVideoError for a file that ends before its header says; ts, mpg and gif say nothing.

    packets: all of the stream. end: seconds at which the last packet of any stream is over. promised: as
    `promised_packets` has it.
    """
    name, count = container.format.name, sum(not packet.is_partial for packet in packets)
    if count < promised:
        raise BrokenVideoError(f'cut off: {count} of {promised} frames')
    if count < len(packets) and not name.startswith(RECORDINGS):
        raise BrokenVideoError(f'cut off: after {count} frames, in the middle of the next')
    if name == 'avi' and not _is_whole_riff(path):
        raise BrokenVideoError(f'cut off: {count} of {stream.frames} frames')
    if name == 'flv' and not _ends_with_flv_tag(path):
        raise BrokenVideoError(f'cut off: after {count} frames, in the middle of the next')
    if name == 'asf' and not _is_whole_asf(path):
        raise BrokenVideoError(f'cut off: after {count} frames')
    seconds = (container.duration or 0) / 1e6  # of the longest stream, sound included
    if name.startswith('matroska') and end < 0.95 * seconds - 0.5:
        raise BrokenVideoError(f'cut off: {end:.2f} of {seconds:.2f} seconds')


def _is_whole_riff(path):
    """Whether the first chunk of an AVI is as long as it says."""
    with _opened(path) as file:
        size = int.from_bytes(file.read(8)[4:], 'little')
        return size in UNKNOWN or file.seek(0, os.SEEK_END) >= size + 8


def _ends_with_flv_tag(path):
    """Whether an FLV ends where a tag does: with its size, behind it."""
    with _opened(path) as file:
        length = file.seek(0, os.SEEK_END)
        file.seek(max(length - 4, 0))
        size = int.from_bytes(file.read(4))
        file.seek(max(length - 4 - size, 0))
        head = file.read(4)
        return 11 <= size < length and head[0] & 31 in FLV_TAGS and int.from_bytes(head[1:]) + 11 == size


def _is_whole_asf(path):
    """Whether a WMV has as many bytes as its header says (Advanced Systems Format, section 3.2)."""
    with _opened(path) as file:
        head = file.read(2**16)
        at = head.find(ASF_PROPERTIES)
        size = int.from_bytes(head[at + 40 : at + 48], 'little') if at >= 0 else 0
        return file.seek(0, os.SEEK_END) >= size


def _opened(path):
    return io.BytesIO(path) if isinstance(path, bytes) else open(path, 'rb')
