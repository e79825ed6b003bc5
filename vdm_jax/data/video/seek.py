"""Decode some frames of a file: from the key before them, and from its start where that gives other pictures."""

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vdm_jax.data.video.broken import BrokenVideoError, damaged_picture, no_picture
from vdm_jax.data.video.container import open_video
from vdm_jax.data.video.index import Index
from vdm_jax.data.video.packets import mark_of, number_packets
from vdm_jax.data.video.picture import digest_frame

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from vdm_jax.data.video.decode import Video
    from vdm_jax.data.video.packets import VideoPacket

    NumberedPackets = Iterator[tuple[int, VideoPacket | None]]

# How many keys before the wanted one are sought: a container's own index may lead beyond it, or have gaps.
EARLIER_KEYS = 0, 1, 4


class SeekError(BrokenVideoError):
    """A key that seeking does not find where the index says it lies."""


def decode_at(
    video: 'Video', numbers: Sequence[int] | np.ndarray, max_pixels: int | None = None
) -> Iterator[tuple[int, 'VideoFrame']]:
    """Yield (number, frame) for each of the rising numbers; at most `max_pixels` are decoded in one attempt.

    Raises:
      BrokenVideoError: One of them does not decode.
    """
    done = 0
    key = video.index.key_before(numbers[0]) if len(numbers) else 0
    # (key, whether to seek). To seek to the key, to skip what lies before it, and to decode all from the start: each
    # gives the same frames, and where one fails the next goes on.
    attempts = [(key, True), (key, False), (0, False)] if key else [(0, False)]
    while attempts and done < len(numbers):
        attempt_key, seeks = attempts.pop(0)
        try:
            for number, frame in _decode_from(video, numbers[done:], attempt_key, seeks, max_pixels):
                yield number, frame
                done += 1
        except SeekError:
            continue
        except BrokenVideoError:
            if not attempt_key:
                raise
            attempts = [(0, False)]


def _decode_from(
    video: 'Video', numbers: Sequence[int] | np.ndarray, key: int, seeks: bool, max_pixels: int | None
) -> Iterator[tuple[int, 'VideoFrame']]:
    """Yield (number, frame) of the rising numbers.

    Args:
      video: The file and its index.
      numbers: Of frames.
      key: At which of index.keys decoding begins.
      seeks: Whether by seeking to its position, or by skipping the packets before it.
      max_pixels: How many may be decoded; None: any number.
    """
    index = video.index
    frame_numbers = _FrameNumbers(index)
    due = 0  # which of the numbers comes next
    pixels = 0
    with open_video(video.path, video.limits, index.stream, index.any_order) as (container, stream):
        if not key:
            packets = number_packets(container.demux(stream))
        elif seeks:
            packets = _seek_packets(container, stream, index, key)
        else:
            packets = _skip_packets(container, stream, index, key)
        droppable = _droppable_packets(index, key, numbers[0])
        for frame in _decode(stream.codec_context, packets, droppable, is_start=not key):
            video.limits.check_size(frame.width, frame.height)
            pixels += frame.width * frame.height
            if max_pixels is not None and pixels > max_pixels:
                raise BrokenVideoError(f'reading it decodes more than {video.limits.read_pixels} pixels')

            number = frame_numbers.take(frame.pts)
            wanted = numbers[due]
            # What is damaged before a key was decoded without what it refers to, and shows nothing.
            if frame.is_corrupt and (number == wanted or key):
                raise damaged_picture(_seconds_of(index, wanted))
            if number > wanted:
                raise no_picture(_seconds_of(index, wanted))
            if number < wanted:
                continue
            # The digests are of a decode from the start, which needs no comparing.
            if key and len(index.digests) and digest_frame(frame) != index.digests[number]:
                raise BrokenVideoError(f'decoding from a key gives another picture for frame {number}')
            yield number, frame
            due += 1
            if due == len(numbers):
                return
        raise no_picture(_seconds_of(index, numbers[due]))


