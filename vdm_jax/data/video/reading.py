"""Decoding some frames of a file: from the key before them, and from its start where that gives other pictures."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from vdm_jax.data.video.container import open_video
from vdm_jax.data.video.from_decoding import damaged_picture, no_picture, numbered
from vdm_jax.data.video.index import mark_of
from vdm_jax.data.video.limits import BrokenVideoError
from vdm_jax.data.video.picture import digest_of

BACK = 0, 1, 4  # keys before the one that is sought, where its place is not met


class UnsoughtError(BrokenVideoError):
    """A key whose place in the file cannot be gone to."""


def frames_of(video, numbers: Sequence[int], most: int | None = None) -> Iterator[tuple]:
    """Yields (number, PyAV frame) for each of the rising numbers; at most `most` pixels are decoded at a time.

    Raises BrokenVideoError where one of them does not decode.
    """
    done = 0
    position = video.index.key_before(numbers[0]) if len(numbers) else 0
    ways = [(position, True), (position, False), (0, False)] if position else [(0, False)]
    while ways and done < len(numbers):
        way = ways.pop(0)
        try:
            for pair in _pass(video, numbers[done:], *way, most):
                yield pair
                done += 1
        except UnsoughtError:
            continue
        except BrokenVideoError:
            if way == (0, False):
                raise
            ways = [(0, False)]


def _pass(video, numbers, position, seek, most):
    """Yields (number, frame) of the rising numbers, decoding from a key on; every other way of reading them gives the
    same. position: of the key in index.keys. seek: whether to go to its place, or to pass over the packets before."""
    index, due = video.index, 0
    number_of, begin = _Numbers(index), position > 0
    with open_video(video.path, video.limits, index.stream, index.any_order) as (container, stream):
        context = stream.codec_context
        if begin:
            packets = (_sought if seek else _passed)(container, stream, index, position)
        else:
            packets = numbered(container.demux(stream))
        early = _early_packets(index, position, numbers[0])
        for packet_number, packet in packets:
            if early:
                context.skip_frame = 'NONREF' if packet_number in early else 'DEFAULT'
            for frame in context.decode(packet):
                video.limits.check_size(frame.width, frame.height)
                if most is not None and (most := most - frame.width * frame.height) < 0:
                    raise BrokenVideoError(f'reading it decodes more than {video.limits.read_pixels} pixels')
                number = number_of(frame.pts)
                is_due = number == numbers[due]
                if frame.is_corrupt and (is_due or begin):
                    raise damaged_picture(_seconds(index, numbers[due]))
                if number > numbers[due]:
                    raise no_picture(_seconds(index, numbers[due]))
                if not is_due:
                    continue
                if begin and len(index.digests) and digest_of(frame) != index.digests[number]:
                    raise BrokenVideoError(f'decoding from a key gives another picture for frame {number}')
                yield number, frame
                due += 1
                if due == len(numbers):
                    return
        raise no_picture(_seconds(index, numbers[due]))


def _sought(container, stream, index, position):
    """Yields (number, packet) from a key on, from its place in the file."""
    import av

    known, target = _known(index), int(index.keys[position])
    _see_first(container.demux(stream), stream, index)
    for back in BACK:
        try:
            container.seek(int(index.key_stamps[max(position - back, 0)]), stream=stream)
            packets = container.demux(stream)
            packet = next(packet for packet in packets if packet.size and known.get(mark_of(packet)) is not None)
        except (av.FFmpegError, StopIteration):
            break
        number = known[mark_of(packet)]
        if number <= target:
            yield from _from(target, numbered(itertools.chain([packet], packets), number))
            return
    raise UnsoughtError('a key is not where it was')


def _passed(container, stream, index, position):
    """Yields (number, packet) from a key on; those before are passed over."""
    packets = container.demux(stream)
    first = _see_first(packets, stream, index)
    yield from _from(int(index.keys[position]), numbered(itertools.chain(first, packets)))


def _see_first(packets, stream, index):
    """[the first packet], of H.264 shown to the decoder: it can say which encoder's mistakes to allow for (x264 4:4:4).
    No picture of it is decoded."""
    if index.codec != 'h264':
        return []
    packet = next(packets)
    stream.codec_context.skip_frame = 'ALL'
    stream.codec_context.decode(packet)
    stream.codec_context.skip_frame = 'DEFAULT'
    return [packet]


def _known(index):
    """{mark: number} of the keys; None where several have it."""
    known = {}
    for mark, number in zip(index.key_marks.tolist(), index.keys.tolist(), strict=True):
        known[mark] = None if mark in known else number
    return known


def _from(target, packets):
    for number, packet in packets:
        if number >= target:
            yield number, packet


def _early_packets(index, position, first):
    """Packets of H.264 before frame number `first` that may stay undecoded where no other frame leans on them; none
    where it takes decoding to know what a packet holds."""
    if index.codec != 'h264' or len(index.digests):
        return set()
    return set(index.packets[index.key_frames[position] : first].tolist())


class _Numbers:
    """Frames by the packet that they were coded in, as they come from a decoder."""

    def __init__(self, index):
        self._packets, self._last = index.packets, {}
        self._first = np.full(int(index.packets.max()) + 1, -1)
        self._first[index.packets[::-1]] = np.arange(index.frames)[::-1]

    def __call__(self, packet: int | None) -> int:
        """The number of the next frame of a packet, -1 where it has none that is shown."""
        if packet is None or not 0 <= packet < len(self._first):
            return -1
        number = int(self._first[packet])
        if packet in self._last:  # a packet with several frames
            later = np.flatnonzero(self._packets == packet)
            number = (
                int(later[later > self._last[packet]].min(initial=-1)) if (later > self._last[packet]).any() else -1
            )
        self._last[packet] = number
        return number


def _seconds(index, number):
    return index.start + float(index.times[number])
