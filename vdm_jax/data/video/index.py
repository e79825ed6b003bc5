"""The index of a video file: its frames, when each is shown, and from where decoding gives the right pictures.

A frame is what the decoder outputs, in the order and at the time a player shows it. Packets, flags and timestamps of a
container are hints. Where the headers inside the packets prove that these agree with what a decoder will do, an index
is made from the packets alone (packet_scan.py); any other file is decoded once (decode_scan.py), and each frame that is
read from its middle later is compared with what came out then.
"""

import dataclasses
import functools

import numpy as np

from vdm_jax.data.video.picture import Orientation


def _no_numbers() -> np.ndarray:
    return np.zeros(0, np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """What a file holds. Frame i is the i-th frame shown (from 0), packet k the k-th of its stream in the file.

    Attributes:
      codec: FFmpeg's name of the format, such as 'h264'; 'gif', 'webp' or 'apng' of animated pictures.
      container: FFmpeg's name of the file's format.
      height: Of the stored picture without what is cropped, in pixels.
      width: The same.
      fps: Frames a second: as the file says where its times agree, else their mean.
      unit: Seconds of one tick of the timestamps.
      pts: When each frame is shown, in ticks, rising, int64 (frames,).
      end: When the last one is over, in ticks.
      stream: Number of the video stream in the file.
      streams: How many the file has to choose from.
      crop: Rows at the top and bottom, columns at the left and right that the file says are not shown.
      orientation: How the stored picture is turned and mirrored to be shown.
      pixel_aspect: Width over height of a stored pixel.
      start: Seconds of the file at which the first frame is shown.
      packets: Of each frame the number of its packet, int32 (frames,).
      keys: Numbers of the packets at which decoding may begin, int64 (keys,), rising; the first is the file's first.
      key_stamps: The time to seek for each key, in ticks, int64 (keys,).
      key_marks: What to know each key by wherever reading began, int64 (keys,).
      digests: Of each frame 32 bits of what was decoded, uint32 (frames,); none in an index made from packets.
      any_order: Whether the decoder has to wait for frames in any order that its codec allows.
      interlaced: Whether the lines of a frame may belong to two moments.
    """

    codec: str
    container: str
    height: int
    width: int
    fps: float
    unit: float
    pts: np.ndarray
    end: int
    stream: int = 0
    streams: int = 1
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    orientation: Orientation = Orientation()
    pixel_aspect: float = 1.0
    start: float = 0.0
    packets: np.ndarray = dataclasses.field(default_factory=_no_numbers)
    keys: np.ndarray = dataclasses.field(default_factory=_no_numbers)
    key_stamps: np.ndarray = dataclasses.field(default_factory=_no_numbers)
    key_marks: np.ndarray = dataclasses.field(default_factory=_no_numbers)
    digests: np.ndarray = dataclasses.field(default_factory=_no_numbers)
    any_order: bool = False
    interlaced: bool = False

    @property
    def frames(self) -> int:
        """How many there are."""
        return len(self.pts)

    @property
    def times(self) -> np.ndarray:
        """Seconds of each frame from the first, float64 (frames,)."""
        times: np.ndarray = (self.pts - self.pts[0]) * self.unit
        return times

    @property
    def seconds(self) -> float:
        """From the start of the first frame to the end of the last."""
        return float((self.pts[-1] - self.pts[0]) * self.unit) + float(self.end - self.pts[-1]) * self.unit

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(array.nbytes for array in vars(self).values() if isinstance(array, np.ndarray))

    def key_before(self, frame: int) -> int:
        """Return the position among `keys` of the last one from which a frame can be decoded."""
        earlier = np.flatnonzero(self.key_frames <= frame)
        return int(earlier[-1]) if len(earlier) else 0

    @functools.cached_property
    def key_frames(self) -> np.ndarray:
        """Of each key the number of the frame in its packet, int64 (keys,); one that shows none is never reached."""
        # Frames are in the order in which they are shown, and packets in that of the file.
        order = np.argsort(self.packets, kind='stable')
        positions = np.searchsorted(self.packets[order], self.keys)
        candidates = order[np.minimum(positions, self.frames - 1)]
        return np.where(self.packets[candidates] == self.keys, candidates, self.frames)


@dataclasses.dataclass(frozen=True, eq=False)
class Frames:
    """The frames of a stream, from a scan of its packets or from decoding it; fields as Index has them.

    Attributes:
      packets: Of each frame the number of its packet.
      pts: When each frame is shown, in ticks, rising, int64 (frames,).
      keys: Numbers of the packets at which decoding may begin.
      digests: Of each frame 32 bits of what was decoded; none from packets.
      any_order: Whether the decoder has to wait for frames in any order that its codec allows.
      interlaced: Whether the lines of a frame may belong to two moments.
    """

    packets: list[int]
    pts: np.ndarray
    keys: list[int]
    digests: list[int]
    any_order: bool
    interlaced: bool


def frame_rate(pts: np.ndarray, end: int, unit: float, nominal: float = 0.0) -> float:
    """Return the frames a second.

    They are what the file says where that agrees with its times to half a frame; the rate of its steps where these are
    even; else the mean, up to the end of the last frame.

    Args:
      pts: As an index has them.
      end: As an index has it.
      unit: As an index has it.
      nominal: What the file says, 0 for nothing.
    """
    frames = len(pts)
    span = float(pts[-1] - pts[0]) * unit
    if nominal > 0 and abs(span * nominal - (frames - 1)) <= 0.5:
        return nominal
    # A tick more or less is rounding: a thirtieth of a second is no whole number of milliseconds.
    if frames > 1 and np.ptp(np.diff(pts)) <= 1:
        return (frames - 1) / span
    return frames / (float(end - pts[0]) * unit)


def usual_step(stamps: np.ndarray, nominal: float, unit: float) -> int:
    """Return the ticks from one frame to the next: the median of a file's, or as its nominal rate says."""
    steps = np.diff(stamps)
    # Doubled times are there to be mended, and say nothing of the usual step.
    steps = steps[steps > 0]
    return int(np.median(steps)) if len(steps) else max(round(1 / (nominal * unit)), 1)
