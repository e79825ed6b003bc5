"""Does the camera pan evenly over a room that stands still? Figures of clips for the world of panned balls.

They stand beside those of physics.py, which are taken in the room: balls are tracked with the grey taken away, and the
position of the camera is added to theirs. The camera of each frame is found by itself: the grey of each column, balls
left out, is correlated with the back wall as seen from every position.

wall             share of frames that correlate at LIKE or better with the back wall, from the best position for each.
pan_px           how fast the camera moves: slope, left or right, of the best line through its positions; pixels per
                 frame, mean.
pan_residual_px  root mean square distance of a clip's positions from that line, mean.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from vdm_jax.data.source import Source
from vdm_jax.data.worlds.bouncing_balls import Setting
from vdm_jax.data.worlds.panned_balls import PannedBalls
from vdm_jax.evals.verdicts import is_near, is_small
from vdm_jax.evals.worlds import physics
from vdm_jax.evals.worlds.ball_physics import BallPhysics
from vdm_jax.evals.worlds.ball_tracking import is_grey, remove_grey, track_balls

LIKE = 0.9  # correlation
COARSE = 4  # positions in a pixel, in the first round
FINE = 64  # positions in a pixel, in the second round
SHOWN = 0.5  # of the columns must show some wall
FEWEST = 3  # frames in which the camera must be seen for its motion to be known


@dataclasses.dataclass(frozen=True)
class HeldWall(PannedBalls):
    """A control: the balls are seen by a camera that pans, the wall by one that does not."""

    def _draw_backdrop(self, positions: np.ndarray, setting: Setting) -> np.ndarray:
        return super()._draw_backdrop(positions, setting)[:1]  # the first frame's, in all of them


@dataclasses.dataclass(frozen=True)
class ShuffledWall(PannedBalls):
    """A control: the wall is that of other frames, in an order of their own."""

    def _draw_backdrop(self, positions: np.ndarray, setting: Setting) -> np.ndarray:
        order = np.random.default_rng(self.frames).permutation(self.frames)
        return super()._draw_backdrop(positions, setting)[order]


def measure(videos: np.ndarray, world: PannedBalls, train: np.ndarray | None = None) -> dict[str, float]:
    """Return physics.measure in the room, of clips uint8 (N, T, H, W, 3), and the camera's figures; nan where lost."""
    cameras, correlations = np.stack([find_camera(video, world) for video in videos], axis=1)

    # Where balls are in the room is where they are in the picture, and where the camera is.
    tracks = [track_balls(remove_grey(video), world) for video in videos]
    for each, camera in zip(tracks, cameras, strict=True):
        each.positions[..., 0] += np.nan_to_num(camera)[:, None]

    def average(values: np.ndarray) -> float:
        return float(np.nanmean(values)) if np.isfinite(values).any() else float('nan')

    slopes, residuals = np.array([_fit_line(camera) for camera in cameras]).T
    return physics.measure(videos, world, train, tracks) | {
        'wall': float((correlations >= LIKE).mean()),
        'pan_px': average(np.abs(slopes)),
        'pan_residual_px': average(residuals),
    }


def judge(figures: dict[str, float], real: dict[str, float]) -> dict[str, bool]:
    """Judge as physics.judge does, and wall and camera beside those of real clips."""
    return physics.judge(figures, real) | {
        'wall': bool(figures['wall'] >= 0.8),
        'pan': is_near(figures['pan_px'], real['pan_px']),
        'pan_residual': is_small(figures['pan_residual_px'], real['pan_residual_px']),
    }


def find_camera(video: np.ndarray, world: PannedBalls) -> tuple[np.ndarray, np.ndarray]:
    """Find where the picture of each frame of a clip, uint8 (T, H, W, 3), begins in the room.

    Returns:
      Two arrays (T,): x in pixels, nan where no position is like the wall at all, and how much the wall there
      correlates with the picture, -1 to 1.
    """
    grey = video.min(-1).astype(np.float64)
    bare = is_grey(video)
    free = bare.sum(1)
    # The wall is the same in all rows, so each column is one number: the mean of what no ball covers.
    columns = (grey * bare).sum(1) / np.maximum(free, 1)

    reach = world.width - world.view[1]

    coarse = np.linspace(0, reach, int(np.ceil(reach * world.unit * COARSE)) + 1)
    walls = world.back_wall(coarse)
    frames = [_find_position(row, weight, coarse, walls, world) for row, weight in zip(columns, free, strict=True)]
    positions, correlations = np.array(frames).T
    return positions, correlations


def _find_position(
    columns: np.ndarray, weight: np.ndarray, coarse: np.ndarray, walls: np.ndarray, world: PannedBalls
) -> tuple[float, float]:
    """Return position in pixels and correlation of one frame.

    Args:
      columns: Mean grey of each column, (W,).
      weight: Pixels of each column that show it, (W,).
      coarse: Positions that are tried first.
      walls: The back wall as seen from each of them, (len(coarse), W).
      world: Whose wall it is.
    """
    correlation = _correlate(columns, walls, weight)
    if (weight > 0).mean() < SHOWN or not correlation.max() > 0:
        return np.nan, 0.0

    # Only around the best of the coarse positions, as all positions in steps of 1/64 pixel would take long.
    near = coarse[correlation.argmax()] + np.arange(-FINE // COARSE, FINE // COARSE + 1) / (FINE * world.unit)
    near = near[(near >= 0) & (near <= world.width - world.view[1])]
    correlation = _correlate(columns, world.back_wall(near), weight)
    return near[correlation.argmax()] * world.unit, correlation.max()


def _correlate(columns: np.ndarray, walls: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted correlation of columns (W,) with each of walls (L, W); 0 where either has one grey only."""
    share = weight / max(weight.sum(), 1)
    columns = columns - columns @ share
    walls = walls - (walls @ share)[:, None]
    scale = np.sqrt((columns**2 @ share) * (walls**2 @ share))
    correlation: np.ndarray = (walls * columns) @ share / np.maximum(scale, 1e-6)
    return correlation


def _fit_line(camera: np.ndarray) -> tuple[float, float]:
    """Return the slope of the best line through the camera's positions (T,), and the root mean square distance."""
    times = np.flatnonzero(np.isfinite(camera))
    if len(times) < FEWEST:
        return np.nan, np.nan
    line = np.stack([np.ones(len(times)), times], 1)
    fit, *_ = np.linalg.lstsq(line, camera[times], rcond=None)
    return fit[1], np.sqrt(np.square(camera[times] - line @ fit).mean())


@dataclasses.dataclass(frozen=True)
class PanPhysics(BallPhysics[PannedBalls]):
    """BallPhysics in the room, and how the camera moves in it."""

    usual_sources: ClassVar = (PannedBalls,)
    suffix: ClassVar[str] = '_pan'
    wrong_worlds: ClassVar[dict[str, Callable[..., Source]]] = {'wall_held': HeldWall, 'wall_shuffled': ShuffledWall}
    further_figures: ClassVar = ('wall', 'pan_px', 'pan_residual_px')

    def measure(self, videos: np.ndarray, world: PannedBalls, train: np.ndarray | None = None) -> dict[str, float]:
        """Return the figures of this module."""
        return measure(videos, world, train)

    def judge(self, figures: dict[str, float], real: dict[str, float]) -> dict[str, bool]:
        """Return the verdicts of this module on figures of samples, beside those of real clips."""
        return judge(figures, real)
