"""Decoding some frames of a file: from the key before them, and from its start where that gives other pictures."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from vdm_jax.data.video.broken import BrokenVideoError, damaged_picture, no_picture
from vdm_jax.data.video.container import open_video
from vdm_jax.data.video.packets import mark_of, number_packets
from vdm_jax.data.video.picture import digest_of

EARLIER_KEYS = 0, 1, 4  # how many keys before the wanted one are sought, where seeking leads beyond it


class SeekError(BrokenVideoError):
    """A key whose place in the file is not met by seeking."""


def decode_numbers(video, numbers: Sequence[int], most: int | None = None) -> Iterator[tuple]:
    """Yields (number, PyAV frame) for each of the rising numbers; at most `most` pixels are decoded in one go.

    Raises BrokenVideoError where one of them does not decode.
    """
    done = 0
    key = video.index.key_before(numbers[0]) if len(numbers) else 0
    # Seeking to the key, passing over what lies before it, and decoding all from the start: each gives the same.
    ways = [(key, True), (key, False), (0, False)] if key else [(0, False)]
    while ways and done < len(numbers):
        way = ways.pop(0)
        try:
            for pair in _decode_from(video, numbers[done:], *way, most):
                yield pair
                done += 1
        except SeekError:
            continue
        except BrokenVideoError:
            if way == (0, False):
                raise
            ways = [(0, False)]


def _decode_from(video, numbers, key, seeks, most):
    """Yields (number, frame) of the rising numbers.

    key: at which of index.keys decoding begins. seeks: whether by going to its place, or by passing over the packets
    before it.
    """
    index, due = video.index, 0
    number_frames = _FrameNumbers(index)
    with open_video(video.path, video.limits, index.stream, index.any_order) as (container, stream):
        if key:
            packets = (_seek_packets if seeks else _skip_packets)(container, stream, index, key)
        else:
            packets = number_packets(container.demux(stream))
        for frame in _decode(stream.codec_context, packets, _early_packets(index, key, numbers[0]), not key):
            video.limits.check_size(frame.width, frame.height)
            if most is not None and (most := most - frame.width * frame.height) < 0:
                raise BrokenVideoError(f'reading it decodes more than {video.limits.read_pixels} pixels')
            number, wanted = number_frames(frame.pts), numbers[due]
            if frame.is_corrupt and (number == wanted or key):
                raise damaged_picture(_seconds(index, wanted))
            if number > wanted:
                raise no_picture(_seconds(index, wanted))
            if number < wanted:
                continue
            if key and len(index.digests) and digest_of(frame) != index.digests[number]:
                raise BrokenVideoError(f'decoding from a key gives another picture for frame {number}')
            yield number, frame
            due += 1
            if due == len(numbers):
                return
        raise no_picture(_seconds(index, numbers[due]))


def _decode(context, packets, early, is_start):
    """Yields the frames of (number, packet) pairs. early: numbers of packets whose frame may be left out. is_start:
    whether they are the first of their file, which may lean on what is not there.
    """
    import av

    for number, packet in packets:
        if early:
            context.skip_frame = 'NONREF' if number in early else 'DEFAULT'
        try:
            frames = context.decode(packet)
        except av.InvalidDataError:
            if not is_start:
                raise
            continue
        is_start = is_start and not frames
        yield from frames


def _seek_packets(container, stream, index, key):
    """Yields (number, packet) from a key on, found by its place in the file."""
    import av

    key_numbers, target = _numbers_by_mark(index), int(index.keys[key])
    _show_first_packet(container.demux(stream), stream, index)
    for back in EARLIER_KEYS:
        try:
            container.seek(int(index.key_stamps[max(key - back, 0)]), stream=stream)
            packets = container.demux(stream)
            packet = next(packet for packet in packets if packet.size and mark_of(packet) in key_numbers)
        except (av.FFmpegError, StopIteration):
            break
        number = key_numbers[mark_of(packet)]
        if number <= target:
            yield from _drop_before(target, number_packets(itertools.chain([packet], packets), number))
            return
    raise SeekError('a key is not where it was')


def _skip_packets(container, stream, index, key):
    """Yields (number, packet) from a key on; those before are read, and not decoded."""
    packets = container.demux(stream)
    first = _show_first_packet(packets, stream, index)
    yield from _drop_before(int(index.keys[key]), number_packets(itertools.chain(first, packets)))


def _show_first_packet(packets, stream, index):
    """[the first packet], of H.264 shown to the decoder: it can say which encoder's mistakes to allow for (x264 4:4:4).
    No picture of it is decoded.
    """
    if index.codec != 'h264':
        return []
    packet = next(packets)
    stream.codec_context.skip_frame = 'ALL'
    stream.codec_context.decode(packet)
    stream.codec_context.skip_frame = 'DEFAULT'
    return [packet]


def _numbers_by_mark(index):
    """{mark: number of the packet} of the keys that no other has the mark of."""
    marks, firsts, counts = np.unique(index.key_marks, return_index=True, return_counts=True)
    single = counts == 1
    return dict(zip(marks[single].tolist(), index.keys[firsts[single]].tolist(), strict=True))


def _drop_before(target, packets):
    for number, packet in packets:
        if number >= target:
            yield number, packet


def _early_packets(index, key, first):
    """Packets of H.264 before frame number `first` that may stay undecoded where no other frame leans on them; none
    where it takes decoding to know what a packet holds.
    """
    if index.codec != 'h264' or len(index.digests):
        return set()
    return set(index.packets[index.key_frames[key] : first].tolist())


class _FrameNumbers:
    """Numbers of frames as they leave a decoder, by the packet that each was coded in."""

    def __init__(self, index):
        self._packets, self._latest = index.packets, {}
        self._first = np.full(int(index.packets.max()) + 1, -1)
        self._first[index.packets[::-1]] = np.arange(index.frames)[::-1]

    def __call__(self, packet: int | None) -> int:
        """The number of the next frame of a packet, -1 where it has none that is shown."""
        if packet is None or not 0 <= packet < len(self._first):
            return -1
        number = int(self._first[packet])
        if packet in self._latest:  # it has several
            later = np.flatnonzero(self._packets == packet)
            later = later[later > self._latest[packet]]
            number = int(later[0]) if len(later) else -1
        self._latest[packet] = number
        return number


def _seconds(index, number):
    return index.start + float(index.times[number])
