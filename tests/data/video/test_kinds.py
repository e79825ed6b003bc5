"""Kinds of real users' videos that are easily misread, each made here as its users make it."""

import itertools
import json
import os
import pathlib
import re
from fractions import Fraction

import numpy as np
import pytest

from vdm_jax.data.video import animation, decode, probe, store
from vdm_jax.data.video.picture import Orientation
from vdm_jax.data.video.timestamps import mend_timestamps

av = pytest.importorskip('av')

from tests.data.video import files  # noqa: E402
from tests.data.videos import encode, encode_numbers, numbers  # noqa: E402, they want PyAV

PYRAMID = {'x264-params': 'bframes=3:b-pyramid=normal:ref=4:scenecut=0', 'gop': 20}
OPEN = {'codec': 'libx265', 'x265-params': 'log-level=none:keyint=12:min-keyint=12:bframes=4:open-gop=1:scenecut=0'}


OPEN_264 = {'x264-params': 'open-gop=1:keyint=12:min-keyint=12:bframes=3:scenecut=0'}


def moving(count, height=48, width=64):
    """Bars that encode a frame's number, over noise that moves, so that all kinds of prediction are used."""
    rng = np.random.default_rng(0)
    still = rng.integers(0, 90, (height // 2, width, 3), np.uint8)
    noise = np.stack([np.roll(still, 2 * i, 1) for i in range(count)])
    return np.concatenate([encode_numbers(count, height - height // 2, width), noise], 1)


def frame_numbers(video):
    """The numbers that frames of `moving` carry."""
    return numbers(video[:, : video.shape[1] // 2]).tolist()


def check_reads(video, windows=12):
    """Check that every window, read or streamed, equals those frames of a complete read; return all frames."""
    all_frames = decode.read(video, range(video.frames))
    rng = np.random.default_rng(1)
    firsts = {0, video.frames - 1, *rng.integers(0, video.frames, windows).tolist()}
    for first in sorted(firsts | {int(key) for key in video.index.key_frames if key < video.frames}):
        wanted = np.arange(first, min(first + 3, video.frames))
        np.testing.assert_array_equal(decode.read(video, wanted), all_frames[wanted], err_msg=f'from {first}')
        (_, frame), *_ = decode.stream(video, first, first + 1)
        np.testing.assert_array_equal(frame, all_frames[first])
    return all_frames


def decoded_for(monkeypatch, video, wanted):
    """How many frames are decoded to read some."""
    count = []
    with monkeypatch.context() as patched:
        patched.setattr(decode.Limits, 'check_size', lambda *_: count.append(1))
        decode.read(video, wanted)
    return len(count)


@pytest.mark.parametrize('suffix', ['mp4', 'mkv'])
def test_av1_is_read_from_the_middle(tmp_path, monkeypatch, suffix):
    path = encode(
        tmp_path / f'a.{suffix}', moving(60, 64, 64), 'libsvtav1', gop=10, preset='12', **{'svtav1-params': 'lp=1'}
    )
    video = decode.probe(path)
    assert video.codec == 'av1' and len(video.index.keys) > 3 and not len(video.index.digests)
    assert frame_numbers(check_reads(video)) == list(range(60))
    assert decoded_for(monkeypatch, video, [55]) < 20


@pytest.mark.parametrize('suffix', ['mp4', 'mkv', 'mov'])
@pytest.mark.parametrize('codec', ['libx264', 'libx265', 'mpeg4'])
def test_times_that_are_decode_times_shuffle_no_frames(tmp_path, codec, suffix):
    options = {
        'libx264': PYRAMID,
        'libx265': {'x265-params': 'log-level=none:bframes=3:b-pyramid=1'},
        'mpeg4': {'bf': '2'},
    }
    path = encode(tmp_path / 'a.mp4', moving(40), codec, **options[codec])
    video = decode.probe(files.as_decode_times(path, tmp_path / f'b.{suffix}'))
    assert len(video.index.digests) and frame_numbers(check_reads(video)) == list(range(40))
    np.testing.assert_allclose(np.diff(video.times), 0.04, atol=2e-3)


def test_an_mp4_without_composition_times_is_read_in_the_order_of_the_decoder(tmp_path):
    path = files.patch(encode(tmp_path / 'a.mp4', moving(40), **PYRAMID), b'ctts', b'free')
    shown_numbers = frame_numbers(check_reads(decode.probe(path)))
    assert shown_numbers == sorted(shown_numbers) and len(shown_numbers) >= 38  # its edit list cuts the first two away


@pytest.mark.parametrize(('options', 'suffix'), [(OPEN, 'mkv'), (OPEN, 'ts'), (OPEN_264, 'mkv')])
def test_leading_frames_of_an_open_gop_that_was_cut_are_not_missed(tmp_path, options, suffix):
    """As ffmpeg -ss TIME -c copy writes it: from a key on, what is shown before it with times below 0."""
    path = encode(tmp_path / 'a.mkv', moving(60), **options)
    began = []

    def cut(number, packet):
        began.extend([packet.pts] if packet.is_keyframe and number and not began else [])
        if not began:
            return False
        packet.pts -= began[0]
        packet.dts = packet.dts - began[0] if packet.dts is not None else None

    video = decode.probe(files.remux(path, tmp_path / f'b.{suffix}', cut, {'avoid_negative_ts': 'disabled'}))
    shown_numbers = frame_numbers(check_reads(video))
    assert shown_numbers == list(range(shown_numbers[0], 60)) and 12 <= shown_numbers[0] <= 24


def test_fields_in_packets_of_their_own_are_one_frame(tmp_path):
    luma = np.arange(30) * 6 + 30
    video = decode.probe(files.field_pictures(tmp_path / 'a.mp4', luma))
    assert (video.frames, video.fps, video.seconds) == (30, 25.0, pytest.approx(1.2))
    assert video.interlaced and len(video.index.digests)
    grey = check_reads(video)[:, :2, 0, 0].astype(float)
    np.testing.assert_allclose(np.diff(grey, axis=0), 6 * 255 / 219, atol=1.1)
    np.testing.assert_allclose(grey[:, 1] - grey[:, 0], 5 * 255 / 219, atol=1.1)


TURNS = list(itertools.product((False, True), repeat=3))


@pytest.mark.parametrize(('transpose', 'flip_rows', 'flip_columns'), TURNS)
@pytest.mark.parametrize('suffix', ['mp4', 'mov'])
def test_pictures_are_turned_and_mirrored_by_the_display_matrix(tmp_path, transpose, flip_rows, flip_columns, suffix):
    """Each corner has a colour, and the picture is what the matrix makes of it."""
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16, :32] = (255, 0, 0)
    picture[:16, 32:] = (0, 255, 0)
    picture[16:, :32] = (0, 0, 255)
    x = -1 if flip_columns else 1
    y = -1 if flip_rows else 1
    a, b, c, d = (0, y, x, 0) if transpose else (x, 0, 0, y)
    one = 1 << 16
    matrix = [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30]
    with av.open(str(tmp_path / f'a.{suffix}'), 'w') as container:
        stream = container.add_stream('libx264', rate=10)
        stream.width = 64
        stream.height = 32
        stream.pix_fmt = 'yuv420p'

        stream.set_display_matrix(matrix)
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    video = decode.probe(tmp_path / f'a.{suffix}')
    points = np.array([[4, 4], [4, 60], [28, 4], [28, 60]])
    corners = points @ np.array([[d, b], [c, a]]).T  # (y', x') of (y, x)
    corners = np.where(corners < 0, corners + [video.height, video.width], corners)
    frame = decode.read(video, [1])[0]
    assert frame.shape == ((64, 32, 3) if transpose else (32, 64, 3))
    for (row, column), (y, x) in zip(points, corners, strict=True):
        assert np.abs(frame[y, x].astype(int) - picture[row, column]).max() < 40
    mirrored = frame[:, ::-1] if video.index.orientation.mirrored else frame
    assert video.index.orientation == Orientation(transpose, flip_rows, flip_columns) and mirrored.shape == frame.shape


def test_rotation_and_mirroring_of_an_orientation_agree_with_it():
    picture = np.arange(6, dtype=np.uint8).reshape(1, 2, 3, 1)
    for parts in TURNS:
        orientation = Orientation(*parts)
        first = picture[:, :, ::-1] if orientation.mirrored else picture
        np.testing.assert_array_equal(np.rot90(first, orientation.rotation // 90, (1, 2)), orientation.apply(picture))


def test_frames_with_exif_are_turned_all_the_same(tmp_path):
    """As cameras write Motion JPEG; PyAV 18 knows no such side data."""
    from PIL import Image

    picture = Image.fromarray(moving(1)[0])
    exif = Image.Exif()
    exif[0x010F] = 'maker'
    picture.save(tmp_path / 'a.jpg', exif=exif)
    template = encode(tmp_path / 'a.mov', moving(3), 'mjpeg', pix_fmt='yuvj420p')
    content = (tmp_path / 'a.jpg').read_bytes()
    with av.open(str(template)) as old, av.open(str(tmp_path / 'b.mov'), 'w') as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for i in range(3):
            packet = av.Packet(content)
            packet.pts = i
            packet.dts = i
            packet.duration = 1
            packet.time_base = Fraction(1, 25)
            packet.is_keyframe = True
            packet.stream = stream

            new.mux(packet)
    video = decode.probe(tmp_path / 'b.mov')
    assert video.index.orientation == Orientation() and frame_numbers(check_reads(video)) == [0, 0, 0]


@pytest.mark.parametrize(('count', 'first', 'gap'), [(40, 10, 10), (300, 100, 6)])
def test_dropped_frames_of_an_avi_take_their_time(tmp_path, count, first, gap):
    times = np.arange(count) + np.where(np.arange(count) >= first, gap, 0)
    path = tmp_path / 'a.avi'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=10)
        stream.width = 64
        stream.height = 32
        stream.pix_fmt = 'yuv420p'

        for pixels, at in zip(encode_numbers(count), times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format='rgb24')
            frame.pts = int(at)
            frame.time_base = Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    video = decode.probe(path)
    np.testing.assert_allclose(video.times, times / 10)
    assert video.seconds == pytest.approx((count + gap) / 10)
    assert numbers(check_reads(video)).tolist() == [i % 256 for i in range(count)]


def late(path, start, count=40, codec='libx264'):
    """A video that begins `start` seconds after the sound of its file."""
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=10)
        sound = container.add_stream('pcm_s16le', rate=8000)
        stream.width = 64
        stream.height = 32
        stream.pix_fmt = 'yuv420p'

        for i in range(int(start + count / 10) + 1):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format='s16', layout='mono')
            frame.sample_rate = 8000
            frame.pts = 8000 * i
            container.mux(sound.encode(frame))
        for i, pixels in enumerate(encode_numbers(count)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format='rgb24')
            frame.pts = i + round(10 * start)
            frame.time_base = Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize('suffix', ['mkv', 'mov'])
def test_windows_are_in_the_time_of_the_file_where_the_video_begins_late(tmp_path, suffix):
    from data_pipelines.build.process_video import ClipOutcome, process_video
    from data_pipelines.build.recipe import read_recipe
    from data_pipelines.inputs.item import Item

    pytest.importorskip('scenedetect')
    path = late(tmp_path / f'a.{suffix}', 2.0)
    assert decode.probe(path).start == pytest.approx(2.0, abs=2e-3)
    recipe = read_recipe(
        assignments=['--recipe.shots.detector=none', '--recipe.shots.fades=false', '--recipe.filters=']
    )
    clip, outcome = process_video(Item('a', str(path), start=4.0, end=5.5), recipe)
    assert isinstance(clip, ClipOutcome) and outcome.fate == 'kept'
    assert (clip.record.start, clip.record.end) == (pytest.approx(4.0, abs=2e-3), pytest.approx(5.5, abs=2e-3))
    assert numbers(decode.read(decode.probe(clip.record.video), range(15))).tolist() == list(range(20, 35))
    (outcome,) = process_video(Item('a', str(path), start=0.0, end=1.5), recipe)
    assert (outcome.fate, outcome.reason) == ('broken', 'bad_times') and 'begins at 2.0' in outcome.detail


@pytest.mark.parametrize('codec', ['libx264', 'mpeg4'])
def test_false_keyframes_give_no_other_picture(tmp_path, codec):
    """Where the table of sync samples is gone, every packet counts as one."""
    options = PYRAMID if codec == 'libx264' else {'gop': 20}
    path = encode(tmp_path / 'a.mp4', moving(60), codec, **options)
    video = decode.probe(files.patch(path, b'stss', b'free'))
    assert frame_numbers(check_reads(video, 20)) == list(range(60))


def test_intra_refresh_has_a_single_keyframe(tmp_path):
    params = {'x264-params': 'intra-refresh=1:keyint=15:bframes=0', 'gop': 15}
    video = decode.probe(encode(tmp_path / 'a.mp4', moving(60), **params))
    assert frame_numbers(check_reads(video, 20)) == list(range(60))


def without_hints(extradata):
    """Return the extradata of an x264 file of high profile without the reordering hints of its parameter set."""
    from vdm_jax.data.video.headers.bits import Bits, unescape

    length = int.from_bytes(extradata[6:8])
    data = unescape(extradata[8 : 8 + length])
    bits = Bits(data[4:])
    for kind in 'g' + 'ggg11' + 'gggg1gg' + '11':  # up to whether a part of the picture is cropped
        bits.read_golomb() if kind == 'g' else bits.read(1)
    if bits.read(1):
        for _ in range(4):
            bits.read_golomb()
    assert bits.read(1)  # there was something
    written = files.BitWriter()
    num_bits = 8 * len(data[1:]) - bits.left - 1
    written.put(int.from_bytes(data[1:]) >> (8 * len(data[1:]) - num_bits), num_bits)
    written.put(0, 1)
    unit = written.unit(data[0])
    return extradata[:6] + len(unit).to_bytes(2) + unit + extradata[8 + length :]


def with_reorder_depth(extradata, depth):
    """Return the extradata of an x264 file with `depth` frames held back in its parameter set, which has 2."""
    length = int.from_bytes(extradata[6:8])
    bits = ''.join(f'{byte:08b}' for byte in extradata[8 : 8 + length])
    # four ones, log2 of the largest vectors (two equal numbers), frames held back (2), frames buffered, the end
    (depth_match,) = re.finditer(r'1111(0001[01]{3}|001[01]{2})\1(011)0*1[01]*$', bits)
    written = files.BitWriter()
    prefix = bits[8 : depth_match.start(2)]
    written.put(int(prefix, 2), len(prefix))
    written.golomb(depth)
    rest = bits[depth_match.end(2) :].rstrip('0')[:-1]
    written.put(int(rest, 2), len(rest))
    unit = written.unit(extradata[8])
    return extradata[:6] + len(unit).to_bytes(2) + unit + extradata[8 + length :]


def test_a_missing_depth_of_reordering_loses_no_frame(tmp_path):
    """In Matroska, which has no decode times: sixteen frames without B frames, then a pyramid of them."""
    path = tmp_path / 'a.mkv'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(
            'libx264', rate=25, options={'x264-params': 'bframes=7:b-pyramid=normal:b-adapt=0'}
        )
        stream.width = 64
        stream.height = 48
        stream.pix_fmt = 'yuv420p'

        for i, pixels in enumerate(moving(49)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format='rgb24')
            frame.pict_type = av.video.frame.PictureType.P if 0 < i < 17 else av.video.frame.PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        extradata = without_hints(container.streams.video[0].codec_context.extradata)
    silent = files.remux(path, tmp_path / 'b.mkv', keep=extradata)
    with av.open(str(silent)) as container:
        assert sum(1 for _ in container.decode(video=0)) < 49  # as it comes, FFmpeg loses some
    assert frame_numbers(check_reads(decode.probe(silent))) == list(range(49))


def test_one_doubled_time_leaves_the_others_as_they_are(tmp_path):
    times = np.concatenate([np.arange(10) * 100, 5000 + np.arange(20) * 100])
    path = encode(tmp_path / 'a.mkv', encode_numbers(30), times=times)

    def double(number, packet):
        if number == 20:
            packet.pts = packet.dts = 5900

    path = encode(tmp_path / 'a.mkv', encode_numbers(30), times=times, bf='0')
    video = decode.probe(files.remux(path, tmp_path / 'b.mkv', double))
    assert video.frames == 30 and (np.diff(video.times) > 0).all()
    np.testing.assert_allclose(np.delete(video.times, 20), np.delete(times, 20) / 1000, atol=0.06)
    assert numbers(check_reads(video)).tolist() == list(range(30))


@pytest.mark.parametrize('suffix', ['mkv', 'mp4', 'mov'])
def test_the_main_video_is_read_not_a_preview(tmp_path, suffix):
    """The flagged one in Matroska, the larger one where both count as the default; never a cover."""
    path = tmp_path / f'a.{suffix}'
    with av.open(str(path), 'w') as container:
        sizes = {'preview': (16, 32, 3), 'main': (32, 64, 20)}
        streams = {}
        for name, (height, width, _) in sizes.items():
            stream = streams[name] = container.add_stream('libx264', rate=10)
            stream.height = height
            stream.width = width
            stream.pix_fmt = 'yuv420p'
        flag = av.stream.Disposition.default
        streams['preview'].disposition = av.stream.Disposition(0) if suffix == 'mkv' else flag
        streams['main'].disposition = flag
        for name, (height, width, count) in sizes.items():
            for pixels in encode_numbers(count, height, width):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format='rgb24')
                container.mux(streams[name].encode(frame))
            container.mux(streams[name].encode())
    video = decode.probe(path)
    assert (video.frames, video.height, video.width) == (20, 32, 64)
    assert (video.index.stream, video.index.streams) == (1, 2)
    assert numbers(check_reads(video)).tolist() == list(range(20))


def test_the_rate_is_that_of_the_times(tmp_path):
    """As a browser records: no rate in the file, frames when there was time for one."""
    times = np.cumsum(np.random.default_rng(0).integers(16, 101, 120))
    times -= times[0]
    video = decode.probe(encode(tmp_path / 'a.webm', encode_numbers(120), 'libvpx', fps=1000, times=times))
    assert video.fps == pytest.approx(119 / (times[-1] / 1000), rel=0.02)
    even = decode.probe(encode(tmp_path / 'b.mkv', encode_numbers(24), fps=Fraction(24000, 1001)))
    assert even.fps == pytest.approx(24000 / 1001, rel=1e-6)  # not what milliseconds make of it


def test_the_last_frame_lasts_as_long_as_the_file_says(tmp_path):
    from PIL import Image

    frames = [Image.fromarray(picture) for picture in moving(4)]
    frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:], duration=[200, 200, 200, 3000])
    assert decode.probe(tmp_path / 'a.gif').seconds == pytest.approx(3.6)
    for suffix in ('mp4', 'mkv'):
        path = tmp_path / f'a.{suffix}'
        with av.open(str(path), 'w') as container:
            stream = container.add_stream('libx264', rate=10, options={'bf': '0'})
            stream.width = 64
            stream.height = 32
            stream.pix_fmt = 'yuv420p'
            packets = [packet for pixels in encode_numbers(10) for packet in stream.encode(_frame(pixels))]
            packets += stream.encode()
            packets[-1].duration = round(4 / packets[-1].time_base)
            for packet in packets:
                container.mux(packet)
        video = decode.probe(path)
        assert video.frames == 10 and video.seconds == pytest.approx(4.9, abs=0.01)
        assert video.fps == pytest.approx(10)


def _frame(pixels):
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format='rgb24')


def comb(count):
    """Two moments in the lines of each frame: a bar that moves."""
    frames = np.zeros((count, 48, 64, 3), np.uint8)
    for i in range(count):
        for field in (0, 1):
            x = (2 * i + field) * 3 % 56
            frames[i, field::2, x : x + 8] = 255
    return frames


def test_interlaced_frames_are_deinterlaced_wherever_they_are(tmp_path):
    """A programme of two recordings, the first progressive."""
    parts = []
    for name, pictures, options in (
        ('p', encode_numbers(12, 48), {}),
        ('i', comb(12), {'flags': '+ildct+ilme', 'top': '1'}),
    ):
        path = encode(tmp_path / f'{name}.mpg', pictures, 'mpeg2video', gop=6, qscale='2', **options)
        parts.append(path.read_bytes())
    (tmp_path / 'a.mpg').write_bytes(b''.join(parts))
    video = decode.probe(tmp_path / 'a.mpg')
    plain = np.stack([frame for _, frame in decode.stream(video)])
    deinterlaced = np.stack([frame for _, frame in decode.stream(video, deinterlace=True)])

    def teeth(frames):
        return np.abs(np.diff(frames.astype(float), axis=1)).mean((1, 2, 3))

    assert video.interlaced and len(plain) == 23  # where they meet a decoder loses one
    np.testing.assert_array_equal(deinterlaced[:11], plain[:11])
    assert teeth(plain[12:22]).min() > 15 and teeth(deinterlaced[12:22]).max() < 2
    for first in range(0, 23, 5):
        (_, frame), *_ = decode.stream(video, first, first + 1, True)
        np.testing.assert_array_equal(frame, deinterlaced[first])


def test_a_gif_delay_of_a_hundredth_counts_as_a_tenth(tmp_path):
    from PIL import Image

    frames = [Image.fromarray(picture) for picture in moving(6)]
    for name, delays, seconds in (('a', 10, 0.6), ('b', 20, 0.12), ('c', [10, 50, 10, 50, 0, 50], 0.45)):
        frames[0].save(tmp_path / f'{name}.gif', save_all=True, append_images=frames[1:], duration=delays)
        video = decode.probe(tmp_path / f'{name}.gif')
        assert video.frames == 6 and video.seconds == pytest.approx(seconds)


def test_a_gif_without_control_blocks_keeps_its_frames(tmp_path):
    from PIL import Image

    frames = [Image.fromarray(picture) for picture in moving(4)]
    frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:], duration=100)
    content = (tmp_path / 'a.gif').read_bytes()
    parts = content.split(b'\x21\xf9\x04')
    (tmp_path / 'a.gif').write_bytes(parts[0] + b''.join(part[5:] for part in parts[1:]))
    video = decode.probe(tmp_path / 'a.gif')
    assert len(parts) == 5 and (video.frames, video.seconds) == (4, pytest.approx(0.4))
    assert frame_numbers(decode.read(video, range(4))) == [0, 1, 2, 3]


