"""Does the camera pan evenly over a room that stands still? Figures of clips for the world of panned balls.

They stand beside those of physics.py, which are taken in the room: balls are found with the grey taken away, and where
the camera was found to be is added to where they were found. The camera of each frame is found by itself: the grey of
each column, balls left out, is correlated with the back wall as seen from every place.

wall: share of frames that correlate at LIKE or better with the back wall, from the best place for each.
pan_px: how fast the camera moves: slope, left or right, of the best line through its places; pixels per frame, mean.
pan_residual_px: root mean square distance of a clip's places from that line, mean.
"""

import dataclasses

import numpy as np

from vdm_jax.data.panned_balls import PannedBalls
from vdm_jax.evals import physics
from vdm_jax.evals.balls import find, is_grey, without_grey
from vdm_jax.evals.protocols import BallPhysics

LIKE = 0.9  # correlation
COARSE, FINE = 4, 64  # places in a pixel, in two rounds
SHOWN = 0.5  # of the columns must show some wall
FEWEST = 3  # frames in which the camera must be found for its motion to be told


@dataclasses.dataclass(frozen=True)
class HeldWall(PannedBalls):
    """A control: the balls are seen by a camera that pans, the wall by one that does not."""

    def _backdrop(self, positions, setting):
        return super()._backdrop(positions, setting)[:1]  # the first frame's, in all of them


@dataclasses.dataclass(frozen=True)
class ShuffledWall(PannedBalls):
    """A control: the wall is that of other frames, in an order of their own."""

    def _backdrop(self, positions, setting):
        order = np.random.default_rng(self.frames).permutation(self.frames)
        return super()._backdrop(positions, setting)[order]


def figures(videos: np.ndarray, world: PannedBalls, train: np.ndarray | None = None) -> dict[str, float]:
    """physics.figures in the room, of clips uint8 (N, T, H, W, 3), and those of the camera; nan where it is lost."""
    places = [find_camera(video, world) for video in videos]
    cameras, likeness = np.stack(places, axis=1)
    tracks = [find(without_grey(video), world) for video in videos]
    for each, camera in zip(tracks, cameras, strict=True):
        each.positions[..., 0] += np.nan_to_num(camera)[:, None]
    lines = np.array([_line(camera) for camera in cameras])

    def known(values):
        return float(np.nanmean(values)) if np.isfinite(values).any() else float('nan')

    return physics.figures(videos, world, train, tracks) | {
        'wall': float((likeness >= LIKE).mean()),
        'pan_px': known(np.abs(lines[:, 0])),
        'pan_residual_px': known(lines[:, 1]),
    }


def judge(found: dict[str, float], real: dict[str, float]) -> dict[str, bool]:
    """physics.judge, and a verdict on wall and camera beside those of real clips."""
    return physics.judge(found, real) | {
        'wall': bool(found['wall'] >= 0.8),
        'pan': bool(abs(found['pan_px'] - real['pan_px']) <= 0.3 * real['pan_px']),
        'pan_residual': bool(found['pan_residual_px'] <= max(3 * real['pan_residual_px'], 0.3)),
    }


def find_camera(video: np.ndarray, world: PannedBalls) -> tuple[np.ndarray, np.ndarray]:
    """Where the picture of each frame of a clip, uint8 (T, H, W, 3), begins in the room, and how alike the wall is.

    Two arrays (T,): x in pixels, nan where no place is like the wall at all, and the correlation there, -1 to 1.
    """
    grey, bare = video.min(-1).astype(np.float64), is_grey(video)
    free = bare.sum(1)
    columns = (grey * bare).sum(1) / np.maximum(free, 1)
    reach = world.width - world.view[1]
    coarse = np.linspace(0, reach, int(np.ceil(reach * world.unit * COARSE)) + 1)
    walls = world.back_wall(coarse)
    found = [_place(row, weight, coarse, walls, world) for row, weight in zip(columns, free, strict=True)]
    return tuple(np.array(found).T)


def _place(columns, weight, coarse, walls, world):
    """Place in pixels and correlation of one frame's columns (W,), each with so many pixels that show it."""
    alike = _correlation(columns, walls, weight)
    if (weight > 0).mean() < SHOWN or not alike.max() > 0:
        return np.nan, 0.0
    near = coarse[alike.argmax()] + np.arange(-FINE // COARSE, FINE // COARSE + 1) / (FINE * world.unit)
    near = near[(near >= 0) & (near <= world.width - world.view[1])]
    alike = _correlation(columns, world.back_wall(near), weight)
    return near[alike.argmax()] * world.unit, alike.max()


def _correlation(columns, walls, weight):
    """Weighted correlation of columns (W,) with each of walls (L, W); 0 where either has one grey only."""
    share = weight / max(weight.sum(), 1)
    columns = columns - columns @ share
    walls = walls - (walls @ share)[:, None]
    scale = np.sqrt((columns**2 @ share) * (walls**2 @ share))
    return (walls * columns) @ share / np.maximum(scale, 1e-6)


def _line(camera):
    """Slope of the best line through the camera's places (T,), and the root mean square distance from it."""
    times = np.flatnonzero(np.isfinite(camera))
    if len(times) < FEWEST:
        return np.nan, np.nan
    line = np.stack([np.ones(len(times)), times], 1)
    fit, *_ = np.linalg.lstsq(line, camera[times], rcond=None)
    return fit[1], np.sqrt(np.square(camera[times] - line @ fit).mean())


@dataclasses.dataclass(frozen=True)
class PanPhysics(BallPhysics):
    """BallPhysics in the room, and how the camera moves in it."""

    sources = (PannedBalls,)
    world = '_pan'
    figures = staticmethod(figures)
    judge = staticmethod(judge)
    wrong = {'wall_held': HeldWall, 'wall_shuffled': ShuffledWall}
