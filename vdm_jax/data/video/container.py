"""Video files, opened: by what they hold, never by what their name says, and whatever is wrong is BrokenVideoError.

Files, by path or as the bytes in them, come from anywhere, so they are opened with a list of allowed formats (a
playlist dressed up as an mp4 would open other files and addresses), and names are never read as addresses or options.
"""

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator

from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.limits import Limits
from vdm_jax.errors import UserError

FORMATS = 'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf'
# Pictures that are no video, FFmpeg's AV_DISPOSITION_*: of a cover, a still, thumbnails on the way.
NO_VIDEO = 0x400 | 0x100000 | 0x800
DEFAULT = 1  # AV_DISPOSITION_DEFAULT
HEAD = 32  # bytes
TOO_MANY_OPEN = errno.EMFILE, errno.ENFILE  # no fault of the file


@contextlib.contextmanager
def open_video(
    path: str | bytes, limits: Limits, number: int | None = None, any_order: bool = False
) -> Iterator[tuple]:
    """(PyAV's container, a video stream of it), open; whatever goes wrong inside comes out as BrokenVideoError.

    number: of the stream in its file; None: the one that a player takes. any_order: whether a decoder of H.264 waits
    for frames in any order that the codec allows; else it trusts what the stream says of that, or guesses.
    """
    try:
        import av
    except ImportError:
        raise UserError("reading video needs PyAV, which is not installed: pip install 'vdm_jax[video]'") from None
    most = {'max_pixels': str(limits.frame_pixels)}  # decoders ask before they allocate
    options = {'format_whitelist': FORMATS, 'protocol_whitelist': 'file', **most}
    lenient = (
        {'metadata_errors': 'replace'} if int(av.__version__.split('.')[0]) < 19 else {}
    )  # titles that are no text
    with reasons(), _file(path) as file:
        try:
            container = av.open(file, options=options, **lenient)
        except av.ArgumentError:
            raise BrokenVideoError('a kind of file that is not read') from None
        with container:
            stream = _main_stream(container) if number is None else container.streams[number]
            limits.check_size(stream.width, stream.height)
            context = stream.codec_context
            context.options = most | ({'strict': '1'} if any_order and context.name == 'h264' else {})
            context.thread_count = 1  # the loader runs many files at once; frame threads only add delay
            try:
                yield container, stream
            except av.ArgumentError as error:  # also what decoders answer to max_pixels, and forget their size over it
                if 0 < context.width * context.height <= limits.frame_pixels:
                    raise BrokenVideoError(f'its decoder refuses it: {error.strerror}') from None
                raise BrokenVideoError(f'frames beyond the limit of {limits.frame_pixels} pixels') from None


def video_streams(container) -> list:
    """The streams that are videos, not covers nor thumbnails; raises BrokenVideoError where there is none."""
    streams = [stream for stream in container.streams.video if not int(stream.disposition) & NO_VIDEO]
    if not streams:
        raise BrokenVideoError('no video in it')
    return streams


def _main_stream(container):
    """The one that players take: flagged as the default, then the largest, then the first."""
    decodable = [stream for stream in video_streams(container) if stream.codec_context is not None]
    if not decodable:
        raise BrokenVideoError('no decoder for its codec')
    flagged = [stream for stream in decodable if int(stream.disposition) & DEFAULT]
    return max(flagged or decodable, key=lambda stream: stream.width * stream.height)


@contextlib.contextmanager
def reasons() -> Iterator[None]:
    """What FFmpeg and PyAV complain of, as BrokenVideoError."""
    import av

    try:
        yield
    except (av.FFmpegError, OSError, ValueError, ArithmeticError, MemoryError) as error:
        if getattr(error, 'errno', None) in TOO_MANY_OPEN:
            raise
        raise BrokenVideoError(getattr(error, 'strerror', None) or str(error) or type(error).__name__) from error


@contextlib.contextmanager
def _file(path):
    """What PyAV is to open: never a name that FFmpeg could take for an address or for more than one file."""
    if isinstance(path, bytes):
        yield io.BytesIO(path)
        return
    try:
        str(path).encode()
    except UnicodeEncodeError:  # a name that is not UTF-8, which PyAV cannot pass on
        with open(path, 'rb') as file:
            yield file
    else:
        yield f'file:{path}'


def head_of(path: str | bytes) -> bytes:
    """The first bytes of a file, HEAD at most, which tell what it is.

    Raises BrokenVideoError for what is no file with something in it that may be read.
    """
    if isinstance(path, bytes):
        return path[:HEAD]
    try:
        if '\0' in path:
            raise BrokenVideoError('no such file')
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
            raise BrokenVideoError('a folder' if stat.S_ISDIR(about.st_mode) else 'no ordinary file')
        if not about.st_size:
            raise BrokenVideoError('an empty file')
        with open(path, 'rb') as file:
            return file.read(HEAD)
    except OSError as error:
        if error.errno in TOO_MANY_OPEN:
            raise
        raise BrokenVideoError(error.strerror) from None
