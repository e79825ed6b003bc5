"""Small files of every kind that real folders hold and that somebody might plant there, made on the spot."""

import io
import os
import struct
import zlib
from fractions import Fraction

import av
import numpy as np

from tests.data.videos import encode, encode_numbers

PLAYLISTS = {
    'm3u8': '#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n',
    'concat': 'ffconcat version 1.0\nfile {}\n',
    'sdp': 'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n'
    'm=video 49170 RTP/AVP 96\na=rtpmap:96 H264/90000\n',
    'mpd': '<?xml version="1.0"?><MPD><Period><AdaptationSet mimeType="video/mp4"><Representation id="1">'
    '<BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>',
}
NAMES = (
    'with space.mp4', '-i.mp4', '-.mp4', 'видео ☃ 動画.mp4', 'http:x.mp4', 'concat:a|b.mp4', 'pipe:0.mp4', 'file:x.mp4',
    'data:video,x.mp4', '%03d.mp4', 'line\nbreak.mp4', os.fsdecode(b'caf\xe9.mp4'),
)  # fmt: skip
NOT_FILES = 'folder.mp4', 'pipe.mp4', 'loop.mp4', 'gone.mp4'


def broken(folder):
    """Writes files that do not decode; returns {name: a pattern of the reason}."""
    good = encode(folder / '.good.mp4', encode_numbers(12)).read_bytes()
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8)
    noise_files = {name: encode(folder / f'.noise.{name}', noise).read_bytes() for name in ('mp4', 'mkv')}
    raw = b''.join(_packets(encode_numbers(12)))
    files = {
        'empty.mp4': (b'', 'an empty file'),
        'text.mp4': (b'not a video at all' * 100, 'Invalid data'),
        'cut.mp4': (noise_files['mp4'][: len(noise_files['mp4']) // 2], 'Invalid data'),
        'cut.mkv': (noise_files['mkv'][: len(noise_files['mkv']) // 2], 'cut off: .* of 1.20 seconds'),
        'middle.mp4': (_zero_middle(noise_files['mp4']), 'damaged|does not decode|Invalid data'),
        'raw.mp4': (raw, 'a kind of file that is not read'),
        'claims.gif': (_gif(65535, 65535), '65535x65535 frames are larger than'),
        'large.gif': (_gif(6000, 6000), '6000x6000 frames are larger than'),
        'reference.mov': (_pointing(good, folder / '.good.mp4'), 'no frame decodes'),
    }
    for kind, text in PLAYLISTS.items():
        files[f'{kind}.mp4'] = (
            text.format(folder / '.good.mp4').encode(),
            'Invalid data|a kind of file that is not read',
        )
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    reasons = {name: reason for name, (_, reason) in files.items()}
    _sound(folder / 'sound.mp4', cover=False)
    _sound(folder / 'cover.mp4', cover=True)
    _write_packets(folder / 'grows.mov', 'png', [_png(32, 64)] * 3 + [_png(6000, 6000)] * 2)
    encode(folder / 'long.mkv', encode_numbers(2), times=[0, 10**9])
    return reasons | {
        'sound.mp4': 'no video in it',
        'cover.mp4': 'no video in it',
        'grows.mov': 'frames beyond the limit|does not decode',
        'long.mkv': '1000000.0 seconds are more than 86400.0',
    }


def claiming(path, samples):
    """Write 2 kB of an mp4 whose header claims so many frames, of a byte each."""
    content = bytearray(encode(path, encode_numbers(12)).read_bytes())
    struct.pack_into('>II', content, content.index(b'stsz') + 8, 1, samples)
    struct.pack_into('>I', content, content.index(b'stts') + 12, samples)
    struct.pack_into('>III', content, content.index(b'stsc') + 12, 1, samples, 1)
    path.write_bytes(content)


def not_files(folder):
    """Makes what has a video's name and is no file; returns {name: a pattern of the reason}."""
    (folder / 'folder.mp4').mkdir()
    os.mkfifo(folder / 'pipe.mp4')
    (folder / 'loop.mp4').symlink_to('loop.mp4')
    (folder / 'gone.mp4').symlink_to('nowhere.mp4')
    reasons = 'a folder', 'no ordinary file', 'symbolic links', 'No such file'
    return dict(zip(NOT_FILES, reasons, strict=True))


def sound(folder):
    """Writes files that are unusual, and decode to the frames 0 to 11 of `coded`; returns their names."""
    video = encode_numbers(12)
    for name in NAMES:
        (folder / name).write_bytes(encode(folder / '.any.mp4', video).read_bytes())
    encode(folder / 'ten_bit.mp4', video, 'libx265', pix_fmt='yuv420p10le', **{'x265-params': 'log-level=none'})
    encode(folder / 'transparent.mov', video, 'qtrle', pix_fmt='argb')
    encode(folder / 'odd.mkv', video[:, :31], pix_fmt='yuv444p')
    encode(folder / 'uneven.mkv', video, times=np.cumsum([0, *[40, 100, 33] * 4][:12]))
    encode(folder / 'interlaced.mp4', video, **{'x264-params': 'tff=1'})
    packets = _packets(video[:6]) + _packets(np.repeat(np.repeat(video[6:], 2, 1), 2, 2))
    _write_packets(folder / 'other_size.mkv', 'libx264', packets, keys=(0, 6))
    for name, kind, options in (
        ('live.mkv', 'matroska', {}),
        ('live.avi', 'avi', {}),
        ('fragments.mp4', 'mp4', {'movflags': 'frag_keyframe+empty_moov'}),
    ):
        (folder / name).write_bytes(_live(video, kind, options))
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith('.'))


def _packets(video):
    """H.264 with its headers in band, a packet a frame."""
    context = av.CodecContext.create('libx264', 'w')
    context.height, context.width = video.shape[1:3]
    context.pix_fmt = 'yuv420p'
    context.time_base = Fraction(1, 25)
    context.options = {'bf': '0'}
    frames = [av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format='rgb24') for pixels in video]
    return [bytes(packet) for frame in [*frames, None] for packet in context.encode(frame)]


def _write_packets(path, codec, packets, keys=range(1000)):
    """Write packets unchanged behind a header of 64x32."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25)
        stream.height = 32
        stream.width = 64
        stream.pix_fmt = 'rgb24' if codec == 'png' else 'yuv420p'

        for i, content in enumerate(packets):
            packet = av.Packet(content)
            packet.pts = packet.dts = i
            packet.time_base = Fraction(1, 25)
            packet.stream = stream
            packet.is_keyframe = i in keys

            container.mux(packet)


def _live(video, kind, options):
    """A file written to where nothing can be gone back to: no duration, no counts in its header."""

    class Pipe(io.RawIOBase):
        content = b''

        def writable(self):
            return True

        def write(self, more):
            self.content += bytes(more)
            return len(more)

    pipe = Pipe()
    with av.open(pipe, 'w', format=kind, options=options) as container:
        stream = container.add_stream('libx264', rate=25)
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = 'yuv420p'
        stream.codec_context.gop_size = 5
        for i, pixels in enumerate(video):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format='rgb24')
            frame.pts = i
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return pipe.content


def _sound(path, cover):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('aac', rate=44100)
        if cover:
            picture = container.add_stream('png', rate=1)
            picture.width = 64
            picture.height = 32
            picture.pix_fmt = 'rgb24'
            picture.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((2, 44100), np.float32), format='fltp', layout='stereo')
        frame.rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if cover:
            pixels = av.VideoFrame.from_ndarray(np.zeros((32, 64, 3), np.uint8), format='rgb24')
            container.mux(picture.encode(pixels))
            container.mux(picture.encode())


def _zero_middle(content):
    """An mp4 whose pictures are zeros from a third of the file to two thirds."""
    third = len(content) // 3
    return content[:third] + bytes(third) + content[2 * third :]


def _gif(width, height):
    """33 bytes: one picture of 4x4 on a screen of any size."""
    head = b'GIF89a' + struct.pack('<HHBBB', width, height, 0x80, 0, 0) + bytes(6)
    return head + b',' + struct.pack('<HHHHB', 0, 0, 4, 4, 0) + b'\2\2\x84\x51\0;'


def _png(height, width):
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    rows = zlib.compress(bytes(height * (1 + 3 * width)))
    head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', rows) + chunk(b'IEND', b'')


def _pointing(content, target):
    """Return an mp4 whose header places its pictures in another file: an absolute path in an alias record."""
    path = str(target).encode()
    path += bytes(len(path) % 2)
    record = bytes(10) + bytes(28) + bytes(12) + bytes(64) + bytes(16) + struct.pack('>HH', 1, 1) + bytes(16)
    record += struct.pack('>HH', 2, len(path)) + path + struct.pack('>HH', 0xFFFF, 0)
    entry = struct.pack('>I4sI', 12 + len(record), b'alis', 0) + record
    table = struct.pack('>I4sII', 16 + len(entry), b'dref', 0, 1) + entry
    at = content.index(b'dref') - 4
    size = struct.unpack_from('>I', content, at)[0]
    changed = bytearray(content[:at] + table + content[at + size :])
    for name in (b'moov', b'trak', b'mdia', b'minf', b'dinf'):  # the boxes around it, which are behind the pictures
        place = changed.index(name, content.index(b'mdat') + 4 if name == b'moov' else 0) - 4
        struct.pack_into('>I', changed, place, struct.unpack_from('>I', changed, place)[0] + len(table) - size)
    return bytes(changed)
