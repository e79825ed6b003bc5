"""Dense optical flow behind one interface: which way each pixel of a frame goes until another one.

Flow is float32 (H, W, 2), (dx, dy) in pixels, x right and y down: what is at (x, y) of the first frame is at
(x + dx, y + dy) of the second one.
"""

import math
import types
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from vdm_jax.config.ranges import Between
from vdm_jax.errors import UserError
from vdm_jax.evals.temporal.clips import compute_luma, round_to_bytes


class Flow(ABC):
    """What finds the flow between frames.

    least_side: Pixels that the shorter side of a frame has to have.
    """

    least_side: ClassVar[int] = 1

    @abstractmethod
    def compute(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the flow from one frame (H, W, C), 0 to 255, to another one: float32 (H, W, 2)."""

    @abstractmethod
    def describe(self) -> str:
        """Return what it is, for the settings of a score."""

    def compute_forward(self, clip: np.ndarray, number: int, interval: int = 1) -> np.ndarray:
        """Return the flow from each frame of a clip to the next one.

        Args:
          clip: (T, H, W, C).
          number: Of the clip in its set.
          interval: Of every how many frames one is looked at.

        Returns:
          float32 (pairs, H, W, 2), T - 1 pairs at an interval of 1.
        """
        return self._compute_pairs(clip[:-interval:interval], clip[interval::interval])

    def compute_backward(self, clip: np.ndarray, number: int) -> np.ndarray:
        """Return the flow to each frame of clip `number` from the next one: (T, H, W, C) -> (T - 1, H, W, 2)."""
        return self._compute_pairs(clip[1:], clip[:-1])

    def _compute_pairs(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        flows = np.zeros((len(first), *first.shape[1:3], 2), np.float32)
        for t, pair in enumerate(zip(first, second, strict=True)):
            flows[t] = self.compute(*pair)
        return flows


@dataclass(frozen=True)
class Farneback(Flow):
    """OpenCV's flow by expansion into polynomials (Farnebäck 2003), with the parameters of its documentation.

    Attributes:
      window: Pixels over which flow is averaged.
      levels: Of the pyramid, each half as large as the one before.
      iterations: On each level.
    """

    window: Annotated[int, Between(3, 101)] = 15
    levels: Annotated[int, Between(1, 10)] = 3
    iterations: Annotated[int, Between(1, 100)] = 3

    def compute(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the flow of the frames' luma.

        Raises:
          UserError: OpenCV is not installed.
        """
        cv2 = import_cv2('farneback')
        settings = (0.5, self.levels, self.window, self.iterations, 5, 1.2, 0)
        flow: np.ndarray = cv2.calcOpticalFlowFarneback(_to_grey(first), _to_grey(second), None, *settings)
        return flow

    def describe(self) -> str:
        """Return its name, parameters and OpenCV's version."""
        version = import_cv2('farneback').__version__
        return f'farneback(window={self.window}, levels={self.levels}, iterations={self.iterations}), opencv {version}'


@dataclass(frozen=True)
class DIS(Flow):
    """OpenCV's dense inverse search (Kroeger et al. 2016, arXiv:1603.03590), its medium preset."""

    least_side: ClassVar[int] = 32  # OpenCV ends the process on frames of 8

    def compute(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the flow of the frames' luma.

        Raises:
          UserError: OpenCV is not installed.
        """
        cv2 = import_cv2('dis')
        # One for each pair: it would otherwise start from the flow of the last one.
        search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        flow: np.ndarray = search.calc(_to_grey(first), _to_grey(second), None)
        return flow

    def describe(self) -> str:
        """Return its name and OpenCV's version."""
        return f'dis(medium), opencv {import_cv2("dis").__version__}'


@dataclass(frozen=True)
class BlockMatching(Flow):
    """The shift by whole pixels that suits the block around each pixel best: exact where all shifts are whole.

    A shift has to suit better by `penalty` for each of its pixels: so nothing moves where nothing can be seen to move,
    and noise does not. Shifts that take more than three quarters of a block out of the frame are not considered.

    Attributes:
      radius: The longest shift along x, and along y, in pixels; a quarter of the frame's shorter side at most.
      block: Side of a block in pixels; an even number stands for the odd one after it.
      penalty: Difference of values of 0 to 255 that a pixel of the way is worth.
    """

    radius: Annotated[int, Between(1, 64)] = 6
    block: Annotated[int, Between(1, 63)] = 7
    penalty: Annotated[float, Between(0, 255)] = 1.0

    def compute(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the best shift of each pixel, by the mean absolute difference over its block."""
        # Bytes, whose sums are whole: equal costs compare as equal.
        a = round_to_bytes(first).astype(np.int32)
        b = round_to_bytes(second).astype(np.int32)
        flow = np.zeros((*a.shape[:2], 2), np.float32)
        least = np.full(a.shape[:2], np.inf)
        fewest = (2 * (self.block // 2) + 1) ** 2 / 4

        radius = min(self.radius, min(a.shape[:2]) // 4)
        for dx, dy in _order_shifts(radius):
            cost, count = self._compare(a, b, dx, dy)
            # In the corner of a frame no shift has as many: there the block as it is will do.
            is_open = (count >= fewest) if (dx, dy) != (0, 0) else count > 0
            mean = cost / np.maximum(count * a.shape[2], 1) + self.penalty * math.hypot(dx, dy)
            is_better = is_open & (mean < least)
            least[is_better] = mean[is_better]
            flow[is_better] = dx, dy
        return flow

    def _compare(self, a: np.ndarray, b: np.ndarray, dx: int, dy: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the summed differences over each block for one shift, and how many pixels of it stay in the frame."""
        height, width = a.shape[:2]
        rows = slice(max(-dy, 0), height - max(dy, 0))
        columns = slice(max(-dx, 0), width - max(dx, 0))
        rows_there = slice(rows.start + dy, rows.stop + dy)
        columns_there = slice(columns.start + dx, columns.stop + dx)

        cost = np.zeros((height, width), np.int64)
        cost[rows, columns] = np.abs(a[rows, columns] - b[rows_there, columns_there]).sum(-1)
        half = self.block // 2
        count = np.outer(_count_block(height, half, rows), _count_block(width, half, columns))
        return _sum_blocks(cost, half), count

    def describe(self) -> str:
        """Return its name and parameters."""
        return f'block_matching(radius={self.radius}, block={self.block}, penalty={self.penalty:g})'


@dataclass(frozen=True, eq=False)
class StoredFlow(Flow):
    """Flow that is known: of a world that was drawn, or computed elsewhere.

    Attributes:
      forward: float (N, T - 1, H, W, 2), from each frame of clip n to the next.
      backward: float (N, T - 1, H, W, 2), to each frame from the next.
      name: Where it comes from.
    """

    forward: np.ndarray
    backward: np.ndarray
    name: str = 'exact'

    def compute(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Refuse: it is known only between the frames that it was stored for.

        Raises:
          UserError: Always.
        """
        raise UserError(f'flow {self.name} is known between neighbouring frames of its own clips alone')

    def compute_forward(self, clip: np.ndarray, number: int, interval: int = 1) -> np.ndarray:
        """Return what is stored.

        Raises:
          UserError: It is of other clips, or wanted between frames that are no neighbours.
        """
        if interval != 1:
            raise UserError(f'flow {self.name} is known between neighbouring frames alone: set fps to 8 or less')
        return self._select(self.forward, clip, number)

    def compute_backward(self, clip: np.ndarray, number: int) -> np.ndarray:
        """Return what is stored."""
        return self._select(self.backward, clip, number)

    def describe(self) -> str:
        """Return where it comes from."""
        return self.name

    def _select(self, flows: np.ndarray, clip: np.ndarray, number: int) -> np.ndarray:
        wanted = (len(clip) - 1, *clip.shape[1:3], 2)
        if number >= len(flows) or flows.shape[1:] != wanted:
            raise UserError(f'flow {self.name} is {flows.shape}: clip {number} wants (clips, {str(wanted)[1:]}')
        flow: np.ndarray = flows[number]
        return flow


FLOWS: dict[str, type[Flow]] = {'farneback': Farneback, 'dis': DIS, 'block_matching': BlockMatching}


def import_cv2(name: str) -> types.ModuleType:
    """Return OpenCV's module, which the flow of that name needs.

    Raises:
      UserError: It is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise UserError(
            f"flow={name} needs opencv: pip install 'vdm_jax[curate]', or take flow=block_matching"
        ) from error
    module: types.ModuleType = cv2
    return module


def choose_flow(name: str) -> Flow:
    """Return the flow of a name; 'best' is Farneback's where OpenCV is installed, else block matching.

    Raises:
      UserError: It needs OpenCV, which is not installed.
    """
    if name != 'best':
        flow = FLOWS[name]()
        # So that a lack of OpenCV shows before anything is computed.
        flow.describe()
        return flow
    try:
        import_cv2('farneback')
    except UserError:
        return BlockMatching()
    return Farneback()


def _to_grey(frame: np.ndarray) -> np.ndarray:
    grey: np.ndarray = np.rint(compute_luma(frame)).astype(np.uint8)
    return grey


def _order_shifts(radius: int) -> list[tuple[int, int]]:
    """Return all shifts (dx, dy) within a radius, the shortest first."""
    reach = range(-radius, radius + 1)
    shifts = [(dx, dy) for dy in reach for dx in reach]
    return sorted(shifts, key=lambda shift: shift[0] ** 2 + shift[1] ** 2)


def _count_block(size: int, half: int, inside: slice) -> np.ndarray:
    """Count along one axis which of the 2 half + 1 pixels around each one are inside: (size,)."""
    pixels = np.arange(size)
    last = np.minimum(pixels + half + 1, inside.stop)
    first = np.maximum(pixels - half, inside.start)
    count: np.ndarray = np.maximum(last - first, 0)
    return count


def _sum_blocks(values: np.ndarray, half: int) -> np.ndarray:
    """Sum over the block of 2 half + 1 around each pixel, as far as it lies in the frame: int64 (H, W) -> (H, W)."""
    sums = values
    for axis in (0, 1):
        size = sums.shape[axis]
        # Differences of running sums: the time does not hang on the size of a block.
        running = np.concatenate([np.zeros_like(np.take(sums, [0], axis)), np.cumsum(sums, axis)], axis)
        pixels = np.arange(size)
        last = np.minimum(pixels + half + 1, size)
        first = np.maximum(pixels - half, 0)
        sums = np.take(running, last, axis) - np.take(running, first, axis)
    return sums
