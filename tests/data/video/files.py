"""Video files made for tests: remuxed, patched, and coded by hand where no encoder makes them."""

import pathlib
import struct
from fractions import Fraction

import av
import numpy as np

from tests.data.videos import encode


def remux(source, target, change=None, options=None, keep=None):
    """Copies the packets of the first video. change: called with (number, packet) before it is written; False leaves it
    out. options: of the container. keep: what is put into the new stream's extradata."""
    with av.open(str(source)) as old, av.open(str(target), 'w', options=options or {}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        if keep is not None:
            stream.codec_context.extradata = keep
        packets = (packet for packet in old.demux(video=0) if packet.size)
        for number, packet in enumerate(packets):
            if change is not None and change(number, packet) is False:
                continue
            packet.stream = stream
            new.mux(packet)
    return target


def as_decode_times(source, target):
    """Copies what AVI keeps of a video: each packet's place in the order of coding, and nothing else."""

    def renumber(number, packet):
        packet.pts = packet.dts = round(number * packet.duration)

    return remux(source, target, renumber, {'avoid_negative_ts': 'disabled'})


def patch(path, old: bytes, new: bytes, count=1):
    """Replaces bytes in a file, as often as they are there, `count` times at least."""
    content = pathlib.Path(path).read_bytes()
    assert content.count(old) >= count
    pathlib.Path(path).write_bytes(content.replace(old, new))
    return path


def with_box(path, inside, box: bytes):
    """Puts a box at the end of the first box on the way `inside` (names of boxes) of an mp4 whose moov comes last."""
    content = pathlib.Path(path).read_bytes()
    at = 0
    ends = []
    for name in inside:
        at = content.index(name, at) - 4
        (size,) = struct.unpack('>I', content[at : at + 4])
        ends.append((at, size))
        at += 8
    last, size = ends[-1]
    grown = bytearray(content[: last + size] + box + content[last + size :])
    for start, size in ends:
        grown[start : start + 4] = struct.pack('>I', size + len(box))
    pathlib.Path(path).write_bytes(grown)
    return path


def with_pixel_crop(path, top, bottom, left, right):
    """Puts PixelCrop elements into the video track of a Matroska file; what points at places in it is left out."""
    content = pathlib.Path(path).read_bytes()
    crop = b''.join(
        _element(name.to_bytes(2), value.to_bytes(2))
        for name, value in ((0x54BB, top), (0x54AA, bottom), (0x54CC, left), (0x54DD, right))
    )
    (head, about), (segment, body) = list(_elements(content))[:2]
    written = b''
    for name, inside in _elements(body):
        if name == b'\x16\x54\xae\x6b':
            inside = _append(inside, [b'\xae', b'\xe0'], crop)
        if name not in (b'\x11\x4d\x9b\x74', b'\x1c\x53\xbb\x6b'):  # tables of places
            written += _element(name, inside)
    pathlib.Path(path).write_bytes(_element(head, about) + _element(segment, written))
    return path


def _append(body, way, more):
    """The body of an element with `more` at the end of the element that lies on the way of names."""
    if not way:
        return body + more
    return b''.join(
        _element(name, _append(inside, way[1:], more) if name == way[0] else inside) for name, inside in _elements(body)
    )


def _elements(content):
    at = 0
    while at < len(content):
        name = content[at : at + 9 - content[at].bit_length()]
        at += len(name)
        length = 9 - content[at].bit_length()
        size = int.from_bytes(content[at : at + length]) & ((1 << 7 * length) - 1)
        at += length
        yield name, content[at : at + size]
        at += size


def _element(name, body):
    return name + (1 << 56 | len(body)).to_bytes(8) + body


class BitWriter:
    """Bits, one after the other, most significant first."""

    def __init__(self):
        self.bits = []

    def put(self, value, count):
        self.bits += [value >> place & 1 for place in reversed(range(count))]

    def golomb(self, value):
        self.put(value + 1, 2 * (value + 1).bit_length() - 1)

    def align(self, bit=0):
        while len(self.bits) % 8:
            self.bits.append(bit)

    def unit(self, head):
        """The NAL unit that begins with `head`, closed and escaped."""
        self.bits.append(1)
        self.align()
        body = bytes(np.packbits(self.bits))
        escaped = bytearray()
        zeros = 0
        for byte in body:
            if zeros == 2 and byte <= 3:
                escaped.append(3)
                zeros = 0
            escaped.append(byte)
            zeros = 0 if byte else zeros + 1
        return bytes([head]) + bytes(escaped)


def field_pictures(path, frames):
    """An H.264 mp4 with a field in each packet, as camcorders write 1080i: raw macroblocks, each frame 16x32.

    frames: uint8 (T,), the luma of each frame's upper field; the lower one's is 5 more.
    """
    sets = BitWriter()
    for value, count in ((77, 8), (0, 8), (30, 8)):  # main profile
        sets.put(value, count)
    for value in (0, 0, 0, 4, 1):  # id; 4 bits of frame numbers; order by 8 bits; one reference
        sets.golomb(value)
    sets.put(0, 1)
    sets.golomb(0)  # 16 wide
    sets.golomb(0)  # 32 high, in pairs of macroblocks
    sets.put(0, 1)  # fields are allowed
    sets.put(0, 1)
    sets.put(1, 1)
    sets.put(0, 2)  # no cropping, no VUI
    pictures = BitWriter()
    for value in (0, 0):
        pictures.golomb(value)
    pictures.put(0, 2)
    for value in (0, 0, 0):
        pictures.golomb(value)
    pictures.put(0, 3)
    for value in (0, 0, 0):
        pictures.golomb(value)
    pictures.put(0, 3)
    sps = sets.unit(0x67)
    pps = pictures.unit(0x68)
    extradata = bytes([1, 77, 0, 30, 0xFF, 0xE1]) + struct.pack('>H', len(sps)) + sps
    extradata += b'\1' + struct.pack('>H', len(pps)) + pps
    template = encode(pathlib.Path(path).with_suffix('.template.mp4'), np.zeros((2, 32, 16, 3), np.uint8))
    with av.open(str(template)) as old, av.open(str(path), 'w') as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        stream.codec_context.extradata = extradata
        for number in range(2 * len(frames)):
            frame, bottom = divmod(number, 2)
            packet = av.Packet(_field(frame, bottom, int(frames[frame]) + 5 * bottom))
            packet.pts = packet.dts = number
            packet.duration = 1
            packet.time_base = Fraction(1, 50)
            packet.is_keyframe = not bottom
            packet.stream = stream
            new.mux(packet)
    template.unlink()
    return path


def _field(number, bottom, luma):
    """One field of I_PCM macroblocks behind its length; all are IDR but the second of each pair."""
    bits = BitWriter()
    bits.golomb(0)
    bits.golomb(7)  # I
    bits.golomb(0)
    bits.put(0, 4)  # frame number
    bits.put(1, 1)  # a field
    bits.put(bottom, 1)
    if not bottom:
        bits.golomb(number % 2)  # of the IDR picture
    bits.put(bottom, 8)  # order
    bits.put(0, 2 if not bottom else 1)  # how references are marked
    bits.golomb(0)  # quantiser
    bits.golomb(25)  # I_PCM
    bits.align()
    for value in [luma] * 256 + [128] * 128:
        bits.put(value, 8)
    unit = bits.unit(0x65 if not bottom else 0x61)
    return struct.pack('>I', len(unit)) + unit
