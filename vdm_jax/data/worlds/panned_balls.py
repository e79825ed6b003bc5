"""Bouncing balls in a room that is wider than the picture, seen by a camera that pans.

The camera moves sideways at constant speed over a clip, its direction random, and shows of the room's `width` as much
as the picture is wide; it never looks past the side walls, off which balls bounce. The room's back wall is the same in
every clip: upright stripes in shades of dark grey, none wider than STRIPES[1], in an order that does not repeat, so
that what is in view says where the camera is. Balls are lit and coloured as ever, in front of it.

A clip starts such that every ball stays in view, all of it, to the last frame; starts are preferred from which one
bounces off a side wall. Half of the cameras set out from a side wall or arrive at one, so that this can happen.
"""

import dataclasses
from typing import Annotated, ClassVar

import numpy as np

from vdm_jax.config.frame_size import FrameSize
from vdm_jax.config.ranges import Between, Frames, Share
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls, Gravity, Setting, Speed, Truth

STRIPES = (0.08, 0.16)  # sides
GREYS = (0, 28, 56, 84)  # no two neighbours alike
WALL_SEED = 2024  # of the one back wall
Pan = Annotated[float, Between(0, 0.5, below=True)]  # 0: a camera at rest


@dataclasses.dataclass(frozen=True)
class Panned(Setting):
    """A camera whose picture begins at x = left + speed * t, in sides and frames."""

    left: float = 0.0
    speed: float = 0.0

    def path(self, frames: int) -> np.ndarray:
        """(T,)."""
        return self.left + self.speed * np.arange(frames)


@dataclasses.dataclass(frozen=True)
class PanTruth(Truth):
    """What is behind one clip, in pixels and frames; `positions` and `velocities` are those in the room."""

    camera: np.ndarray  # (T,) x of the left edge of the picture

    @property
    def in_picture(self) -> np.ndarray:
        """(T, N, 2) centres (x, y) from the picture's own corner."""
        return self.positions - np.stack([self.camera, 0 * self.camera], -1)[:, None]


@dataclasses.dataclass(frozen=True)
class PannedBalls(BouncingBalls):
    """config.data of the balls under a panning camera, and the source itself (see BouncingBalls).

    Raises: UserError, naming config.data.KEY, for a world that cannot be drawn.
    """

    frames: Frames = 16
    pixels: FrameSize = 32
    gravity: Gravity = 0.006  # sides per frame^2
    speed: Speed = 0.05  # sides per frame, as in BouncingBalls
    bar: Share = 0.0  # stays 0
    pan: Pan = 0.04  # sides per frame: the camera moves at most this fast, and at least 0.3 times
    candidates: ClassVar[int] = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check('bar', self.bar == 0, 'no bar stands in a room that is panned: set it to 0')

    @property
    def width(self) -> float:
        return self.view[1] + self.pan * (self.frames - 1)

    def truth(self, i: int) -> PanTruth:
        """Positions and velocities in the room and the camera of clip i."""
        _, _, setting = self._scene(i)
        return PanTruth(**vars(super().truth(i)), camera=setting.path(self.frames) * self.unit)

    def back_wall(self, left: np.ndarray) -> np.ndarray:
        """The back wall's columns as seen from cameras at left (...), in sides: grey, 0 to 255, (..., W)."""
        edges, greys = stripes(self.width)
        # The sum of all grey up to x is piecewise linear; a pixel is the difference of it over its width.
        total = np.concatenate([[0], np.cumsum(greys * np.diff(edges))])
        seen = np.asarray(left)[..., None] + np.arange(self.shape[2] + 1) / self.unit
        return np.diff(np.interp(seen, edges, total), axis=-1) * self.unit

    def _settings(self, rng):
        place, speed, sign = rng.random(3)
        speed = self.pan * (0.3 + 0.7 * speed) * (1 if sign < 0.5 else -1)
        travel = speed * (self.frames - 1)
        left = max(-travel, 0) + np.clip(2 * place - 0.5, 0, 1) * (self.width - self.view[1] - abs(travel))
        # Many balls may not all keep up with a camera: then it is at rest.
        return Panned(left=left, speed=speed), Panned(left=left, speed=0.0)

    def _starts(self, uniform, setting):
        start = super()._starts(uniform, setting)
        start[..., 0] = setting.left + self.radius + (self.view[1] - 2 * self.radius) * uniform[0]
        return start

    def _merit(self, start, setting):
        positions, velocities = self._fly(start, np.arange(self.frames))
        x = positions[..., 0] - setting.path(self.frames)[:, None, None]
        half = self.view[1] / 2
        in_view = (np.abs(x - half) <= half - self.radius).all((0, 2))
        turns = (velocities[..., 0] != velocities[0, ..., 0]).any((0, 2))
        return super()._merit(start, setting) * in_view * (1 + turns)

    def _backdrop(self, positions, setting):
        return self.back_wall(setting.path(self.frames)).astype(np.float32)[:, None]

    def _cover(self, positions, setting):
        camera = np.zeros_like(positions)
        camera[..., 0] = setting.path(self.frames)[:, None]
        return super()._cover(positions - camera, setting)


def stripes(width: float) -> tuple[np.ndarray, np.ndarray]:
    """The back wall: edges (K + 1,) in sides from 0 to at least `width`, and the grey (K,) between them."""
    rng = np.random.Generator(np.random.Philox(key=WALL_SEED))
    edges, greys, grey = [0.0], [], 0
    while edges[-1] < width:
        # Drawn stripe by stripe: a wider room goes on where a narrower one ends.
        step, change = rng.random(2)
        grey = (grey + 1 + int(change * (len(GREYS) - 1))) % len(GREYS)
        greys.append(GREYS[grey])
        edges.append(edges[-1] + STRIPES[0] + step * (STRIPES[1] - STRIPES[0]))
    return np.array(edges), np.array(greys, np.float64)
