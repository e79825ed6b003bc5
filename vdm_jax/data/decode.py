"""Video files -> frames, with PyAV: what a file holds, and exactly the frames asked for.

Files, by path or as the bytes in them, come from anywhere, so they are opened with a list of allowed formats (a
playlist dressed up as an mp4 would open other files and addresses), names are never read as addresses or options, and
what a file may ask for has `Limits`. Whatever is wrong with one comes out as BrokenVideoError.
"""

import collections
import contextlib
import dataclasses
import errno
import io
import os
import stat
import threading

import numpy as np

from vdm_jax.data.transforms import over_white, resize, turn
from vdm_jax.errors import UserError

FORMATS = 'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif'
COVER = 1024  # FFmpeg's AV_DISPOSITION_ATTACHED_PIC: the picture on the cover of a song


class BrokenVideoError(Exception):
    """A file, or a part of it, that does not decode; the message is the reason, without the file's name."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a file may ask for; one that asks for more is broken.

    frame_pixels: width times height of a frame. frames, seconds: in one file. read_pixels: decoded in one `read`.
    """

    frame_pixels: int = 2**25  # 8K (7680 x 4320) fits
    frames: int = 2**20  # 12 hours at 24 frames/s
    seconds: float = 86400.0
    read_pixels: int = 2**36  # 20 minutes of 1080p

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f'{field.name} is {getattr(self, field.name)}; it must be more than 0')

    def check_size(self, width, height):
        """Raises BrokenVideoError for frames that are too large."""
        if width * height > self.frame_pixels:
            raise BrokenVideoError(f'{width}x{height} frames are larger than {self.frame_pixels} pixels')


@dataclasses.dataclass(frozen=True, eq=False)
class Video:
    """What a file holds. Frame i is the i-th frame shown (from 0).

    width, height: of the upright picture, in pixels; rotation: degrees the stored picture is turned counterclockwise.
    times: seconds of each frame from the first, float64 (frames,). fps: frames a second as the container says.
    pts: the frames' timestamps in the stream's own unit, int64 (frames,), or None where they cannot be relied on (AVI):
    then frames are counted from the start. keys: timestamps at which decoding may begin. limits: those it was probed
    with, which hold for reading it too. interlaced: whether the lines of its first frame belong to two moments.
    """

    path: str | bytes
    codec: str
    width: int
    height: int
    rotation: int
    fps: float
    times: np.ndarray
    pts: np.ndarray | None
    keys: np.ndarray | None
    limits: Limits = Limits()  # noqa: RUF009, frozen
    interlaced: bool = False

    @property
    def frames(self):
        return len(self.times)

    @property
    def seconds(self):
        """From the start of the first frame to the end of the last."""
        return float(self.times[-1]) + 1 / self.fps


@contextlib.contextmanager
def opened(path, limits=Limits()):  # noqa: B008, frozen
    """(container, its first video stream), open; whatever goes wrong inside comes out as BrokenVideoError."""
    try:
        import av
    except ImportError:
        raise UserError("reading video needs PyAV, which is not installed: pip install 'vdm_jax[video]'") from None
    most = {'max_pixels': str(limits.frame_pixels)}  # decoders ask before they allocate
    options = {'format_whitelist': FORMATS, 'protocol_whitelist': 'file', **most}
    lenient = {'metadata_errors': 'replace'} if int(av.__version__.split('.')[0]) < 19 else {}  # titles that are no text
    with _reasons(), _file(path) as file, av.open(file, options=options, **lenient) as container:
        streams = [stream for stream in container.streams.video if not stream.disposition & COVER]
        if not streams:
            raise BrokenVideoError('no video in it')
        stream = streams[0]
        if stream.codec_context is None:
            raise BrokenVideoError('no decoder for its codec')
        limits.check_size(stream.width, stream.height)
        stream.codec_context.options = most
        stream.codec_context.thread_count = 1  # the loader runs many files at once; frame threads only add delay
        yield container, stream


@contextlib.contextmanager
def _reasons():
    """What FFmpeg and PyAV complain of, as BrokenVideoError."""
    import av

    try:
        yield
    except (av.FFmpegError, OSError, ValueError, ArithmeticError, MemoryError) as error:
        if getattr(error, 'errno', None) in (errno.EMFILE, errno.ENFILE):  # too many open: no fault of the file
            raise
        reason = getattr(error, 'strerror', None) or str(error) or type(error).__name__
        if isinstance(error, av.ArgumentError):  # what FFmpeg says to both
            reason = f'{reason}: a kind of file that is not read, or frames beyond the limit'
        raise BrokenVideoError(reason) from error


