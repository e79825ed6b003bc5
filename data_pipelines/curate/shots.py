"""Shot detection: PySceneDetect's detectors over a stream of frames, held one at a time.

Hard cuts and fades through black are found; dissolves are not (the library has no detector of them).
"""

import collections
import dataclasses
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import numpy as np

from data_pipelines.optional_deps import require
from vdm_jax.config.ranges import AtLeast, Ranged, Whole

REPEAT_LEVELS = 0.5  # of 255 by which a frame may differ from the one before and count as the same one shown twice

# Detectors of PySceneDetect that take one threshold; `adaptive` takes more.
DETECTORS = {'content': 'ContentDetector', 'hash': 'HashDetector', 'histogram': 'HistogramDetector'}


@dataclasses.dataclass(frozen=True)
class ShotsConfig(Ranged, where='recipe.shots'):
    """The recipe group recipe.shots.

    Attributes:
      detector: Of hard cuts. `adaptive` compares a frame's change in hue, saturation and brightness with that of its
        neighbours, so that fast motion is no cut; `content` takes the change alone, `hash` a perceptual hash,
        `histogram` that of brightness; `none` finds no cuts.
      threshold: Of that detector, in its own unit (adaptive: times the neighbours' change; content: levels of 255; hash
        and histogram: 0 to 1); none: the library's default.
      least_change: Of `adaptive`, the levels of 255 that a frame must change by to begin a shot.
      fades: Whether a black stretch ends a shot and is one of its own.
      fade_level: The mean of R, G and B, 0 to 255, below which a frame is black to this.
      flash_seconds: A picture that goes for no longer than this and comes back (a flash, a dropped frame) is no cut.
      width: Pixels that frames are shrunk to before they are compared: few, so that noise and fine detail on the move
        count for little.
    """

    detector: Literal['adaptive', 'content', 'hash', 'histogram', 'none'] = 'adaptive'
    threshold: Annotated[float, AtLeast(0, 1e9)] | None = None
    least_change: Annotated[float, AtLeast(0, 1e9)] = 12.0
    fades: bool = True
    fade_level: Whole = 12
    flash_seconds: Annotated[float, AtLeast(0, 1e9)] = 0.2
    width: Annotated[int, AtLeast(8)] = 64


def find_shots(
    frames: Iterable[tuple[int, np.ndarray]], times: np.ndarray, config: ShotsConfig
) -> list[tuple[int, int]]:
    """Return the shots as (first, stop) frame numbers: without gaps, from the first frame that came to the last.

    No shot is left out for being short: the limits on clips are for that.

    Args:
      frames: (number, uint8 (H, W, 3) RGB), numbers rising by one, as decode.stream yields them.
      times: Seconds of each frame by its number.
      config: How shots are detected.

    Raises:
      UserError: the libraries are not installed.
    """
    cut_detector = CutDetector(config, times) if config.detector != 'none' else None
    fade_detector = FadeDetector(config, times) if config.fades else None

    first = None
    last = 0
    for number, frame in frames:
        if first is None:
            first = number
        last = number
        if cut_detector is None and fade_detector is None:
            continue
        # Shrunk once for both.
        small = shrink(frame, config.width)
        if cut_detector is not None:
            cut_detector.add(number, small)
        if fade_detector is not None:
            fade_detector.add(number, small)
    if first is None:
        return []

    cuts = cut_detector.finish() if cut_detector is not None else []
    fades = fade_detector.finish(last + 1) if fade_detector is not None else []

    # Beside a black stretch hue jumps, which black has none of: such cuts are the fade's own.
    for begin, end in fades:
        since = times[begin] - config.flash_seconds
        until = times[min(end, last)] + config.flash_seconds
        cuts = [cut for cut in cuts if not since <= times[cut] <= until]

    fade_edges = [edge for fade in fades for edge in fade]
    inner = {edge for edge in (*cuts, *fade_edges) if first < edge <= last}
    edges = [first, *sorted(inner), last + 1]
    return list(zip(edges, edges[1:], strict=False))


def shrink(frame: np.ndarray, width: int) -> np.ndarray:
    """Return the frame as uint8 BGR, the channel order of OpenCV, at most `width` pixels wide."""
    cv2 = require('cv2')
    frame_height, frame_width = frame.shape[:2]
    if frame_width > width:
        height = max(1, round(frame_height * width / frame_width))
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(frame[..., ::-1])