@pytest.mark.parametrize('pix_fmt', ['gray', 'gray10le', 'gray16le'])
@pytest.mark.parametrize('limited', [True, False])
def test_grey_of_limited_range_is_stretched(tmp_path, pix_fmt, limited):
    bits = {'gray': 8, 'gray10le': 10, 'gray16le': 16}[pix_fmt]
    levels = np.array([16, 20, 126, 219, 235])
    grey = np.repeat(np.repeat(levels[None], 32, 0), 8, 1) << (bits - 8)
    with av.open(str(tmp_path / 'a.mkv'), 'w') as container:
        stream = container.add_stream('ffv1', rate=5)
        stream.width = 40
        stream.height = 32
        stream.pix_fmt = pix_fmt
        stream.codec_context.color_range = 1 if limited else 2
        frame = av.VideoFrame.from_ndarray(grey.astype(np.uint8 if bits == 8 else np.uint16), format=pix_fmt)
        frame.color_range = 1 if limited else 2
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (picture,) = decode.read(decode.probe(tmp_path / 'a.mkv'), [0])
    wanted = (levels - 16) * 255 / 219 if limited else levels
    np.testing.assert_allclose(picture[5, 4::8], np.repeat(wanted[:, None], 3, 1), atol=1)


@pytest.mark.parametrize('suffix', ['mkv', 'mp4'])
def test_the_crop_of_the_file_is_applied(tmp_path, suffix):
    path = encode(tmp_path / f'a.{suffix}', moving(12, 48, 64))
    all_frames = decode.read(decode.probe(path), range(12))
    if suffix == 'mkv':
        files.with_pixel_crop(path, 4, 2, 8, 0)
    else:  # a clean aperture, whose centre lies 4 to the right and 1 below that of the picture
        size = [value for pair in ((56, 1), (42, 1), (4, 1), (1, 1)) for value in pair]
        clap = np.array(size, '>u4').tobytes()
        box = (8 + len(clap)).to_bytes(4) + b'clap' + clap
        files.with_box(path, [b'moov', b'trak', b'mdia', b'minf', b'stbl', b'stsd', b'avc1'], box)
    video = decode.probe(path)
    assert (video.height, video.width, video.index.crop) == (42, 56, (4, 2, 8, 0))
    np.testing.assert_array_equal(check_reads(video), all_frames[:, 4:46, 8:])
    if int(av.__version__.split('.')[0]) >= 19:  # PyAV reports it from 19 on
        with av.open(str(path)) as container:
            av_crop = container.streams.video[0].codec_context.coded_side_data['frame_cropping']
        assert tuple(np.frombuffer(av_crop, np.uint32)) == video.index.crop


