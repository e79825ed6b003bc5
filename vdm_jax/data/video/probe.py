"""A video file -> its index, of packets where these suffice, else by decoding it once."""

import numpy as np

from vdm_jax.data.video import animation, store
from vdm_jax.data.video.container import head_of, open_video, video_streams
from vdm_jax.data.video.cropping import cropping
from vdm_jax.data.video.from_decoding import decode_frames
from vdm_jax.data.video.from_packets import Walk
from vdm_jax.data.video.index import Index, rate, usual_step
from vdm_jax.data.video.limits import BrokenVideoError, Limits
from vdm_jax.data.video.picture import Orientation, display_matrix

USUAL_RATE = 25.0  # where a file says nothing, and has one frame
ASPECT = 16.0  # pixels wider or higher than this many to one are a mistake
TIMED = 'matroska', 'flv', 'asf'  # formats whose header tells how long the whole is, and no number of frames


def index_of(path: str | bytes, limits: Limits) -> Index:
    """The index of a file, or of the bytes in one; that of a file is kept on disk.

    Raises BrokenVideoError if nothing decodes, if it asks for more than `limits`, or if the file ends before the number
    of frames (mp4, avi) or the time (webm, mkv, flv, wmv) that its header promises; other formats promise neither.
    """
    head = head_of(path)
    index = None if isinstance(path, bytes) else store.load(path)
    if index is None:
        index = _animation(path, head, limits) if animation.is_animation(head) else _video(path, limits)
        if not isinstance(path, bytes):
            store.save(path, index)
    limits.check_frames(index.frames)
    limits.check_seconds(index.seconds)
    return index


def _animation(path, head, limits):
    durations, shape = [], None
    for frame, microseconds in animation.frames(path, limits):
        shape = shape or frame.shape
        durations.append(microseconds)
    ends = np.cumsum(durations, dtype=np.int64)
    fps = rate(ends - durations, int(ends[-1]), 1e-6)
    codec = animation.codec_of(head)
    return Index(codec, codec, *shape[:2], fps, 1e-6, ends - durations, int(ends[-1]))


def _video(path, limits):
    with open_video(path, limits) as (container, stream):
        packets, first, frames = _walk(container, stream, limits)
        said = float(stream.average_rate or stream.guessed_rate or USUAL_RATE)
        about = _about(container, stream, said)
        numbers = [each.index for each in video_streams(container)]
        began = (container.start_time or 0) / 1e6
    number, unit, container = (about[name] for name in ('stream', 'unit', 'container'))
    if frames is None:
        with open_video(path, limits, number, any_order=True) as (whole, stream):
            frames = decode_frames(whole, stream, packets, limits, said)
    crop = cropping(path, container, numbers.index(number), first.height, first.width)
    matrix = display_matrix(first)
    end = int(frames.pts[-1]) + _last_duration(packets, frames, usual_step(frames.pts, said, unit))
    return Index(
        **about,
        streams=len(numbers),
        height=first.height - crop[0] - crop[1],
        width=first.width - crop[2] - crop[3],
        fps=rate(frames.pts, end, unit, said),
        pts=frames.pts,
        end=end,
        crop=crop,
        orientation=Orientation.of_matrix(matrix) if matrix else Orientation(),
        start=_start(float(frames.pts[0]) * unit - began),
        packets=np.array(frames.packets, np.int32),
        keys=np.array(frames.keys, np.int64),
        key_stamps=np.array([_seek_stamp(packets[k], container) for k in frames.keys], np.int64),
        key_marks=np.array([packets[k].mark for k in frames.keys], np.int64),
        digests=np.array(frames.digests, np.uint32),
        any_order=frames.any_order,
        interlaced=frames.interlaced,
    )


def _about(container, stream, said):
    """The fields of an index that are the file's own words."""
    context = stream.codec_context
    aspect = float(stream.sample_aspect_ratio or context.sample_aspect_ratio or 1)
    return {
        'codec': context.codec.canonical_name,
        'container': container.format.name,
        'unit': float(stream.time_base),
        'stream': stream.index,
        'pixel_aspect': aspect if 1 / ASPECT <= aspect <= ASPECT else 1.0,
    }


def _walk(container, stream, limits):
    """(its packets, the first good frame, Frames where the packets suffice to know them, else None)."""
    walk, promised = Walk(container, stream), _promised(container, stream)
    first, end = None, 0.0
    for packet in container.demux():
        if packet.size and packet.pts is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream is not stream or not packet.size:
            continue
        walk.add(packet)
        limits.check_frames(len(walk.packets) // 2)  # there may be two to a frame
        first = first or _first_frame(stream, packet)
    first = first or _first_frame(stream, None)
    if first is None:
        raise BrokenVideoError('no frame decodes')
    limits.check_size(first.width, first.height)
    _check_complete(container, walk.packets, end, promised)
    return walk.packets, first, walk.frames() if walk.suffices else None


def _first_frame(stream, packet):
    """The first good frame in what a decoder gives for a packet, None for none."""
    import av

    try:
        frames = stream.codec_context.decode(packet)
    except av.InvalidDataError:  # it may lean on what comes before the file's beginning
        return None
    return next((frame for frame in frames if not frame.is_corrupt), None)


def _promised(container, stream):
    """The number of packets that the header announces, 0 if none."""
    if container.format.name.startswith('mov'):
        return len(stream.index_entries)  # stream.frames also counts what edit lists have cut away
    if container.format.name == 'avi' and not stream.index_entries:  # whose index, at its end, may be cut off
        return stream.frames * 49 // 50 if stream.frames < 2**30 else 0  # what FFmpeg leaves where it cannot go back
    return 0


def _check_complete(container, packets, end, promised):
    """Raises BrokenVideoError for a file that ends before its header says."""
    count = len(packets)
    if container.format.name == 'avi':  # a dropped frame has no packet there, and takes its time
        count = max(count, 1 + max(packet.dts or 0 for packet in packets))
    if count < promised:
        raise BrokenVideoError(f'cut off: {count} of {promised} frames')
    seconds = (container.duration or 0) / 1e6  # of the longest stream, sound included
    if container.format.name.startswith(TIMED) and end < 0.95 * seconds - 0.5:
        raise BrokenVideoError(f'cut off: {end:.2f} of {seconds:.2f} seconds')


def _last_duration(packets, frames, step):
    """Ticks that the last frame is shown: to the end of the packet that is over last, a step where none says."""
    last = max((packets[k].stamp for k in frames.packets if packets[k].stamp is not None), default=0)
    there = [packet for packet in packets if packet.stamp is not None and not packet.is_discarded]
    ends = [packet.stamp + packet.duration for packet in there if packet.duration > 0]
    return max((over - last for over in ends if over > last), default=step)


def _seek_stamp(packet, container):
    """The time to seek a packet by: Matroska's index is of the times at which frames are shown."""
    stamps = (packet.pts, packet.dts) if container.startswith('matroska') else (packet.dts, packet.pts)
    return next((stamp for stamp in stamps if stamp is not None), 0)


def _start(seconds):
    """Seconds from the start of a file to its first frame, without what rounding leaves."""
    return 0.0 if abs(seconds) < 1e-5 else seconds
