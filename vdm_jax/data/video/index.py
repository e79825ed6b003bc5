"""The index of a video file: its frames, when each is shown, and from where decoding gives the right pictures.

A frame is what the decoder gives, in the order and at the time a player shows it. Packets, flags and timestamps of a
container are hints. Where the headers inside the packets prove that these agree with what a decoder will do, an index
is made of the packets alone (`from_packets.py`); any other file is decoded once (`from_decoding.py`), and then each
frame that is read from its middle is held against what that gave.
"""

import dataclasses
import functools

import numpy as np

from vdm_jax.data.video.picture import Orientation


def _nothing():
    return np.zeros(0, np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """What a file holds. Frame i is the i-th frame shown (from 0), packet k the k-th of its stream in the file.

    Attributes:
      codec: FFmpeg's name of the format, such as 'h264'; 'gif', 'webp' or 'apng' of animated pictures.
      container: FFmpeg's name of the file's format.
      stream: number of the video stream in the file.
      streams: how many the file has to choose from.
      height, width: of the stored picture without what is cropped, in pixels.
      crop: rows at the top and bottom, columns at the left and right that the file says are not shown.
      orientation: how the stored picture is turned and mirrored to be shown.
      pixel_aspect: width over height of a stored pixel.
      fps: frames a second: as the file says where its times agree, else their mean.
      unit: seconds of one tick of the timestamps.
      pts: when each frame is shown, in ticks, rising, int64 (frames,).
      end: when the last one is over, in ticks.
      start: seconds of the file at which the first frame is shown.
      packets: of each frame the number of its packet, int32 (frames,).
      keys: numbers of the packets at which decoding may begin, int64 (keys,), rising; the first is the file's first.
      key_stamps: the time to seek for each key, in ticks, int64 (keys,).
      key_marks: what to know each key by wherever reading began, int64 (keys,).
      digests: of each frame 32 bits of what was decoded, uint32 (frames,); of an index made of packets none.
      any_order: whether the decoder has to wait for frames in any order that its codec allows.
      interlaced: whether the lines of a frame may belong to two moments.
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
    packets: np.ndarray = dataclasses.field(default_factory=_nothing)
    keys: np.ndarray = dataclasses.field(default_factory=_nothing)
    key_stamps: np.ndarray = dataclasses.field(default_factory=_nothing)
    key_marks: np.ndarray = dataclasses.field(default_factory=_nothing)
    digests: np.ndarray = dataclasses.field(default_factory=_nothing)
    any_order: bool = False
    interlaced: bool = False

    @property
    def frames(self) -> int:
        return len(self.pts)

    @property
    def times(self) -> np.ndarray:
        """Seconds of each frame from the first, float64 (frames,)."""
        return (self.pts - self.pts[0]) * self.unit

    @property
    def seconds(self) -> float:
        """From the start of the first frame to the end of the last."""
        return float((self.pts[-1] - self.pts[0]) * self.unit) + float(self.end - self.pts[-1]) * self.unit

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(array.nbytes for array in vars(self).values() if isinstance(array, np.ndarray))

    def key_before(self, frame: int) -> int:
        """The last of `keys` from which a frame can be decoded, by its place among them."""
        earlier = np.flatnonzero(self.key_frames <= frame)
        return int(earlier[-1]) if len(earlier) else 0

    @functools.cached_property
    def key_frames(self) -> np.ndarray:
        """Of each key the number of the frame in its packet, int64 (keys,); one that shows none is never reached."""
        order = np.argsort(self.packets, kind='stable')
        at = np.searchsorted(self.packets[order], self.keys)
        at = np.minimum(at, self.frames - 1)
        return np.where(self.packets[order[at]] == self.keys, order[at], self.frames)


@dataclasses.dataclass(frozen=True, eq=False)
class Frames:
    """What is known of the frames of a stream, as Index has it: of the packets it was made of, or from decoding."""

    packets: list[int]
    pts: np.ndarray
    keys: list[int]
    digests: list[int]
    any_order: bool
    interlaced: bool


def frame_rate(pts: np.ndarray, end: int, unit: float, nominal: float = 0.0) -> float:
    """Frames a second: what the file says where that agrees with its times to half a frame; that of its steps where
    these are even; else the mean, up to the end of the last frame.

    pts, end, unit: as an index has them. nominal: what the file says, 0 for nothing.
    """
    frames, span = len(pts), float(pts[-1] - pts[0]) * unit
    if nominal > 0 and abs(span * nominal - (frames - 1)) <= 0.5:
        return nominal
    if frames > 1 and np.ptp(np.diff(pts)) <= 1:
        return (frames - 1) / span
    return frames / (float(end - pts[0]) * unit)


def usual_step(stamps: np.ndarray, nominal: float, unit: float) -> int:
    """Ticks from one frame to the next: the middle one of a file's, or as its nominal rate says."""
    steps = np.diff(stamps)
    steps = steps[steps > 0]
    return int(np.median(steps)) if len(steps) else max(round(1 / (nominal * unit)), 1)