class CutDetector:
    """Detects hard cuts, from frames in their order.

    Two kinds of frames are passed over: those shown twice (24 frames a second stored as 30), since beside a change of
    nothing every motion looks like a cut, and flashes.
    """

    def __init__(self, config: ShotsConfig, times: np.ndarray) -> None:
        self._detector = _make_cut_detector(config)
        self._times = times
        self._flash_seconds = config.flash_seconds
        self._lag = self._detector.event_buffer_length  # frames after which the library reports a cut

        self._pending: collections.deque[tuple[int, np.ndarray]] = collections.deque()  # as long as a flash may last
        self._after_flashes: set[int] = set()  # the first frames after flashes, which begin no shot
        self._fed = 0
        self._numbers: collections.deque[int] = collections.deque(maxlen=self._lag + 1)  # of the last frames fed
        self._cuts: list[int] = []

    def add(self, number: int, small: np.ndarray) -> None:
        """Take the next frame, uint8 (H, W, 3)."""
        pending = self._pending
        flash_frames = self._count_flash_frames(number, small)
        if flash_frames:
            self._after_flashes.add(number)
            for _ in range(flash_frames):
                pending.pop()

        if pending and _mean_difference(pending[-1][1], small) < REPEAT_LEVELS:
            return
        pending.append((number, small))

        # A frame is safe from being a flash once its successor has stayed for longer than one.
        while len(pending) > 1 and self._times[number] - self._times[pending[1][0]] >= self._flash_seconds:
            self._feed(*pending.popleft())

    def finish(self) -> list[int]:
        """Return the numbers of the first frames of shots."""
        for number, small in self._pending:
            self._feed(number, small)

        # The last frame is repeated, so that cuts beside the end are reported.
        if self._pending:
            for _ in range(self._lag):
                self._feed(*self._pending[-1])
        return self._cuts

    def _count_flash_frames(self, number: int, small: np.ndarray) -> int:
        """Return how many of the frames before this one were a flash.

        In a flash much changes from the frame before it to it, and from it to this frame, but little from the frame
        before it to this one.
        """
        pending = self._pending
        change_back = _mean_difference(pending[-1][1], small) if len(pending) > 1 else 0.0
        for count in range(1, len(pending)):
            _, before = pending[-count - 1]
            first_number, first = pending[-count]
            if self._times[number] - self._times[first_number] > self._flash_seconds:
                break
            change = min(change_back, _mean_difference(before, first))
            if 3 * _mean_difference(before, small) < 2 * change:
                return count
        return 0

    def _feed(self, number: int, small: np.ndarray) -> None:
        # The first frame is repeated, so that a cut beside the beginning is found.
        if not self._numbers:
            for _ in range(self._lag):
                self._process(number, small)
        self._process(number, small)

    def _process(self, number: int, small: np.ndarray) -> None:
        """Give a frame to the library, and collect the cuts that it reports."""
        self._numbers.append(number)
        reported = self._detector.process_frame(_timecode(self._fed), small)
        self._fed += 1

        # The library counts the frames that it was fed; _numbers has the video's own numbers of the last of them.
        cuts = {self._numbers[cut.frame_num - self._fed] for cut in reported}
        self._cuts += sorted(cuts - self._after_flashes)


def _make_cut_detector(config: ShotsConfig) -> Any:
    """Return PySceneDetect's detector of a config, whose threshold is the library's where it has none."""
    detectors = require('scenedetect.detectors')
    options: dict[str, float] = {}
    if config.detector == 'adaptive':
        if config.threshold is not None:
            options['adaptive_threshold'] = config.threshold
        return detectors.AdaptiveDetector(min_scene_len=0, min_content_val=config.least_change, **options)

    if config.threshold is not None:
        options['threshold'] = config.threshold
    return getattr(detectors, DETECTORS[config.detector])(min_scene_len=0, **options)


class FadeDetector:
    """Detects black stretches, as (first, stop) frame numbers."""

    def __init__(self, config: ShotsConfig, times: np.ndarray) -> None:
        # With this bias a cut is where it becomes black; it is reported at the first frame that is not.
        detector = require('scenedetect.detectors').ThresholdDetector
        self._detector = detector(config.fade_level, min_scene_len=0, fade_bias=-1.0, add_final_scene=True)
        self._flash_seconds = config.flash_seconds
        self._times = times
        self._fades: list[tuple[int, int]] = []

    def add(self, number: int, small: np.ndarray) -> None:
        """Take the next frame, uint8 (H, W, 3)."""
        for cut in self._detector.process_frame(_timecode(number), small):
            if self._times[number] - self._times[cut.frame_num] > self._flash_seconds:
                self._fades.append((cut.frame_num, number))

    def finish(self, stop: int) -> list[tuple[int, int]]:
        """Return the stretches of a video that ends before frame `stop`, one that reaches its end included."""
        final = self._detector.post_process(_timecode(stop - 1))
        return self._fades + [(cut.frame_num, stop) for cut in final]


def _timecode(number: int) -> Any:
    """Return PySceneDetect's name of a frame; only its number is ever read, so the rate means nothing."""
    return require('scenedetect').FrameTimecode(number, fps=25.0)


def _mean_difference(before: np.ndarray, after: np.ndarray) -> float:
    """Return the mean absolute difference of two pictures, in levels of 255."""
    cv2 = require('cv2')
    return float(cv2.norm(before, after, cv2.NORM_L1)) / before.size