def _decode(
    context: 'VideoCodecContext', packets: 'NumberedPackets', droppable: Collection[int], is_start: bool
) -> Iterator['VideoFrame']:
    """Yield the frames of numbered packets.

    Args:
      context: The decoder.
      packets: (number, packet) pairs.
      droppable: Numbers of packets whose frame may be left out.
      is_start: Whether they are the first of their file, which may refer to what is not there.
    """
    import av

    for number, packet in packets:
        if droppable:
            # A frame that no other refers to costs the decoder nothing then; any other it decodes all the same.
            context.skip_frame = 'NONREF' if number in droppable else 'DEFAULT'
        try:
            frames = context.decode(packet)
        except av.InvalidDataError:
            if not is_start:
                raise
            continue
        is_start = is_start and not frames
        yield from frames


def _seek_packets(container: 'InputContainer', stream: 'VideoStream', index: Index, key: int) -> 'NumberedPackets':
    """Yield (number, packet) from a key on, found by its position in the file."""
    import av

    key_numbers = _numbers_by_mark(index)
    target = int(index.keys[key])
    _show_first_packet(container.demux(stream), stream, index)
    for back in EARLIER_KEYS:
        try:
            container.seek(int(index.key_stamps[max(key - back, 0)]), stream=stream)
            packets = container.demux(stream)
            packet = next(packet for packet in packets if packet.size and mark_of(packet) in key_numbers)
        except (av.FFmpegError, StopIteration):
            break
        # Where seeking led is seen from the packet itself, as containers and their indexes are off by some.
        number = key_numbers[mark_of(packet)]
        if number <= target:
            yield from _drop_before(target, number_packets(itertools.chain([packet], packets), number))
            return
    raise SeekError('a key is not where it was')


def _skip_packets(container: 'InputContainer', stream: 'VideoStream', index: Index, key: int) -> 'NumberedPackets':
    """Yield (number, packet) from a key on; those before are read, and not decoded."""
    packets = container.demux(stream)
    first = _show_first_packet(packets, stream, index)
    yield from _drop_before(int(index.keys[key]), number_packets(itertools.chain(first, packets)))


def _show_first_packet(packets: 'Iterator[VideoPacket]', stream: 'VideoStream', index: Index) -> list['VideoPacket']:
    """Take the first packet of H.264 and show it to the decoder; no picture of it is decoded.

    It may name the encoder, whose mistakes the decoder then allows for (x264 4:4:4).
    """
    if index.codec != 'h264':
        return []
    packet = next(packets)
    stream.codec_context.skip_frame = 'ALL'
    stream.codec_context.decode(packet)
    stream.codec_context.skip_frame = 'DEFAULT'
    return [packet]


def _numbers_by_mark(index: Index) -> dict[int, int]:
    """Return the numbers of the packets of the keys, by their marks, without marks that several have."""
    marks, firsts, counts = np.unique(index.key_marks, return_index=True, return_counts=True)
    is_unique = counts == 1
    return dict(zip(marks[is_unique].tolist(), index.keys[firsts[is_unique]].tolist(), strict=True))


def _drop_before(target: int, packets: 'NumberedPackets') -> 'NumberedPackets':
    for number, packet in packets:
        if number >= target:
            yield number, packet


def _droppable_packets(index: Index, key: int, first: int) -> set[int]:
    """Return the packets before frame number `first` that may stay undecoded where no other frame refers to them.

    Only of H.264, and none where it takes decoding to know what a packet holds.
    """
    # dav1d, for one, takes `skip_frame` once, when it is opened, and then gives keys alone to the end of the file.
    if index.codec != 'h264' or len(index.digests):
        return set()
    return set(index.packets[index.key_frames[key] : first].tolist())


class _FrameNumbers:
    """Numbers of frames as they leave a decoder, by the packet that each was coded in."""

    def __init__(self, index: Index):
        self._packets = index.packets
        self._latest: dict[int, int] = {}
        self._first = np.full(int(index.packets.max()) + 1, -1)
        # Backwards, so that of several frames of a packet the first remains.
        self._first[index.packets[::-1]] = np.arange(index.frames)[::-1]

    def take(self, packet: int | None) -> int:
        """Return the number of the next frame of a packet, -1 where it has none that is shown."""
        if packet is None or not 0 <= packet < len(self._first):
            return -1
        number = int(self._first[packet])
        if packet in self._latest:  # it has several
            later = np.flatnonzero(self._packets == packet)
            later = later[later > self._latest[packet]]
            number = int(later[0]) if len(later) else -1
        self._latest[packet] = number
        return number


def _seconds_of(index: Index, number: int) -> float:
    return index.start + float(index.times[number])
