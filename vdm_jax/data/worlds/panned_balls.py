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
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls, Gravity, Setting, Speed, Truth, sideways_velocity

STRIPES = (0.08, 0.16)  # sides
GREYS = (0, 28, 56, 84)  # no two neighbours alike
WALL_SEED = 2024  # of the one back wall
Pan = Annotated[float, Between(0, 0.5, below=True)]  # 0: a camera at rest


@dataclasses.dataclass(frozen=True)
class Panned(Setting):
    """A camera whose picture begins at x = left + speed * t, in sides and frames.

    Attributes:
      left: Where it begins at time 0.
      speed: Sides per frame; negative to the left.
    """

    left: float = 0.0
    speed: float = 0.0

    def path(self, frames: int) -> np.ndarray:
        """Return where the picture begins in each frame: (T,)."""
        path: np.ndarray = self.left + self.speed * np.arange(frames)
        return path


@dataclasses.dataclass(frozen=True)
class PanTruth(Truth):
    """What is behind one clip, in pixels and frames; `positions` and `velocities` are those in the room.

    Attributes:
      camera: (T,) x of the left edge of the picture.
    """

    camera: np.ndarray

    @property
    def in_picture(self) -> np.ndarray:
        """(T, N, 2) centres (x, y) from the picture's own corner."""
        corners = np.stack([self.camera, np.zeros_like(self.camera)], -1)
        centres: np.ndarray = self.positions - corners[:, None]
        return centres


@dataclasses.dataclass(frozen=True)
class PannedBalls(BouncingBalls):
    """Clips of bouncing balls under a panning camera, made on the fly.

    Attributes:
      bar: Stays 0: no bar stands in a room that is panned.
      pan: In sides per frame: the camera moves at most this fast, and at least 0.3 times; 0 is a camera at rest.

    Raises:
      UserError: a world that cannot be drawn; it names config.data.KEY.
    """

    frames: Frames = 16
    pixels: FrameSize = 32
    gravity: Gravity = 0.006
    speed: Speed = 0.05
    bar: Share = 0.0
    pan: Pan = 0.04

    candidates: ClassVar[int] = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check('bar', self.bar == 0, 'no bar stands in a room that is panned: set it to 0')

    @property
    def width(self) -> float:
        """From one side wall to the other, in sides: room for the fastest camera."""
        return self.view[1] + self.pan * (self.frames - 1)

    def truth(self, i: int) -> PanTruth:
        """Return positions and velocities in the room, and the camera, of clip i."""
        _, _, setting = self._make_scene(i)
        return PanTruth(**vars(super().truth(i)), camera=self._camera(setting) * self.unit)

    def back_wall(self, left: np.ndarray) -> np.ndarray:
        """Return the back wall's columns as cameras see it from `left` (...), in sides: grey, 0 to 255, (..., W)."""
        edges, greys = stripes(self.width)
        # The sum of all grey up to x is piecewise linear; a pixel is the difference of it over its width.
        total = np.concatenate([[0], np.cumsum(greys * np.diff(edges))])
        columns = np.asarray(left)[..., None] + np.arange(self.shape[2] + 1) / self.unit
        wall: np.ndarray = np.diff(np.interp(columns, edges, total), axis=-1) * self.unit
        return wall

    def _camera(self, setting: Setting) -> np.ndarray:
        """Return where the picture begins in each frame, in sides: (T,)."""
        assert isinstance(setting, Panned)
        return setting.path(self.frames)

    def _draw_settings(self, rng: np.random.Generator) -> tuple[Setting, ...]:
        where, speed, sign = rng.random(3)
        speed = sideways_velocity(self.pan, speed, sign)
        travel = speed * (self.frames - 1)
        # Stretched to (-0.5, 1.5) and clipped, half of the cameras have a side wall in view at first or at last.
        left = max(-travel, 0) + np.clip(2 * where - 0.5, 0, 1) * (self.width - self.view[1] - abs(travel))
        # Many balls may not all keep up with a camera: then it is at rest.
        return Panned(left=left, speed=speed), Panned(left=left, speed=0.0)

    def _make_starts(self, uniform: np.ndarray, setting: Setting) -> np.ndarray:
        start = super()._make_starts(uniform, setting)
        first_left = self._camera(setting)[0]
        # Anew, over what the camera sees at first: the room is wider.
        start[..., 0] = first_left + self.radius + (self.view[1] - 2 * self.radius) * uniform[0]
        return start

    def _rate_starts(self, start: np.ndarray, setting: Setting) -> np.ndarray:
        positions, velocities = self._fly(start, np.arange(self.frames))
        x = positions[..., 0] - self._camera(setting)[:, None, None]
        half = self.view[1] / 2
        stays_in_view = (np.abs(x - half) <= half - self.radius).all((0, 2))
        hits_wall = (velocities[..., 0] != velocities[0, ..., 0]).any((0, 2))
        ratings: np.ndarray = super()._rate_starts(start, setting) * stays_in_view * (1 + hits_wall)
        return ratings

    def _draw_backdrop(self, positions: np.ndarray, setting: Setting) -> np.ndarray:
        del positions
        return self.back_wall(self._camera(setting)).astype(np.float32)[:, None]

    def _compute_cover(self, positions: np.ndarray, setting: Setting) -> tuple[np.ndarray, np.ndarray | np.float32]:
        camera = np.zeros_like(positions)
        camera[..., 0] = self._camera(setting)[:, None]
        return super()._compute_cover(positions - camera, setting)


def stripes(width: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the stripes of the back wall.

    Returns:
      edges: (K + 1,), in sides, from 0 to at least `width`.
      greys: (K,), of the stripes between them.
    """
    rng = np.random.Generator(np.random.Philox(key=WALL_SEED))
    edges = [0.0]
    greys: list[int] = []
    shade = 0
    while edges[-1] < width:
        # Drawn stripe by stripe: a wider room goes on where a narrower one ends.
        step, change = rng.random(2)
        shade = (shade + 1 + int(change * (len(GREYS) - 1))) % len(GREYS)
        greys.append(GREYS[shade])
        edges.append(edges[-1] + STRIPES[0] + step * (STRIPES[1] - STRIPES[0]))
    return np.array(edges), np.array(greys, np.float64)
