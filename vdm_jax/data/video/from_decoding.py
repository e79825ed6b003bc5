"""An index made by decoding a file once, from its start to its end."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from vdm_jax.data.video.broken import BrokenVideoError, damaged_picture, no_picture
from vdm_jax.data.video.complete import RECORDINGS
from vdm_jax.data.video.headers import READERS
from vdm_jax.data.video.index import Frames, usual_step
from vdm_jax.data.video.limits import Limits
from vdm_jax.data.video.packets import Packet, number_packets
from vdm_jax.data.video.picture import digest_of
from vdm_jax.data.video.times import ANY_JUMP, RECORDED_JUMP, mend_timestamps


@dataclasses.dataclass(frozen=True, slots=True)
class DecodedFrame:
    """One frame as the decoder gave it.

    Attributes:
      packet: number of the packet that it was coded in.
      output_packet: number of the packet with which the decoder gave it; None after the last.
      digest: 32 bits of its samples.
      is_key: whether decoding may begin at it, as the decoder says.
      is_interlaced: whether its lines belong to two moments.
    """

    packet: int
    output_packet: int | None
    digest: int
    is_key: bool
    is_interlaced: bool


def decode_frames(container, stream, packets: Sequence[Packet], limits: Limits, nominal_rate: float) -> Frames:
    """What decoding a stream gives, whose container stands at its beginning.

    packets: all of the stream. nominal_rate: frames a second, as the file says.

    Raises BrokenVideoError where a picture does not decode.
    """
    frames = _decode_all(container, stream, packets, limits)
    numbers, unit = [frame.packet for frame in frames], float(stream.time_base)
    if container.format.name == 'avi':
        pts = dts = _output_times(frames, packets)
    else:
        pts, dts = [packets[number].pts for number in numbers], [packets[number].dts for number in numbers]
    stamps = [packets[number].stamp for number in numbers if packets[number].stamp is not None]
    longest = RECORDED_JUMP if container.format.name.startswith(RECORDINGS) else ANY_JUMP
    return Frames(
        packets=numbers,
        pts=mend_timestamps(pts, dts, usual_step(np.sort(stamps), nominal_rate, unit), round(longest / unit)),
        keys=_keys(frames, packets, stream.codec_context.codec.canonical_name),
        digests=[frame.digest for frame in frames],
        any_order=stream.codec_context.name == 'h264',
        interlaced=any(frame.is_interlaced for frame in frames),
    )


def _keys(frames, packets, codec):
    """The packets at which decoding may begin as the decoder says; as the container does where the decoder is one of
    those that say it of no frame, or of the first alone.

    What is read from one is held against the digests, so that a wrong one costs time alone.
    """
    keys = [frame.packet for frame in frames if frame.is_key]
    if len(keys) < 2 and codec not in READERS:
        keys = [frame.packet for frame in frames if packets[frame.packet].is_key]
    return sorted({0, *keys})


def _output_times(frames, packets):
    """The times of an AVI, which has decode times alone, and shows a frame when the decoder gives it; the first one at
    that of the first packet.
    """
    stamps = [None if frame.output_packet is None else packets[frame.output_packet].dts for frame in frames]
    delay = (stamps[0] or 0) - (packets[0].dts or 0)
    return [None if stamp is None else stamp - delay for stamp in stamps]


def _decode_all(container, stream, packets, limits) -> list[DecodedFrame]:
    """All frames of a stream, in the order in which the decoder gives them.

    What comes before the first good picture leans on what is not there, and shows nothing; so may the last packet of a
    recording that stopped in it. Raises BrokenVideoError where any other does not decode.
    """
    import av

    frames, budget, failure = [], limits.index_pixels, None
    is_recording = container.format.name.startswith(RECORDINGS)

    def seconds(number):
        stamp = packets[min(number, len(packets) - 1)].stamp or 0
        return float(stamp * stream.time_base) - (container.start_time or 0) / 1e6

    for number, packet in number_packets(container.demux(stream)):
        if failure is not None and packet is not None:
            raise failure
        try:
            outputs = stream.codec_context.decode(packet)
        except av.InvalidDataError as error:
            failure = no_picture(seconds(number), error.strerror) if frames else None
            continue
        for frame in outputs:
            limits.check_size(frame.width, frame.height)
            budget -= frame.width * frame.height
            if budget < 0:
                raise too_much_to_index(limits)
            if frame.is_corrupt:
                failure = damaged_picture(seconds(frame.pts)) if frames else None
                continue
            digest = digest_of(frame)
            frames.append(DecodedFrame(frame.pts, frame.dts, digest, frame.key_frame, frame.interlaced_frame))
    if failure is not None and not is_recording:
        raise failure
    if not frames:
        raise BrokenVideoError('no frame decodes')
    limits.check_frames(len(frames))
    return frames


def too_much_to_index(limits: Limits) -> BrokenVideoError:
    """For a file whose frames only decoding can tell, and which are too many."""
    return BrokenVideoError(f'to know its frames takes decoding more than {limits.index_pixels} pixels')