@contextlib.contextmanager
def _file(path):
    """What PyAV is to open: never a name that FFmpeg could take for an address or for more than one file."""
    if isinstance(path, bytes):
        yield io.BytesIO(path)
        return
    about = os.stat(path)
    if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
        raise BrokenVideoError('a folder' if stat.S_ISDIR(about.st_mode) else 'no ordinary file')
    if not about.st_size:
        raise BrokenVideoError('an empty file')
    try:
        str(path).encode()
    except UnicodeEncodeError:  # a name that is not UTF-8, which PyAV cannot pass on
        with open(path, 'rb') as file:
            yield file
    else:
        yield f'file:{path}'


def probe(path, limits=Limits()):  # noqa: B008, frozen
    """The Video at path, its frames counted by walking through the packets; only the first frame is decoded.

    path may be the bytes of a file instead, which the Video then keeps.
    Raises BrokenVideoError if nothing decodes, if it asks for more than `limits`, or if the file ends before the number
    of frames (mp4, avi) or the time (webm, mkv) that its header promises; a GIF's promises neither.
    """
    first, seen, shown, keys, end = None, 0, [], [], 0.0
    with opened(path, limits) as (container, stream):
        for packet in container.demux():
            if packet.size and packet.pts is not None:
                end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream is not stream:
                continue
            if first is None:
                first = next(iter(packet.decode()), None)
            if not packet.size:
                continue
            seen += 1
            if seen > limits.frames:
                raise BrokenVideoError(f'more than {limits.frames} frames')
            if packet.is_keyframe:
                keys.append(packet.pts)
            if keys and _is_shown(packet, stream):
                shown.append(packet.pts)
        if first is None or not shown:
            raise BrokenVideoError('no frame decodes')
        if seen < (promised := _promised(container, stream)):
            raise BrokenVideoError(f'cut off: {seen} of {promised} frames')
        promised = (container.duration or 0) / 1e6  # of the longest stream, sound included
        if container.format.name.startswith('matroska') and end < 0.95 * promised - 0.5:
            raise BrokenVideoError(f'cut off: {end:.2f} of {promised:.2f} seconds')
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        unit, codec, counted_only = float(stream.time_base), stream.codec_context.name, container.format.name == 'avi'
    path = path if isinstance(path, bytes) else str(path)
    limits.check_size(first.width, first.height)
    rotation = round(first.rotation / 90) * 90 % 360
    width, height = (first.width, first.height) if rotation % 180 == 0 else (first.height, first.width)

    if counted_only or None in shown + keys or len(set(shown)) < len(shown):
        times, pts, keys = np.arange(len(shown)) / fps, None, None
    else:
        pts = np.sort([stamp for stamp in shown if stamp >= keys[0]])  # earlier ones lean on a frame that is missing
        times, keys = (pts - pts[0]) * unit, np.sort(keys)
    video = Video(path, codec, width, height, rotation, fps, times, pts, keys, limits, first.interlaced_frame)
    if not 0 < video.seconds <= limits.seconds:
        raise BrokenVideoError(f'{video.seconds:.1f} seconds are more than {limits.seconds:.1f}')
    return video


def _promised(container, stream):
    """The number of packets the header announces, 0 if none (GIF, webm)."""
    if container.format.name.startswith('mov'):
        return len(stream.index_entries)  # stream.frames also counts what edit lists have cut away
    if container.format.name == 'avi':
        written = stream.frames < 2**30  # what FFmpeg's writer leaves there where it cannot go back
        return stream.frames * 49 // 50 if written else 0  # counts dropped frames, which have no packet
    return 0


def _is_shown(packet, stream):
    """Whether a packet makes a picture: not cut away by an edit list, nor one of VP8's hidden reference frames."""
    if packet.is_discard:
        return False
    return stream.codec_context.name != 'vp8' or bool(bytes(packet)[0] & 0x10)


def read(video, indices, height=None, width=None):
    """The frames with these numbers, uint8 (len(indices), height, width, 3), upright RGB, resized one by one.

    indices may repeat and come in any order. Decoding starts at the last keyframe before the first of them, or at the
    start of the file if that goes wrong. Raises BrokenVideoError if one of them does not decode.
    """
    height, width = height or video.height, width or video.width
    stored = _stored(video, height, width)
    wanted, places = np.unique(indices, return_inverse=True)
    key = key_before(video, wanted[0])
    if key is None:
        frames = _collect(video, wanted, stored)
    else:
        try:
            frames = _collect(video, wanted, stored, key)
        except BrokenVideoError:
            frames = _collect(video, wanted, stored)
    return turn(np.stack([frames[i] for i in wanted])[places], video.rotation)


