"""Make the index of a video file, from its packets where these suffice, else by decoding it once."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from vdm_jax.data.video import animation, store
from vdm_jax.data.video.broken import BrokenVideoError
from vdm_jax.data.video.completeness import check_complete, count_promised_packets
from vdm_jax.data.video.container import open_video, read_head, time_base_of, video_streams
from vdm_jax.data.video.cropping import read_crop
from vdm_jax.data.video.decode_scan import decode_frames, too_much_to_index
from vdm_jax.data.video.index import Frames, Index, frame_rate, usual_step
from vdm_jax.data.video.limits import Limits
from vdm_jax.data.video.packet_scan import PacketScan
from vdm_jax.data.video.packets import Packet
from vdm_jax.data.video.picture import orientation_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from vdm_jax.data.video.packets import VideoPacket

DEFAULT_RATE = 25.0  # where a file says nothing, and has one frame
MAX_ASPECT = 16.0  # pixels wider or higher than this many to one are a mistake


def read_index(path: str | bytes, limits: Limits) -> Index:
    """Return the index of a file, or of the bytes in one; that of a file is stored on disk.

    Raises:
      BrokenVideoError: Nothing decodes, it asks for more than `limits`, or the file ends before its header says
        (completeness.py).
    """
    head = read_head(path)
    index = None if isinstance(path, bytes) else store.load(path)
    if index is None:
        if animation.is_gif_webp_or_png(head):
            index = _index_animation(path, head, limits)
        else:
            index = _index_video(path, limits)
        # Bytes are those of records, whose indexes a ProbeCache keeps for as long as it lives.
        if not isinstance(path, bytes):
            store.save(path, index)
    # A stored one may be from a run with other limits.
    limits.check_frames(index.frames)
    limits.check_seconds(index.seconds)
    return index


def _index_animation(path: str | bytes, head: bytes, limits: Limits) -> Index:
    durations = []
    height = 0
    width = 0
    pixels = 0
    for frame, microseconds in animation.read_frames(path, limits):
        height, width, _ = frame.shape
        durations.append(microseconds)
        pixels += height * width
        if pixels > limits.index_pixels:
            raise too_much_to_index(limits)

    ends = np.cumsum(durations, dtype=np.int64)
    pts = ends - durations
    end = int(ends[-1])
    unit = 1e-6
    codec = animation.codec_of(head)
    return Index(codec, codec, height, width, frame_rate(pts, end, unit), unit, pts, end)


@dataclasses.dataclass(frozen=True, eq=False)
class _Stream:
    """What a file says of its video stream.

    Attributes:
      codec: As Index has it.
      container: As Index has it.
      number: Of the stream in the file.
      video_numbers: Of all video streams.
      unit: Seconds of one tick.
      pixel_aspect: As Index has it.
      nominal_rate: Frames a second.
      start: Seconds at which the file begins.
    """

    codec: str
    container: str
    number: int
    video_numbers: list[int]
    unit: float
    pixel_aspect: float
    nominal_rate: float
    start: float


def _index_video(path: str | bytes, limits: Limits) -> Index:
    with open_video(path, limits, any_order=True) as (container, av_stream):
        packets, first, frames = _scan(path, container, av_stream, limits)
        stream = _describe_stream(container, av_stream)
    if frames is None:
        # Opened anew: the first pass has read to the end of the file, and its decoder has seen packets.
        with open_video(path, limits, stream.number, any_order=True) as (container, av_stream):
            frames = decode_frames(container, av_stream, packets, limits, stream.nominal_rate)

    position = stream.video_numbers.index(stream.number)
    crop = read_crop(path, stream.container, position, first.height, first.width)
    top, bottom, left, right = crop
    step = usual_step(frames.pts, stream.nominal_rate, stream.unit)
    end = int(frames.pts[-1]) + _last_duration(packets, frames, step)
    return Index(
        codec=stream.codec,
        container=stream.container,
        stream=stream.number,
        streams=len(stream.video_numbers),
        unit=stream.unit,
        pixel_aspect=stream.pixel_aspect,
        height=first.height - top - bottom,
        width=first.width - left - right,
        fps=frame_rate(frames.pts, end, stream.unit, stream.nominal_rate),
        pts=frames.pts,
        end=end,
        crop=crop,
        orientation=orientation_of(first),
        start=_without_rounding(float(frames.pts[0]) * stream.unit - stream.start),
        packets=np.array(frames.packets, np.int32),
        keys=np.array(frames.keys, np.int64),
        key_stamps=np.array([_seek_stamp(packets[k], stream.container) for k in frames.keys], np.int64),
        key_marks=np.array([packets[k].mark for k in frames.keys], np.int64),
        digests=np.array(frames.digests, np.uint32),
        any_order=frames.any_order,
        interlaced=frames.interlaced,
    )


def _describe_stream(container: 'InputContainer', stream: 'VideoStream') -> _Stream:
    """Return what a file says of its stream; its packets are read, for FFmpeg knows some of it only then."""
    context = stream.codec_context
    aspect = float(stream.sample_aspect_ratio or context.sample_aspect_ratio or 1)
    return _Stream(
        codec=context.codec.canonical_name,
        container=container.format.name,
        number=stream.index,
        video_numbers=[each.index for each in video_streams(container)],
        unit=float(time_base_of(stream)),
        pixel_aspect=aspect if 1 / MAX_ASPECT <= aspect <= MAX_ASPECT else 1.0,
        nominal_rate=float(stream.average_rate or stream.guessed_rate or DEFAULT_RATE),
        start=(container.start_time or 0) / 1e6,
    )


def _scan(
    path: str | bytes, container: 'InputContainer', stream: 'VideoStream', limits: Limits
) -> tuple[list[Packet], 'VideoFrame', Frames | None]:
    """Return the packets, the first good frame, and the frames where the packets suffice to know them, else None."""
    scan = PacketScan(container, stream)
    promised = count_promised_packets(container, stream)
    first: VideoFrame | None = None
    end = 0.0  # seconds at which all streams are over
    # The packets of sound too: where the longest stream ends shows whether a file was cut off.
    for packet in container.demux():
        if packet.size and packet.pts is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream is not stream or not packet.size:
            continue
        video_packet = cast('VideoPacket', packet)
        scan.add(video_packet)
        # There may be two packets to a frame.
        limits.check_frames(len(scan.packets) // 2)
        first = first or _decode_first(stream, video_packet)

    first = first or _decode_first(stream, None)
    if first is None:
        raise BrokenVideoError('no frame decodes')
    limits.check_size(first.width, first.height)
    check_complete(path, container, stream, scan.packets, end, promised)
    return scan.packets, first, scan.find_frames(stream.codec_context.reorder_depth)


def _decode_first(stream: 'VideoStream', packet: 'VideoPacket | None') -> 'VideoFrame | None':
    """Return the first good frame that a decoder outputs for a packet, None for none."""
    import av

    try:
        frames = stream.codec_context.decode(packet)
    # It may refer to what comes before the file's beginning.
    except av.InvalidDataError:
        return None
    return next((frame for frame in frames if not frame.is_corrupt), None)


def _last_duration(packets: Sequence[Packet], frames: Frames, step: int) -> int:
    """Return the ticks that the last frame is shown: to the end of the packet that is over last.

    Where no packet says when it is over, a step.
    """
    stamps = [packets[k].stamp for k in frames.packets]
    last = max((stamp for stamp in stamps if stamp is not None), default=0)
    ends = []
    for packet in packets:
        if packet.stamp is not None and not packet.is_discarded and packet.duration > 0:
            ends.append(packet.stamp + packet.duration)
    return max((end - last for end in ends if end > last), default=step)


def _seek_stamp(packet: Packet, container: str) -> int:
    """Return the time to seek a packet by: Matroska's index is of the times at which frames are shown."""
    stamps = (packet.pts, packet.dts) if container.startswith('matroska') else (packet.dts, packet.pts)
    return next((stamp for stamp in stamps if stamp is not None), 0)


def _without_rounding(seconds: float) -> float:
    """Return the seconds, 0 where they are what rounding leaves of it."""
    return 0.0 if abs(seconds) < 1e-5 else seconds
