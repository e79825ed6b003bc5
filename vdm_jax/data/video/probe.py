"""A video file -> its index, of packets where these suffice, else by decoding it once."""

import numpy as np

from vdm_jax.data.video import animation, store
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.complete import check_complete, promised_packets
from vdm_jax.data.video.container import head_of, open_video, video_streams
from vdm_jax.data.video.cropping import crop_of
from vdm_jax.data.video.from_decoding import decode_frames, too_much_to_index
from vdm_jax.data.video.from_packets import Walk
from vdm_jax.data.video.index import Index, frame_rate, usual_step
from vdm_jax.data.video.limits import Limits
from vdm_jax.data.video.picture import orientation_of

DEFAULT_RATE = 25.0  # where a file says nothing, and has one frame
WIDEST = 16.0  # pixels wider or higher than this many to one are a mistake


def index_of(path: str | bytes, limits: Limits) -> Index:
    """The index of a file, or of the bytes in one; that of a file is kept on disk.

    Raises BrokenVideoError if nothing decodes, if it asks for more than `limits`, or if the file ends before its header
    says (`complete.py`).
    """
    head = head_of(path)
    index = None if isinstance(path, bytes) else store.load(path)
    if index is None:
        index = _index_animation(path, head, limits) if animation.is_animation(head) else _index_video(path, limits)
        if not isinstance(path, bytes):
            store.save(path, index)
    limits.check_frames(index.frames)
    limits.check_seconds(index.seconds)
    return index


def _index_animation(path, head, limits):
    durations, shape, budget = [], None, limits.index_pixels
    for frame, microseconds in animation.frames(path, limits):
        shape = shape or frame.shape
        durations.append(microseconds)
        budget -= shape[0] * shape[1]
        if budget < 0:
            raise too_much_to_index(limits)
    ends = np.cumsum(durations, dtype=np.int64)
    pts, end, unit = ends - durations, int(ends[-1]), 1e-6
    codec = animation.codec_of(head)
    return Index(codec, codec, shape[0], shape[1], frame_rate(pts, end, unit), unit, pts, end)


def _index_video(path, limits):
    with open_video(path, limits, any_order=True) as (container, stream):
        packets, first, frames = _walk(path, container, stream, limits)
        nominal_rate = float(stream.average_rate or stream.guessed_rate or DEFAULT_RATE)
        streams = [each.index for each in video_streams(container)]
        origin = (container.start_time or 0) / 1e6
        facts = _facts(container, stream)
    number, unit, format_name = facts['stream'], facts['unit'], facts['container']
    if frames is None:
        with open_video(path, limits, number, any_order=True) as (container, stream):
            frames = decode_frames(container, stream, packets, limits, nominal_rate)

    top, bottom, left, right = crop = crop_of(path, format_name, streams.index(number), first.height, first.width)
    end = int(frames.pts[-1]) + _last_duration(packets, frames, usual_step(frames.pts, nominal_rate, unit))
    return Index(
        **facts,
        streams=len(streams),
        height=first.height - top - bottom,
        width=first.width - left - right,
        fps=frame_rate(frames.pts, end, unit, nominal_rate),
        pts=frames.pts,
        end=end,
        crop=crop,
        orientation=orientation_of(first),
        start=_without_rounding(float(frames.pts[0]) * unit - origin),
        packets=np.array(frames.packets, np.int32),
        keys=np.array(frames.keys, np.int64),
        key_stamps=np.array([_seek_stamp(packets[k], format_name) for k in frames.keys], np.int64),
        key_marks=np.array([packets[k].mark for k in frames.keys], np.int64),
        digests=np.array(frames.digests, np.uint32),
        any_order=frames.any_order,
        interlaced=frames.interlaced,
    )


def _facts(container, stream):
    """The fields of an index that are the file's own words."""
    context = stream.codec_context
    aspect = float(stream.sample_aspect_ratio or context.sample_aspect_ratio or 1)
    return {
        'codec': context.codec.canonical_name,
        'container': container.format.name,
        'unit': float(stream.time_base),
        'stream': stream.index,
        'pixel_aspect': aspect if 1 / WIDEST <= aspect <= WIDEST else 1.0,
    }


def _walk(path, container, stream, limits):
    """(the packets, the first good frame, Frames where the packets suffice to know them, else None)."""
    walk, promised = Walk(container, stream), promised_packets(container, stream)
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
    check_complete(path, container, stream, walk.packets, end, promised)
    return walk.packets, first, walk.frames() if walk.suffices(stream.codec_context.reorder_depth) else None


def _first_frame(stream, packet):
    """The first good frame in what a decoder gives for a packet, None for none."""
    import av

    try:
        frames = stream.codec_context.decode(packet)
    except av.InvalidDataError:  # it may lean on what comes before the file's beginning
        return None
    return next((frame for frame in frames if not frame.is_corrupt), None)


def _last_duration(packets, frames, step):
    """Ticks that the last frame is shown: to the end of the packet that is over last, a step where none says."""
    last = max((packets[k].stamp for k in frames.packets if packets[k].stamp is not None), default=0)
    timed = [packet for packet in packets if packet.stamp is not None and not packet.is_discarded]
    ends = [packet.stamp + packet.duration for packet in timed if packet.duration > 0]
    return max((end - last for end in ends if end > last), default=step)


def _seek_stamp(packet, format_name):
    """The time to seek a packet by: Matroska's index is of the times at which frames are shown."""
    stamps = (packet.pts, packet.dts) if format_name.startswith('matroska') else (packet.dts, packet.pts)
    return next((stamp for stamp in stamps if stamp is not None), 0)


def _without_rounding(seconds):
    """Seconds, 0 where they are what rounding leaves of it."""
    return 0.0 if abs(seconds) < 1e-5 else seconds