def wide(path, aspect, size=(48, 60), codec='libx264', matrix=None):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width = size
        stream.pix_fmt = 'yuv420p'
        stream.codec_context.sample_aspect_ratio = Fraction(*aspect)
        if matrix:
            stream.set_display_matrix(matrix)
        for pixels in encode_numbers(12, *size[:1], 64)[:, :, : size[1]]:
            container.mux(stream.encode(_frame(pixels)))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize('suffix', ['mp4', 'mkv'])
@pytest.mark.parametrize(('aspect', 'width'), [((64, 45), 85), ((8, 9), 53), ((1, 1), 60)])
def test_pixels_that_are_not_square_are_made_so(tmp_path, suffix, aspect, width):
    path = wide(tmp_path / f'a.{suffix}', aspect)
    square = decode.probe(path)
    stored = decode.probe(path, square=False)
    assert (square.height, square.width) == (48, width) and (stored.height, stored.width) == (48, 60)
    assert square.pixel_aspect == stored.pixel_aspect == pytest.approx(aspect[0] / aspect[1])
    assert decode.read(square, [3]).shape == (1, 48, width, 3)
    ((_, frame), *_) = decode.stream(square, 3, 4)
    np.testing.assert_array_equal(frame, decode.read(square, [3])[0])


def test_pixels_of_a_picture_on_its_side_are_wide_where_it_is_high(tmp_path):
    quarter = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    video = decode.probe(wide(tmp_path / 'a.mp4', (3, 2), matrix=quarter))
    assert (video.height, video.width, video.pixel_aspect) == (90, 48, pytest.approx(2 / 3))


