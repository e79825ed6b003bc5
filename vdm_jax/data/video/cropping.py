"""What of the coded picture a file says is shown: Matroska's PixelCrop, and the clean aperture of mp4.

PyAV tells of neither before version 19, so the two places in the headers are looked up here.
"""

import contextlib
import io
import struct
from collections.abc import Iterator
from typing import BinaryIO

Crop = tuple[int, int, int, int]  # rows at the top and bottom, columns at the left and right
NOTHING: Crop = (0, 0, 0, 0)
HEADER = 2**20  # bytes of a box or element that is read whole

# Elements of Matroska, RFC 9559
SEGMENT, TRACKS, TRACK, KIND, VIDEO = 0x18538067, 0x1654AE6B, 0xAE, 0x83, 0xE0
CROPS = 0x54BB, 0x54AA, 0x54CC, 0x54DD  # at the top, bottom, left, right
VIDEO_TRACK = 1


def crop_of(path: str | bytes, container: str, number: int, height: int, width: int) -> Crop:
    """The crop of a file's video track, NOTHING where it has none, or one that leaves nothing.

    container: FFmpeg's name of the format. number: of the track among the videos of the file. height, width: of the
    coded picture.
    """
    look = _matroska if container.startswith('matroska') else _mp4 if container.startswith('mov') else None
    if look is None:
        return NOTHING
    crops = []
    with contextlib.suppress(OSError, ValueError, OverflowError, struct.error):  # of a header that is damaged
        with io.BytesIO(path) if isinstance(path, bytes) else open(path, 'rb') as file:
            crops = list(look(file, height, width))
    crop = crops[number] if number < len(crops) else NOTHING
    top, bottom, left, right = crop
    fits = min(crop) >= 0 and top + bottom < height and left + right < width
    return crop if fits else NOTHING


def _matroska(file, height, width) -> Iterator[Crop]:
    """The crop of each video track."""
    for tracks in _elements(file, TRACKS):
        for name, content in _children(tracks):
            if name != TRACK:
                continue
            fields = dict(_children(content))
            if int.from_bytes(fields.get(KIND, b'')) == VIDEO_TRACK:
                video = dict(_children(fields.get(VIDEO, b'')))
                yield tuple(int.from_bytes(video.get(crop, b'')) for crop in CROPS)


def _elements(file: BinaryIO, wanted: int) -> Iterator[bytes]:
    """The content of the first element `wanted` of a Matroska file, which editors move to its end."""
    while head := _element_head(file):
        name, size = head
        if name == SEGMENT:
            continue
        if size is None:
            return
        if name == wanted and size <= HEADER:
            yield file.read(size)
            return
        file.seek(size, io.SEEK_CUR)


def _children(content: bytes) -> Iterator[tuple[int, bytes]]:
    file = io.BytesIO(content)
    while head := _element_head(file):
        name, size = head
        if size is None:
            return
        yield name, file.read(size)


def _element_head(file):
    """(id, size or None where it is open) of the next element; None at the end."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    name = int.from_bytes(first + file.read(8 - first[0].bit_length()))
    first = file.read(1)
    if not first or not first[0]:
        return None
    more = 8 - first[0].bit_length()
    size = int.from_bytes(first + file.read(more)) & ((1 << 7 * (more + 1)) - 1)
    return name, None if size == (1 << 7 * (more + 1)) - 1 else size


def _mp4(file, height, width) -> Iterator[Crop]:
    """The crop of each video track (ISO/IEC 14496-12, sections 8.4.3 and 12.1.4)."""
    for moov in _boxes(file, b'moov'):
        for track in _inside(moov, b'trak'):
            media = next(_inside(track, b'mdia'), b'')
            handler = next(_inside(media, b'hdlr'), b'')
            if handler[8:12] != b'vide':
                continue
            crop = NOTHING
            with contextlib.suppress(StopIteration, struct.error, ZeroDivisionError):
                table = next(_inside(next(_inside(next(_inside(media, b'minf')), b'stbl')), b'stsd'))
                entry = table[16:]  # of the first sample entry, after the table's own head and the entry's
                aperture = next(_inside(entry[78:], b'clap'))
                crop = _of_aperture(struct.unpack('>IIIIiIiI', aperture[:32]), height, width)
            yield crop


def _of_aperture(fields, height, width) -> Crop:
    """The crop of a clean aperture, whose offset is that of its centre from the picture's."""
    wide, high, right, down = (fields[at] / fields[at + 1] for at in range(0, 8, 2))
    top = round((height - high) / 2 + down)
    left = round((width - wide) / 2 + right)
    return top, height - round(high) - top, left, width - round(wide) - left


def _boxes(file: BinaryIO, wanted: bytes) -> Iterator[bytes]:
    """The content of the top boxes `wanted` of an mp4 file."""
    while len(head := file.read(8)) == 8:
        size, name = struct.unpack('>I4s', head)
        left = size - 8
        if size == 1:
            left = int.from_bytes(file.read(8)) - 16
        if size == 0 or left < 0:
            return
        if name == wanted and left <= 64 * HEADER:
            yield file.read(left)
        else:
            file.seek(left, io.SEEK_CUR)


def _inside(content: bytes, wanted: bytes) -> Iterator[bytes]:
    """The content of the boxes `wanted` that lie in a box."""
    at = 0
    while at + 8 <= len(content):
        size, name = struct.unpack('>I4s', content[at : at + 8])
        if size < 8:
            return
        if name == wanted:
            yield content[at + 8 : at + size]
        at += size
