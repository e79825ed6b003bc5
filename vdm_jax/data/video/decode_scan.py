"""Scan a file by decoding it once, from its start to its end."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from vdm_jax.data.video.broken import BrokenVideoError, damaged_picture, no_picture
from vdm_jax.data.video.completeness import RECORDINGS
from vdm_jax.data.video.container import time_base_of
from vdm_jax.data.video.headers import READERS
from vdm_jax.data.video.index import Frames, usual_step
from vdm_jax.data.video.limits import Limits
from vdm_jax.data.video.packets import Packet, number_packets
from vdm_jax.data.video.picture import digest_frame
from vdm_jax.data.video.timestamps import ANY_JUMP, RECORDED_JUMP, mend_timestamps

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream


@dataclasses.dataclass(frozen=True, slots=True)
class DecodedFrame:
    """One frame as the decoder output it.

    Attributes:
      packet: Number of the packet that it was coded in.
      output_packet: Number of the packet with which the decoder output it; None after the last.
      digest: 32 bits of its samples.
      is_key: Whether decoding may begin at it, as the decoder says.
      is_interlaced: Whether its lines belong to two moments.
    """

    packet: int
    output_packet: int | None
    digest: int
    is_key: bool
    is_interlaced: bool


def decode_frames(
    container: 'InputContainer', stream: 'VideoStream', packets: Sequence[Packet], limits: Limits, nominal_rate: float
) -> Frames:
    """Return the frames that decoding a stream outputs.

    Args:
      container: The open file, at its beginning.
      stream: Its video stream.
      packets: All of the stream.
      limits: What the file may ask for.
      nominal_rate: Frames a second, as the file says.

    Raises:
      BrokenVideoError: A picture does not decode.
    """
    frames = _decode_all(container, stream, packets, limits)
    numbers = [frame.packet for frame in frames]
    unit = float(time_base_of(stream))
    pts: list[int | None]
    dts: list[int | None]
    if container.format.name == 'avi':
        pts = _output_times(frames, packets)
        dts = pts
    else:
        pts = [packets[number].pts for number in numbers]
        dts = [packets[number].dts for number in numbers]

    stamps = [packets[number].stamp for number in numbers]
    known_stamps = [stamp for stamp in stamps if stamp is not None]
    longest = RECORDED_JUMP if container.format.name.startswith(RECORDINGS) else ANY_JUMP
    step = usual_step(np.sort(known_stamps), nominal_rate, unit)
    return Frames(
        packets=numbers,
        pts=mend_timestamps(pts, dts, step, round(longest / unit)),
        keys=_find_keys(frames, packets, stream.codec_context.codec.canonical_name),
        digests=[frame.digest for frame in frames],
        # Nothing has proved what the stream says of its order, so the decoder waits for any.
        any_order=stream.codec_context.name == 'h264',
        interlaced=any(frame.is_interlaced for frame in frames),
    )


def _find_keys(frames: Sequence[DecodedFrame], packets: Sequence[Packet], codec: str) -> list[int]:
    """Return the packets at which decoding may begin, as the decoder says.

    Some decoders say it of no frame, or only of the first: then as the container says. What is decoded from a key is
    compared with the digests, so that a wrong one costs nothing but time.
    """
    keys = [frame.packet for frame in frames if frame.is_key]
    if len(keys) < 2 and codec not in READERS:
        keys = [frame.packet for frame in frames if packets[frame.packet].is_key]
    return sorted({0, *keys})


def _output_times(frames: Sequence[DecodedFrame], packets: Sequence[Packet]) -> list[int | None]:
    """Return the times of the frames of an AVI.

    It has decode times alone, and shows a frame when the decoder outputs it; the first one at the time of the first
    packet.
    """
    stamps = [None if frame.output_packet is None else packets[frame.output_packet].dts for frame in frames]
    delay = (stamps[0] or 0) - (packets[0].dts or 0)
    return [None if stamp is None else stamp - delay for stamp in stamps]


def _decode_all(
    container: 'InputContainer', stream: 'VideoStream', packets: Sequence[Packet], limits: Limits
) -> list[DecodedFrame]:
    """Return all frames of a stream, in the order in which the decoder outputs them.

    What comes before the first good picture refers to what is not there, and shows nothing; the last packet of a
    recording, which may have stopped in it, shows nothing where it does not decode.

    Raises:
      BrokenVideoError: Any other packet does not decode.
    """
    import av

    frames: list[DecodedFrame] = []
    pixels = 0
    time_base = time_base_of(stream)
    # Raised once it is known that it is not of the last packet.
    failure: BrokenVideoError | None = None

    def seconds_of(number: int) -> float:
        stamp = packets[min(number, len(packets) - 1)].stamp or 0
        return float(stamp * time_base) - (container.start_time or 0) / 1e6

    for number, packet in number_packets(container.demux(stream)):
        if failure is not None and packet is not None:
            raise failure
        try:
            outputs = stream.codec_context.decode(packet)
        # Before the first good picture nothing is wrong: what a cut left there refers to frames that are gone.
        except av.InvalidDataError as error:
            failure = no_picture(seconds_of(number), error.strerror or '') if frames else None
            continue
        for frame in outputs:
            limits.check_size(frame.width, frame.height)
            pixels += frame.width * frame.height
            if pixels > limits.index_pixels:
                raise too_much_to_index(limits)
            # number_packets has replaced the times that decoders hand on by numbers of packets.
            packet_number = cast(int, frame.pts)
            if frame.is_corrupt:
                failure = damaged_picture(seconds_of(packet_number)) if frames else None
                continue
            frames.append(
                DecodedFrame(
                    packet=packet_number,
                    output_packet=frame.dts,
                    digest=digest_frame(frame),
                    is_key=frame.key_frame,
                    is_interlaced=frame.interlaced_frame,
                )
            )

    is_recording = container.format.name.startswith(RECORDINGS)
    if failure is not None and not is_recording:
        raise failure
    if not frames:
        raise BrokenVideoError('no frame decodes')
    limits.check_frames(len(frames))
    return frames


def too_much_to_index(limits: Limits) -> BrokenVideoError:
    """Return the error for a file whose frames only decoding can tell, and which are too many."""
    return BrokenVideoError(f'to know its frames takes decoding more than {limits.index_pixels} pixels')