def test_sources_and_recipes_choose_square_pixels_or_stored_ones(tmp_path):
    from data_pipelines.build.process_video import process_video
    from data_pipelines.build.recipe import read_recipe
    from data_pipelines.inputs.item import Item
    from vdm_jax.data.records.schema import from_bytes, to_bytes
    from vdm_jax.data.video_folder import VideoFolder

    pytest.importorskip('scenedetect')
    path = wide(tmp_path / 'a.mp4', (3, 2))
    for how, width in (('square', 90), ('stored', 60)):
        assert VideoFolder(str(tmp_path), pixel_aspect=how).open().extents().tolist() == [[12, 48, width]]
        recipe = read_recipe(assignments=[f'--recipe.clips.pixel_aspect={how}', '--recipe.filters='])
        clip, _ = process_video(Item('a', str(path)), recipe)
        assert (clip.record.width, clip.record.pixel_aspect) == (width, 1.5)
        assert from_bytes(to_bytes(clip.record)).pixel_aspect == 1.5
        assert decode.probe(clip.record.video).width == 90  # players show both the same way
        assert decode.probe(clip.record.video, square=False).width == width


def test_a_set_of_stored_pixels_is_as_it_was_built(tmp_path, capsys):
    from data_pipelines.__main__ import main
    from vdm_jax.data.records.source import Records

    pytest.importorskip('scenedetect')
    (tmp_path / 'videos').mkdir()
    wide(tmp_path / 'videos' / 'a.mp4', (3, 2))
    for how, width in (('square', 90), ('stored', 60)):
        place = tmp_path / how
        build = ['build', f'--source={tmp_path / "videos"}', f'--out={place}', '--workers=0', '--recipe.filters=']
        assert main([*build, f'--recipe.clips.pixel_aspect={how}']) == 0
        assert main(['verify', str(place)]) == 0
        assert main(['inspect', str(place), f'--sheet={tmp_path / "sheet.png"}']) == 0
        records = Records(str(place), frames=8, pixels=48, filters=('pixel_aspect==1.5',)).open()
        assert records.extents().tolist() == [[12, 48, width]]
        assert records.extract(0, (8, 48, width))['video'].shape == (8, 48, width, 3)


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('a.ts', {}),
        ('a.m2ts', {}),
        ('a.flv', {}),
        ('a.3gp', {}),
        ('a.wmv', {'codec': 'wmv2'}),
        ('a.mpg', {'codec': 'mpeg2video', 'bf': '2'}),
        ('ts_named.mp4', {'format': 'mpegts'}),
    ],
)
def test_other_containers_are_read_like_the_others(tmp_path, name, options):
    suffix = {'mpegts': '.ts'}.get(options.get('format'), pathlib.Path(name).suffix)
    path = encode(tmp_path / f'made{suffix}', moving(40), **{k: v for k, v in options.items() if k != 'format'})
    path = path.rename(tmp_path / name)
    video = decode.probe(path)
    assert frame_numbers(check_reads(video)) == list(range(40)) and video.fps == pytest.approx(25, rel=0.01)


