"""What of the coded picture a file says is shown: Matroska's PixelCrop, and the clean aperture of mp4.

PyAV reports neither before version 19, so both are read from the headers here.
"""

import contextlib
import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

from vdm_jax.data.video.container import open_bytes

Margins = tuple[int, int, int, int]  # rows at the top and bottom, columns at the left and right
NOTHING: Margins = (0, 0, 0, 0)
MAX_HEADER = 2**20  # bytes of a box or element that is read at once

# Elements of Matroska, RFC 9559.
SEGMENT = 0x18538067
TRACKS = 0x1654AE6B
TRACK = 0xAE
KIND = 0x83
VIDEO = 0xE0
CROP_TOP = 0x54BB
CROP_BOTTOM = 0x54AA
CROP_LEFT = 0x54CC
CROP_RIGHT = 0x54DD
VIDEO_TRACK = 1


def read_crop(path: str | bytes, container: str, number: int, height: int, width: int) -> Margins:
    """Read the crop of a file's video track, NOTHING where it has none, or one that leaves nothing.

    Args:
      path: Of the file, or the bytes in it.
      container: FFmpeg's name of the format.
      number: Of the track among the videos of the file.
      height: Of the coded picture.
      width: Of the coded picture.
    """
    crops: list[Margins] = []
    # Of a header that is damaged nothing is believed.
    with contextlib.suppress(OSError, ValueError, OverflowError, struct.error):
        if container.startswith('matroska'):
            with open_bytes(path) as file:
                crops = list(_matroska_crops(file))
        elif container.startswith('mov'):
            with open_bytes(path) as file:
                crops = list(_mp4_crops(file, height, width))

    crop = crops[number] if number < len(crops) else NOTHING
    top, bottom, left, right = crop
    fits = min(crop) >= 0 and top + bottom < height and left + right < width
    return crop if fits else NOTHING


def _matroska_crops(file: BinaryIO) -> Iterator[Margins]:
    """Yield the crop of each video track."""
    for tracks in _find_element(file, TRACKS):
        for name, content in _child_elements(tracks):
            if name != TRACK:
                continue
            fields = dict(_child_elements(content))
            if int.from_bytes(fields.get(KIND, b'')) == VIDEO_TRACK:
                video = dict(_child_elements(fields.get(VIDEO, b'')))
                yield (
                    int.from_bytes(video.get(CROP_TOP, b'')),
                    int.from_bytes(video.get(CROP_BOTTOM, b'')),
                    int.from_bytes(video.get(CROP_LEFT, b'')),
                    int.from_bytes(video.get(CROP_RIGHT, b'')),
                )


def _find_element(file: BinaryIO, wanted: int) -> Iterator[bytes]:
    """Yield the content of the first element `wanted` of a Matroska file, which editors move to its end."""
    while head := _read_element_head(file):
        name, size = head
        # Not passed over: what is in it follows.
        if name == SEGMENT:
            continue
        if size is None:
            return
        if name == wanted and size <= MAX_HEADER:
            yield file.read(size)
            return
        file.seek(size, io.SEEK_CUR)


def _child_elements(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (id, content) of the elements in an element."""
    file = io.BytesIO(content)
    while head := _read_element_head(file):
        name, size = head
        if size is None:
            return
        yield name, file.read(size)


def _read_element_head(file: BinaryIO) -> tuple[int, int | None] | None:
    """Return the id of the next element, and its size or None where it is open; None at the end."""
    first = file.read(1)
    # A first byte of 0 begins a number of more than 8 bytes, which Matroska does not allow: what follows is no element.
    if not first or not first[0]:
        return None
    # The leading zeros of the first byte are the number of bytes after it.
    name = int.from_bytes(first + file.read(8 - first[0].bit_length()))

    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    # A size of ones alone is unknown (RFC 8794, section 6.2): whoever writes to a pipe cannot go back to fill it in.
    all_ones = (1 << 7 * (more + 1)) - 1
    size = int.from_bytes(first + file.read(more)) & all_ones
    return name, None if size == all_ones else size


def _mp4_crops(file: BinaryIO, height: int, width: int) -> Iterator[Margins]:
    """Yield the crop of each video track (ISO/IEC 14496-12, sections 8.4.3 and 12.1.4)."""
    for moov in _find_top_boxes(file, b'moov'):
        for track in _find_boxes(moov, b'trak'):
            media = next(_find_boxes(track, b'mdia'), b'')
            handler = next(_find_boxes(media, b'hdlr'), b'')
            if handler[8:12] == b'vide':
                yield _crop_of_track(media, height, width)


def _crop_of_track(media: bytes, height: int, width: int) -> Margins:
    """Return the crop of the first sample entry of a track, NOTHING where it has none."""
    with contextlib.suppress(StopIteration, struct.error, ZeroDivisionError):
        information = next(_find_boxes(media, b'minf'))
        sample_table = next(_find_boxes(information, b'stbl'))
        descriptions = next(_find_boxes(sample_table, b'stsd'))
        # The table's own head and the entry's are 16 bytes, the fields of a video entry 78.
        entry = descriptions[16:]
        aperture = next(_find_boxes(entry[78:], b'clap'))
        return _crop_of_aperture(struct.unpack('>IIIIiIiI', aperture[:32]), height, width)
    return NOTHING


def _crop_of_aperture(fields: tuple[int, ...], height: int, width: int) -> Margins:
    """Return the crop of a clean aperture: four fractions, whose offset is that of its centre from the picture's."""
    wide, high, right, down = (fields[i] / fields[i + 1] for i in range(0, 8, 2))
    top = round((height - high) / 2 + down)
    left = round((width - wide) / 2 + right)
    return top, height - round(high) - top, left, width - round(wide) - left


def _find_top_boxes(file: BinaryIO, wanted: bytes) -> Iterator[bytes]:
    """Yield the content of the boxes `wanted` at the top of an mp4 file."""
    while len(head := file.read(8)) == 8:
        size, name = struct.unpack('>I4s', head)
        left = size - 8
        # In a box of more than 4 GiB the size follows the name, in 64 bits.
        if size == 1:
            left = int.from_bytes(file.read(8)) - 16
        if size == 0 or left < 0:
            return
        # moov holds a table of all packets, which takes tens of megabytes in a long film.
        if name == wanted and left <= 64 * MAX_HEADER:
            yield file.read(left)
        else:
            file.seek(left, io.SEEK_CUR)


def _find_boxes(content: bytes, wanted: bytes) -> Iterator[bytes]:
    """Yield the content of the boxes `wanted` that lie in a box."""
    position = 0
    while position + 8 <= len(content):
        size, name = struct.unpack('>I4s', content[position : position + 8])
        if size < 8:
            return
        if name == wanted:
            yield content[position + 8 : position + size]
        position += size
