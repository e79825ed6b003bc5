"""An index made by decoding a file once, from its start to its end."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from vdm_jax.data.video.index import Frames, Packet, usual_step
from vdm_jax.data.video.limits import BrokenVideoError, Limits
from vdm_jax.data.video.picture import digest_of
from vdm_jax.data.video.times import rising

RECORDINGS = 'mpegts', 'mpeg', 'mpegvideo'  # formats of recordings, which stop wherever they do
JUMP = 10.0  # seconds; in a recording no frame is shown so long: its clock was set, or something is missing


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """One frame as the decoder gave it.

    Attributes:
      packet: number of the packet that it was coded in.
      given_at: number of the packet with which the decoder gave it; None after the last.
      digest: 32 bits of its samples.
      is_key: whether decoding may begin at it, as the decoder says.
      interlaced: whether its lines belong to two moments.
    """

    packet: int
    given_at: int | None
    digest: int
    is_key: bool
    interlaced: bool


def decode_frames(container, stream, packets: Sequence[Packet], limits: Limits, said: float) -> Frames:
    """What decoding a stream gives, whose container stands at its beginning.

    packets: all of the stream. said: frames a second, as the file says.

    Raises BrokenVideoError where a picture does not decode.
    """
    decoded = _decode_all(container, stream, packets, limits)
    numbers, unit = [each.packet for each in decoded], float(stream.time_base)
    if container.format.name == 'avi':
        stamps = (_given_at(decoded, packets),) * 2
    else:
        stamps = [packets[number].pts for number in numbers], [packets[number].dts for number in numbers]
    known = [packets[number].stamp for number in numbers if packets[number].stamp is not None]
    longest = round(JUMP / unit) if container.format.name.startswith(RECORDINGS) else None
    return Frames(
        packets=numbers,
        pts=rising(*stamps, usual_step(np.sort(known), said, unit), longest),
        keys=sorted({0, *(each.packet for each in decoded if each.is_key)}),
        digests=[each.digest for each in decoded],
        any_order=stream.codec_context.name == 'h264',
        interlaced=any(each.interlaced for each in decoded),
    )


def _given_at(decoded, packets):
    """The times of an AVI, which has decode times alone, and shows a frame when the decoder gives it; the first one at
    that of the first packet."""
    stamps = [None if each.given_at is None else packets[each.given_at].dts for each in decoded]
    delay = (stamps[0] or 0) - (packets[0].dts or 0)
    return [None if stamp is None else stamp - delay for stamp in stamps]


def _decode_all(container, stream, packets, limits) -> list[Decoded]:
    """All frames of a stream, in the order in which the decoder gives them.

    What comes before the first good picture leans on what is not there, and shows nothing; so may the last packet of a
    recording that stopped in it. Raises BrokenVideoError where any other does not decode.
    """
    import av

    found, budget, failed = [], limits.index_pixels, None
    is_recording = container.format.name.startswith(RECORDINGS)

    def seconds(number):
        stamp = packets[min(number, len(packets) - 1)].stamp or 0
        return float(stamp * stream.time_base) - (container.start_time or 0) / 1e6

    for number, packet in numbered(container.demux(stream)):
        if failed is not None and (packet is not None or not is_recording):
            raise failed
        try:
            frames = stream.codec_context.decode(packet)
        except av.InvalidDataError as error:
            failed = no_picture(seconds(number), error.strerror) if found else None
            continue
        for frame in frames:
            limits.check_size(frame.width, frame.height)
            budget -= frame.width * frame.height
            if budget < 0:
                raise BrokenVideoError(f'to find its frames takes decoding more than {limits.index_pixels} pixels')
            if not frame.is_corrupt:
                found.append(Decoded(frame.pts, frame.dts, digest_of(frame), frame.key_frame, frame.interlaced_frame))
            elif found:
                failed = damaged_picture(seconds(frame.pts))
    if failed is not None and not is_recording:
        raise failed
    if not found:
        raise BrokenVideoError('no frame decodes')
    limits.check_frames(len(found))
    return found


def numbered(packets: Iterable, first: int = 0) -> Iterator[tuple[int, object]]:
    """Yields (number, packet) of a stream's packets, counted from `first`; then (the next number, None), with which a
    decoder gives up what it holds back.

    Each packet's times are replaced by its number: decoders hand them on with the frame that is coded in it, so that it
    is known of each frame which packet it comes from, whatever timestamps the file has.
    """
    number = first
    for packet in packets:
        if packet.size:
            packet.pts = packet.dts = number
            yield number, packet
            number += 1
    yield number, None


def no_picture(seconds: float, why: str = '') -> BrokenVideoError:
    return BrokenVideoError(f'the decoder gives no picture for {seconds:.2f} s' + (f': {why}' if why else ''))


def damaged_picture(seconds: float) -> BrokenVideoError:
    return BrokenVideoError(f'the picture at {seconds:.2f} s is damaged')