@pytest.mark.parametrize(('suffix', 'codec'), [('gif', 'gif'), ('webp', 'webp'), ('png', 'apng')])
def test_animated_pictures_are_videos(tmp_path, suffix, codec):
    from PIL import Image

    frames = [Image.fromarray(picture) for picture in moving(9)]
    options = {'lossless': True} if suffix == 'webp' else {}
    frames[0].save(tmp_path / f'a.{suffix}', save_all=True, append_images=frames[1:], duration=50, **options)
    path = (tmp_path / f'a.{suffix}').rename(tmp_path / f'a.{codec}')
    video = decode.probe(path)
    assert (video.codec, video.frames, video.fps, video.seconds) == (codec, 9, pytest.approx(20), pytest.approx(0.45))
    assert frame_numbers(check_reads(video)) == list(range(9))
    assert frame_numbers(decode.read(decode.probe(path.read_bytes()), [7, 2])) == [7, 2]


def test_a_recording_that_stops_anywhere_keeps_its_complete_frames(tmp_path):
    path = encode(tmp_path / 'a.ts', moving(60), gop=12)
    content = path.read_bytes()
    for start, stop in ((0, len(content) * 2 // 3), (len(content) // 3, len(content))):
        path.write_bytes(content[start:stop])
        shown_numbers = frame_numbers(check_reads(decode.probe(path)))
        assert len(shown_numbers) > 20
        assert shown_numbers == list(range(shown_numbers[0], shown_numbers[0] + len(shown_numbers)))
    path.write_bytes(content * 2)  # its clock begins anew
    video = decode.probe(path)
    assert video.frames == 120 and (np.diff(video.times) > 0).all() and video.seconds < 10


@pytest.mark.parametrize(
    ('name', 'options', 'left'),
    [
        ('a.avi', {'codec': 'mpeg4', 'bf': '2'}, 0.67),
        ('a.flv', {}, 0.67),
        ('a.wmv', {'codec': 'wmv2'}, 0.67),
        ('a.mkv', {}, 0.67),
        ('fast.mp4', {}, 0.67),
        ('fast.mp4', {}, 0.999),  # in its last packet
        ('fast.mov', {'codec': 'mjpeg', 'pix_fmt': 'yuvj420p'}, 0.999),
    ],
)
def test_a_truncated_file_is_broken_as_cut_off(tmp_path, name, options, left):
    path = encode(tmp_path / f'made.{name.split(".")[1]}', moving(60), **options)
    if name.startswith('fast'):  # its header comes first
        path = files.remux(path, tmp_path / name, options={'movflags': 'faststart'})
    assert decode.probe(path).frames == 60
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content))])
    with pytest.raises(decode.BrokenVideoError, match='cut off'):
        decode.probe(path)