def stream(video, first=0, stop=None, deinterlace=False):
    """Yields (number, frame uint8 (height, width, 3) upright RGB) for first <= number < stop, a few frames held at a
    time. Decoding starts at the last keyframe before `first`.

    deinterlace: frames of an interlaced video are made whole (FFmpeg's bwdif, with the frames around each); any other
    video is left as it is. Raises BrokenVideoError where a frame does not decode.
    """
    stop = video.frames if stop is None else stop
    stored = _stored(video, video.height, video.width)  # the first frame's; a later one may have another size
    whole = deinterlace and video.interlaced  # which looks at the frame before, too
    frames = _decoded(video, key_before(video, first), 0 if whole else first)
    due = first
    for number, frame in _whole(frames) if whole else frames:
        if number is None or number < due:
            continue
        if number > due or frame.is_corrupt:
            raise BrokenVideoError(f'frame {due} is damaged')
        yield number, np.ascontiguousarray(turn(resize(_rgb(frame), *stored)[None], video.rotation)[0])
        due += 1
        if due >= stop:
            return
    raise BrokenVideoError(f'frame {due} of {video.frames} does not decode')


def _whole(frames):
    """The (number, frame) of an interlaced video, each frame with lines of one moment only; it comes one behind."""
    import av

    graph, kind, numbers = None, None, collections.deque()

    def ready():
        with contextlib.suppress(av.BlockingIOError, av.EOFError):
            while graph is not None:
                made = graph.vpull()
                yield numbers.popleft(), made

    with _reasons():
        for number, frame in frames:
            if kind != (kind := (frame.width, frame.height, frame.format.name)):
                if graph is not None:
                    graph.push(None)
                yield from ready()
                graph = av.filter.Graph()
                source = graph.add_buffer(None, *kind, time_base=frame.time_base)
                bwdif = graph.add('bwdif', 'mode=send_frame:deint=interlaced')
                graph.link_nodes(source, bwdif, graph.add('buffersink')).configure()
            numbers.append(number)
            graph.push(frame)
            yield from ready()
        graph.push(None)
        yield from ready()


def _stored(video, height, width):
    """(height, width) of the upright picture as they lie in the file."""
    return (height, width) if video.rotation % 180 == 0 else (width, height)


def key_before(video, number):
    """The timestamp of the last keyframe at or before a frame, None for the start of the file."""
    if video.pts is None:
        return None
    key = video.keys[max(np.searchsorted(video.keys, video.pts[number], 'right') - 1, 0)]
    return None if key == video.keys[0] else int(key)


def _decoded(video, key=None, due=0, budget=None):
    """Yields (number or None, PyAV's frame) from the keyframe with timestamp `key` on; at most `budget` pixels.

    Before frame number `due` those may be missing that no other frame leans on: they are not decoded.
    """
    before = video.pts[due] if video.codec == 'h264' and video.pts is not None else None
    with opened(video.path, video.limits) as (container, stream):
        context = stream.codec_context
        if key is not None:
            # The first packet can say which encoder's mistakes to allow for (x264 4:4:4): read it, decode no picture.
            context.skip_frame = 'ALL'
            next(container.demux(stream)).decode()
            context.skip_frame = 'DEFAULT'
            container.seek(key, stream=stream, backward=True)
        count = 0
        for packet in container.demux(stream):
            if before is not None:
                early = packet.pts is not None and packet.pts < before
                context.skip_frame = 'NONREF' if early else 'DEFAULT'
            for frame in packet.decode():
                video.limits.check_size(frame.width, frame.height)
                if budget is not None and (budget := budget - frame.width * frame.height) < 0:
                    raise BrokenVideoError(f'reading it decodes more than {video.limits.read_pixels} pixels')
                yield count if video.pts is None else _number(video, frame.pts), frame
                count += 1


def _number(video, stamp):
    """Of the frame with this timestamp, None where there is none."""
    if stamp is None:
        return None
    number = int(np.searchsorted(video.pts, stamp))
    return number if number < len(video.pts) and video.pts[number] == stamp else None


def _collect(video, wanted, size, key=None):
    """{number: frame uint8 (*size, 3)} of the wanted numbers, decoding from the keyframe with timestamp `key`."""
    wanted = set(wanted.tolist())
    frames = {}
    for number, frame in _decoded(video, key, min(wanted), video.limits.read_pixels):
        if frame.is_corrupt and (number in wanted or key is not None):
            raise BrokenVideoError(f'frame {number} is damaged')
        if number in wanted:
            frames[number] = resize(_rgb(frame), *size)
        if len(frames) == len(wanted):
            return frames
    raise BrokenVideoError(f'frame {min(wanted - frames.keys())} of {video.frames} does not decode')


def _rgb(frame):
    """uint8 (H, W, 3); palettes resolved, transparency over white."""
    clear = frame.format.has_palette or any(component.is_alpha for component in frame.format.components)
    with _reasons():
        if not hasattr(_own, 'converter'):
            from av.video.reformatter import VideoReformatter

            _own.converter = VideoReformatter()
        pixels = _own.converter.reformat(frame, format='rgba' if clear else 'rgb24', threads=1).to_ndarray()
    return over_white(pixels) if clear else pixels


_own = threading.local()  # a thread's converter of colours: to make one takes longer than to use it on a small frame
