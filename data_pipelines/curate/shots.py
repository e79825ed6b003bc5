"""Where the shots of a video begin and end: PySceneDetect's detectors over a stream of frames, held one at a time.

Hard cuts and fades through black are found; dissolves are not (the library has no detector of them).
"""

import collections
import dataclasses
from collections.abc import Iterable
from typing import Literal

import numpy as np

from data_pipelines.optional_deps import need
from vdm_jax.errors import UserError

SAME = 0.5  # levels of 255 by which a frame may differ from the one before and count as the same one shown twice


@dataclasses.dataclass(frozen=True)
class Shots:
    """How shots are told apart.

    detector: of hard cuts. `adaptive` compares a frame's change in hue, saturation and brightness with that of its
    neighbours, so that fast motion is no cut; `content` takes the change alone, `hash` a perceptual hash, `histogram`
    that of brightness; `none` finds no cuts.
    threshold: of that detector, in its own unit (adaptive: times the neighbours' change; content: levels of 255; hash
    and histogram: 0 to 1); none: the library's default. least_change: of `adaptive`, the levels of 255 that a frame
    must change by to begin a shot.
    fades: whether a black stretch ends a shot and is one of its own. fade_level: the mean of R, G and B, 0 to 255,
    below which a frame is black to this.
    flash_seconds: a picture that goes for no longer than this and comes back (a flash, a dropped frame) is no cut.
    width: pixels that frames are shrunk to before they are compared: few, so that noise and fine detail on the move
    count for little.
    """

    detector: Literal['adaptive', 'content', 'hash', 'histogram', 'none'] = 'adaptive'
    threshold: float | None = None
    least_change: float = 12.0
    fades: bool = True
    fade_level: int = 12
    flash_seconds: float = 0.2
    width: int = 64

    def __post_init__(self):
        if self.width < 8:
            raise UserError(f'recipe.shots.width is {self.width}; want at least 8 pixels')
        for name in ('threshold', 'least_change', 'fade_level', 'flash_seconds'):
            if (value := getattr(self, name)) is not None and value < 0:
                raise UserError(f'recipe.shots.{name} is {value}; want 0 or more')


def find(frames: Iterable[tuple[int, np.ndarray]], times: np.ndarray, config: Shots) -> list[tuple[int, int]]:
    """The shots as (first, stop) frame numbers: without gaps, from the first frame that came to the last.

    frames: (number, uint8 (H, W, 3) RGB), numbers rising by one, as decode.stream yields them. times: seconds of each
    frame by its number. No shot is left out for being short: those are for limits on clips to drop.
    Raises: UserError where the libraries are not installed.
    """
    hard = Cuts(config, times) if config.detector != 'none' else None
    fades = Fades(config, times) if config.fades else None
    first = number = None
    for number, frame in frames:
        first = number if first is None else first
        if hard or fades:
            small = shrink(frame, config.width)
            for detector in filter(None, (hard, fades)):
                detector.add(number, small)
    if first is None:
        return []
    cuts = hard.finish() if hard else []
    black = fades.finish(number + 1) if fades else []
    for begin, end in black:  # beside it hue jumps, which black has none of
        since, until = times[begin] - config.flash_seconds, times[min(end, number)] + config.flash_seconds
        cuts = [cut for cut in cuts if not since <= times[cut] <= until]
    inner = {edge for edge in (*cuts, *(edge for stretch in black for edge in stretch)) if first < edge <= number}
    edges = [first, *sorted(inner), number + 1]
    return list(zip(edges, edges[1:], strict=False))