def test_a_long_last_frame_does_not_make_an_flv_cut_off(tmp_path):
    path = encode(tmp_path / 'a.flv', encode_numbers(20), 'flv')
    content = path.read_bytes()
    at = content.index(b'duration') + 9
    path.write_bytes(content[:at] + np.array(100.0, '>f8').tobytes() + content[at + 8 :])
    assert decode.probe(path).frames == 20


def test_times_before_zero_in_an_flv_are_no_days(tmp_path):
    """Writers have no sign to put there; what comes after 0 is read as 24 days later."""
    path = encode(tmp_path / 'a.flv', encode_numbers(20), 'flv')
    content = bytearray(path.read_bytes())
    at = 13
    number = 0

    while at < len(content):
        size = int.from_bytes(content[at + 1 : at + 4])
        if content[at] == 9:
            stamp = int.from_bytes(content[at + 4 : at + 7]) - 300
            content[at + 4 : at + 8] = (stamp & 0xFFFFFF).to_bytes(3) + (stamp >> 24 & 0x7F).to_bytes(1)
            number += 1
        at += 11 + size + 4
    path.write_bytes(content)
    video = decode.probe(path)
    assert number == video.frames == 20 and numbers(check_reads(video)).tolist() == list(range(20))
    np.testing.assert_allclose(video.times, np.arange(20) * 0.04, atol=1e-6)


