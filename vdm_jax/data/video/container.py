"""Open video files: by what they hold, never by what their name says; whatever is wrong is BrokenVideoError.

Files, by path or as the bytes in them, come from anywhere, so they are opened with a list of allowed formats (a
playlist dressed up as an mp4 would open other files and addresses), and names are never read as addresses or options.
"""

import contextlib
import errno
import io
import os
import stat
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO, cast

from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.limits import Limits
from vdm_jax.errors import UserError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

FORMATS = 'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf'
# Pictures that are no video, FFmpeg's AV_DISPOSITION_*: of a cover, a still, thumbnails on the way.
NO_VIDEO = 0x400 | 0x100000 | 0x800
DEFAULT = 1  # AV_DISPOSITION_DEFAULT
HEAD = 32  # bytes
TOO_MANY_OPEN = errno.EMFILE, errno.ENFILE  # no fault of the file


@contextlib.contextmanager
def open_video(
    path: str | bytes, limits: Limits, number: int | None = None, any_order: bool = False
) -> Iterator[tuple['InputContainer', 'VideoStream']]:
    """Open a file and a video stream of it; whatever goes wrong in the context is raised as BrokenVideoError.

    Args:
      path: Of the file, or the bytes in it.
      limits: What it may ask for.
      number: Of the stream in its file; None: the one that a player takes.
      any_order: Whether a decoder of H.264 waits for frames in any order that the codec allows; else it trusts what
        the stream says of that, or guesses.
    """
    try:
        import av
    except ImportError:
        raise UserError("reading video needs PyAV, which is not installed: pip install 'vdm_jax[video]'") from None

    # Decoders look at max_pixels before they allocate.
    max_pixels = {'max_pixels': str(limits.frame_pixels)}
    options = {'format_whitelist': FORMATS, 'protocol_whitelist': 'file', **max_pixels}
    with translate_errors(), _openable(path) as file:
        try:
            if int(av.__version__.split('.')[0]) < 19:
                # Titles that are no text are errors there.
                container = av.open(file, 'r', options=options, metadata_errors='replace')
            else:
                container = av.open(file, 'r', options=options)
        except av.ArgumentError:
            raise BrokenVideoError('a kind of file that is not read') from None

        with container:
            stream = _main_stream(container) if number is None else cast('VideoStream', container.streams[number])
            limits.check_size(stream.width, stream.height)
            context = stream.codec_context
            context.options = max_pixels | ({'strict': '1'} if any_order and context.name == 'h264' else {})
            # The loader runs many files at once; frame threads only add delay.
            context.thread_count = 1
            try:
                yield container, stream
            except av.ArgumentError as error:
                # Decoders answer so to max_pixels too, and forget their size over it.
                if 0 < context.width * context.height <= limits.frame_pixels:
                    raise BrokenVideoError(f'its decoder refuses it: {error.strerror}') from None
                raise BrokenVideoError(f'frames beyond the limit of {limits.frame_pixels} pixels') from None


def time_base_of(stream: 'VideoStream') -> Fraction:
    """Return the seconds of one tick of a stream's timestamps.

    Raises:
      BrokenVideoError: The file does not say.
    """
    if stream.time_base is None:
        raise BrokenVideoError('its timestamps have no unit')
    return stream.time_base


def video_streams(container: 'InputContainer') -> list['VideoStream']:
    """Return the streams that are videos, neither covers nor thumbnails.

    Raises:
      BrokenVideoError: There is none.
    """
    streams = [stream for stream in container.streams.video if not int(stream.disposition) & NO_VIDEO]
    if not streams:
        raise BrokenVideoError('no video in it')
    return streams


def _main_stream(container: 'InputContainer') -> 'VideoStream':
    """Return the stream that players take: the one flagged as the default, then the largest, then the first."""
    decodable = [stream for stream in video_streams(container) if stream.codec_context is not None]
    if not decodable:
        raise BrokenVideoError('no decoder for its codec')
    defaults = [stream for stream in decodable if int(stream.disposition) & DEFAULT]
    return max(defaults or decodable, key=lambda stream: stream.width * stream.height)


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Raise what FFmpeg and PyAV complain of as BrokenVideoError."""
    import av

    try:
        yield
    except (av.FFmpegError, OSError, ValueError, ArithmeticError, MemoryError) as error:
        if getattr(error, 'errno', None) in TOO_MANY_OPEN:
            raise
        raise BrokenVideoError(getattr(error, 'strerror', None) or str(error) or type(error).__name__) from error


@contextlib.contextmanager
def _openable(path: str | bytes) -> Iterator[str | BinaryIO]:
    """Return what PyAV is to open: never a name that FFmpeg could take for an address or for more than one file."""
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


def open_bytes(path: str | bytes) -> BinaryIO:
    """Open a file for reading, by its path or as the bytes in it."""
    return io.BytesIO(path) if isinstance(path, bytes) else open(path, 'rb')


def read_head(path: str | bytes) -> bytes:
    """Return the first bytes of a file, HEAD at most, which show what it is.

    Raises:
      BrokenVideoError: It is no file with something in it that may be read.
    """
    if isinstance(path, bytes):
        return path[:HEAD]
    try:
        if '\0' in path:
            raise BrokenVideoError('no such file')
        status = os.stat(path)
        # A pipe would be waited for.
        if not stat.S_ISREG(status.st_mode):
            raise BrokenVideoError('a folder' if stat.S_ISDIR(status.st_mode) else 'no ordinary file')
        if not status.st_size:
            raise BrokenVideoError('an empty file')
        with open(path, 'rb') as file:
            return file.read(HEAD)
    except OSError as error:
        if error.errno in TOO_MANY_OPEN:
            raise
        raise BrokenVideoError(error.strerror) from None