def shrink(frame: np.ndarray, width: int) -> np.ndarray:
    """The frame as uint8 BGR, the channel order of OpenCV, at most so many pixels wide."""
    cv2 = need('cv2')
    height, across = frame.shape[:2]
    if across > width:
        frame = cv2.resize(frame, (width, max(1, round(height * width / across))), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(frame[..., ::-1])


class Cuts:
    """Hard cuts, in the order of the frames. Two kinds of frames are passed over: those shown twice (24 frames a second
    told as 30), since beside a change of nothing every motion looks like a cut, and flashes.
    """

    def __init__(self, config, times):
        detectors = need('scenedetect.detectors')
        given = {} if config.threshold is None else {'threshold': config.threshold}
        if config.detector == 'adaptive':
            given = {'adaptive_threshold': config.threshold} if given else {}
            made = detectors.AdaptiveDetector(min_scene_len=0, min_content_val=config.least_change, **given)
        else:
            kind = {'content': 'ContentDetector', 'hash': 'HashDetector', 'histogram': 'HistogramDetector'}
            made = getattr(detectors, kind[config.detector])(min_scene_len=0, **given)
        self._detector, self._times = made, times
        self._lag = made.event_buffer_length  # frames after which a cut is told
        self._flash = config.flash_seconds
        self._held = collections.deque()  # (number, picture), for as long as a flash may last
        self._after = set()  # the first frames after flashes, which begin no shot
        self._fed = 0
        self._numbers = collections.deque(maxlen=self._lag + 1)  # of the last frames that the detector was fed
        self._cuts = []

    def add(self, number, small):
        """Takes the next frame, uint8 (H, W, 3)."""
        held = self._held
        if count := self._flashed(number, small):
            self._after.add(number)
            for _ in range(count):
                held.pop()
        if held and _apart(held[-1][1], small) < SAME:
            return
        held.append((number, small))
        while len(held) > 1 and self._times[number] - self._times[held[1][0]] >= self._flash:
            self._feed(*held.popleft())

    def finish(self):
        """The numbers of the first frames of shots."""
        for number, small in self._held:
            self._feed(number, small)
        for _ in range(self._lag if self._held else 0):
            self._feed(*self._held[-1])
        return self._cuts

    def _flashed(self, number, small):
        """How many of the frames before this one were a flash: much changes from the frame before them to them, and
        from them to this one, but little from the frame before them to this one.
        """
        back = _apart(self._held[-1][1], small) if len(self._held) > 1 else 0
        for count in range(1, len(self._held)):
            (_, before), (since, first) = self._held[-count - 1], self._held[-count]
            if self._times[number] - self._times[since] > self._flash:
                break
            if 3 * _apart(before, small) < 2 * min(back, _apart(before, first)):
                return count
        return 0

    def _feed(self, number, small):
        if not self._numbers:  # held still before and after, so that a cut beside the ends is found
            for _ in range(self._lag):
                self._told(number, small)
        self._told(number, small)

    def _told(self, number, small):
        self._numbers.append(number)
        found = self._detector.process_frame(_timecode(self._fed), small)
        self._fed += 1
        self._cuts += sorted({self._numbers[cut.frame_num - self._fed] for cut in found} - self._after)


class Fades:
    """Black stretches as (first, stop) frame numbers."""

    def __init__(self, config, times):
        # a cut is where it becomes black; the frame at which it is told is the first that is not
        kind = need('scenedetect.detectors').ThresholdDetector
        self._detector = kind(config.fade_level, min_scene_len=0, fade_bias=-1.0, add_final_scene=True)
        self._flash, self._times = config.flash_seconds, times
        self._found = []

    def add(self, number, small):
        for cut in self._detector.process_frame(_timecode(number), small):
            if self._times[number] - self._times[cut.frame_num] > self._flash:
                self._found.append((cut.frame_num, number))

    def finish(self, stop):
        return self._found + [(cut.frame_num, stop) for cut in self._detector.post_process(_timecode(stop - 1))]


def _timecode(number):
    """PySceneDetect's name of a frame; it is asked for frame numbers only, so the rate stands for nothing."""
    return need('scenedetect').FrameTimecode(number, fps=25.0)


def _apart(one, other):
    """Mean absolute difference of two pictures, in levels of 255."""
    cv2 = need('cv2')
    return cv2.norm(one, other, cv2.NORM_L1) / one.size