@pytest.mark.parametrize(('suffix', 'hours', 'seconds'), [('mkv', 40, 0.8), ('mp4', 40, 0.8), ('mov', 20, 72000.8)])
def test_a_time_days_later_is_a_mistake(tmp_path, suffix, hours, seconds):
    """Hours later it is not: pictures of a day may be a video."""
    path = encode(tmp_path / f'a.{suffix}', encode_numbers(20), bf='0')

    def delay(number, packet):
        if number >= 10:
            packet.pts += round(hours * 3600 / packet.time_base)
            packet.dts = packet.pts

    video = decode.probe(files.remux(path, tmp_path / f'b.{suffix}', delay))
    assert video.seconds == pytest.approx(seconds, abs=0.01)
    assert numbers(check_reads(video)).tolist() == list(range(20)) and (np.diff(video.times) > 0).all()


def test_animations_stay_within_the_limits(tmp_path):
    """A frame that reaches over the canvas is cut at it; many large ones cost no file of a few bytes."""
    from PIL import Image

    Image.new('P', (4, 4), 1).save(tmp_path / 'one.gif')
    content = (tmp_path / 'one.gif').read_bytes()
    pixels = content[content.rindex(b'\x2c\0\0\0\0') + 10 : -1]

    def frame(x, y):
        return b'\x2c' + np.array([x, y, 4, 4], '<u2').tobytes() + b'\0' + pixels

    head = b'GIF89a' + np.array([16, 16], '<u2').tobytes() + b'\x80\0\0' + b'\xff\0\0\0\0\xff'
    (tmp_path / 'over.gif').write_bytes(head + frame(0, 0) + frame(14, 14) + b'\x3b')
    video = decode.probe(tmp_path / 'over.gif')
    assert (video.frames, video.height, video.width) == (2, 16, 16)
    assert decode.read(video, [0, 1]).shape == (2, 16, 16, 3)
    (tmp_path / 'far.gif').write_bytes(head + frame(0, 0) + frame(9000, 9000) + b'\x3b')
    with pytest.raises(decode.BrokenVideoError, match='larger than 10000 pixels'):
        decode.probe(tmp_path / 'far.gif', decode.Limits(frame_pixels=10000))
    (tmp_path / 'many.gif').write_bytes(head + frame(0, 0) * 30 + b'\x3b')
    with pytest.raises(decode.BrokenVideoError, match='takes decoding more than 5000 pixels'):
        decode.probe(tmp_path / 'many.gif', decode.Limits(index_pixels=5000))


def test_an_apng_is_its_animation_and_a_truncated_one_is_named(tmp_path):
    from PIL import Image

    frames = [Image.fromarray(picture) for picture in moving(6)]
    path = tmp_path / 'a.apng'
    for first, count in ((False, 6), (True, 5)):  # the first one a still, for those who know no animation
        frames[0].save(path, 'PNG', save_all=True, append_images=frames[1:], duration=50, default_image=first)
        video = decode.probe(path)
        assert frame_numbers(check_reads(video)) == list(range(6 - count, 6))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(decode.BrokenVideoError, match='cut off: . of 5 frames|frame . is damaged'):
        decode.probe(path)


def test_frames_dropped_for_a_small_reorder_depth_are_not_counted(tmp_path):
    """Frames that the decoder then leaves out are none."""
    path = encode(tmp_path / 'a.mkv', moving(49), gop=60, **{'x264-params': 'bframes=3:b-pyramid=normal:b-adapt=0'})
    with av.open(str(path)) as container:
        extradata = container.streams.video[0].codec_context.extradata
    less = files.remux(path, tmp_path / 'b.mkv', keep=with_reorder_depth(extradata, 1))
    with av.open(str(less)) as container:
        count = sum(1 for _ in container.decode(video=0))
    video = decode.probe(less)
    shown_numbers = frame_numbers(check_reads(video))
    assert video.frames == count and shown_numbers == sorted(shown_numbers)


def test_messages_name_the_reason(tmp_path):
    damaged = encode(tmp_path / 'a.mp4', np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8))
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 3000] = bytes(3000)
    damaged.write_bytes(content)
    with pytest.raises(decode.BrokenVideoError, match=r'(picture|no picture) .*\d\.\d\d s'):
        for _ in decode.stream(decode.probe(damaged)):
            pass
    with pytest.raises(decode.BrokenVideoError, match='a kind of file that is not read'):
        decode.probe(encode(tmp_path / 'a.mp4', encode_numbers(4)).rename(tmp_path / 'b').read_bytes()[:0] or _wav())
    with pytest.raises(decode.BrokenVideoError, match='larger than 2047 pixels'):
        decode.probe(encode(tmp_path / 'c.mp4', encode_numbers(4)), decode.Limits(frame_pixels=2047))


def _wav():
    import io
    import wave

    content = io.BytesIO()
    with wave.open(content, 'wb') as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    return content.getvalue()


def test_an_index_is_made_once_and_anew_when_the_file_changes(tmp_path, monkeypatch):
    calls = []
    make = probe._index_video
    monkeypatch.setattr('vdm_jax.data.video.probe._index_video', lambda *arguments: calls.append(1) or make(*arguments))
    path = encode(tmp_path / 'a.avi', moving(30), 'mpeg4', gop=10)
    first = decode.probe(path)
    again = decode.probe(path)
    assert len(calls) == 1
    for name, value in vars(first.index).items():
        np.testing.assert_array_equal(getattr(again.index, name), value)
    np.testing.assert_array_equal(check_reads(again), decode.read(first, range(30)))
    path.rename(tmp_path / 'b.avi')
    decode.probe(tmp_path / 'b.avi')
    assert len(calls) == 1  # wherever it lies
    content = bytearray((tmp_path / 'b.avi').read_bytes())
    before = (tmp_path / 'b.avi').stat()
    content[-1] ^= 1
    (tmp_path / 'b.avi').write_bytes(content)
    os.utime(tmp_path / 'b.avi', ns=(before.st_atime_ns, before.st_mtime_ns))
    decode.probe(tmp_path / 'b.avi')
    assert len(calls) == 2  # of the same size and time
    for index_file in pathlib.Path(store.folder()).rglob('*.npz'):
        index_file.write_bytes(b'damaged')
    assert decode.probe(tmp_path / 'b.avi').frames == 30 and len(calls) == 3


def test_every_command_has_the_same_verdict(tmp_path, capsys):
    """Of files whose packets are misleading: inspect, build, train and verify."""
    from data_pipelines.__main__ import main
    from vdm_jax.data.video_folder import VideoFolder

    pytest.importorskip('scenedetect')
    folder = tmp_path / 'videos'
    folder.mkdir()
    source = encode(tmp_path / 'a.mp4', moving(60), **PYRAMID)
    files.as_decode_times(source, folder / 'order.mp4')
    files.patch(encode(folder / 'sync.mp4', moving(60), 'mpeg4'), b'stss', b'free')
    encode(folder / 'av1.mkv', moving(60, 64, 64), 'libsvtav1', gop=10, preset='12')
    encode(folder / 'refresh.mp4', moving(60), **{'x264-params': 'intra-refresh=1:keyint=15'})
    assert main(['inspect', str(folder), '--json']) == 0
    rows = json.loads(capsys.readouterr().out)['files']
    assert {row['verdict'] for row in rows} == {'ok'} and len(rows) == 4
    reader = VideoFolder(str(folder), frames=8, pixels=32).open()
    assert reader.extents()[:, 0].tolist() == [60] * 4 and reader.counters()['broken_videos'] == 0
    build = ['build', f'--source={folder}', f'--out={tmp_path / "set"}', '--workers=0', '--recipe.filters=']
    build += ['--recipe.shots.detector=none', '--recipe.duplicates.drop=false', '--recipe.clips.seconds=1']
    assert main(build) == 0 and '8 clips of 4 of 4 inputs' in capsys.readouterr().out
    assert main(['verify', str(tmp_path / 'set')]) == 0


def test_times_rise_for_any_times_of_the_file():
    def check(*arguments):
        return mend_timestamps(*arguments, longest=1000).tolist()

    assert check([0, 10, 20], [0, 0, 0], 10) == [0, 10, 20]
    assert check([0, 30, 10, 20], [0] * 4, 10) == [0, 10, 20, 30]  # those of coding
    assert check([0, 10, 10, 30], [0] * 4, 10) == [0, 10, 20, 30]  # one comes twice
    assert check([0, 10, 10], [0] * 3, 10) == [0, 10, 15]
    assert check([None] * 3, [None] * 3, 10) == [0, 10, 20]
    assert check([None, 5, None, 25, None], [None] * 5, 10) == [-5, 5, 15, 25, 35]
    assert check([*range(0, 400, 10)] * 2, [0] * 80, 10) == [*range(0, 400, 10), *range(400, 800, 10)]  # it began anew
    assert check([0, 10, 5000, 5010], [0] * 4, 10) == [0, 10, 20, 30]  # a clock that was set
    assert check([*range(0, 100, 10)] * 2, [0] * 20, 10) == [*range(0, 200, 10)]  # two short recordings
    assert check([7] * 5, [0] * 5, 1) == [7, 8, 9, 10, 11]


def test_a_picture_that_claims_too_much_is_not_opened(tmp_path):
    header = b'RIFF' + (100).to_bytes(4, 'little') + b'WEBPVP8X' + (10).to_bytes(4, 'little') + b'\x02\0\0\0'
    (tmp_path / 'a.webp').write_bytes(header + (16383).to_bytes(3, 'little') * 2 + bytes(70))
    with pytest.raises(decode.BrokenVideoError, match='16384x16384 frames are larger'):
        decode.probe(tmp_path / 'a.webp')
    assert animation.is_gif_webp_or_png(b'GIF89a')
    assert not animation.is_gif_webp_or_png(b'RIFF....AVI ')


@pytest.mark.parametrize('suffix', ['mkv', 'mp4'])
def test_lost_packets_of_h264_change_no_picture_between_reads(tmp_path, suffix):
    """What is left out to save time must change no picture, where the decoder makes up for what is missing."""
    path = encode(tmp_path / f'a.{suffix}', moving(60), **PYRAMID)
    lossy = files.remux(path, tmp_path / f'b.{suffix}', lambda number, packet: number % 9 != 5 or packet.is_keyframe)
    try:
        video = decode.probe(lossy)
    except decode.BrokenVideoError as error:
        assert 'picture' in str(error)
    else:
        check_reads(video)


@pytest.mark.parametrize('suffix', ['mov'])
def test_keys_are_those_of_the_container_where_no_decoder_reports_them(tmp_path, monkeypatch, suffix):
    path = encode(tmp_path / f'a.{suffix}', moving(60), 'qtrle', pix_fmt='rgb24', gop=10)
    video = decode.probe(path)
    assert frame_numbers(check_reads(video)) == list(range(60)) and decoded_for(monkeypatch, video, [55]) < 30


def test_windows_of_interlaced_video_equal_the_complete_read(tmp_path):
    video = decode.probe(encode(tmp_path / 'a.mp4', comb(12), **{'x264-params': 'tff=1', 'crf': '5'}))
    deinterlaced = np.stack([frame for _, frame in decode.stream(video, deinterlace=True)])
    for first, stop in ((0, 5), (4, 9), (7, 12)):
        frames = np.stack([frame for _, frame in decode.stream(video, first, stop, True)])
        np.testing.assert_array_equal(frames, deinterlaced[first:stop])


def test_animations_need_no_pyav(tmp_path, monkeypatch):
    import sys

    from PIL import Image

    frames = [Image.fromarray(picture) for picture in moving(4)]
    frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:], duration=100)
    monkeypatch.setitem(sys.modules, 'av', None)
    assert frame_numbers(decode.read(decode.probe(tmp_path / 'a.gif'), [2])) == [2]
