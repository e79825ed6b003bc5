"""Bouncing balls over a lit ground: every ball casts a shadow, which follows the ball and the light.

The lowest GROUND of the picture is grey ground seen from slightly above; balls bounce on the line along its middle, the
floor. One light a clip hangs above the picture, out of sight, and moves sideways at constant speed. A shadow's centre
is where the line from the light through the ball's centre meets the floor, and its width is the ball's, enlarged as
similar triangles say: a ball on the floor stands on its shadow, one in the air has it farther from the light, and
larger. On the ground it is an ellipse FLAT times as high as wide, soft at its edge. Balls throw no shadow on each
other, and hide what of a shadow is behind them.

A clip starts such that every shadow's centre stays in the picture.
"""

import dataclasses
from typing import ClassVar

import numpy as np

from vdm_jax.config.frame_size import FrameSize
from vdm_jax.config.ranges import Frames, Share
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls, Gravity, Setting, Speed, Truth

GROUND = 0.18  # sides
GROUND_GREY, SHADE = 112, 0.8  # grey of the lit ground, and how much of it the middle of a shadow takes away
FLAT, SOFT = 0.4, 0.2  # height by width; share of its radius over which a shadow fades, to either side of its edge
LIGHT_HEIGHTS = (1.0, 3.0)  # heights of the picture above it
LIGHT_PLACES = (0.2, 0.8)  # widths of the picture from the left, in the middle of a clip


@dataclasses.dataclass(frozen=True)
class Lit(Setting):
    """A light at x + speed * t, y, in sides and frames; y < 0 is above the picture."""

    x: float = 0.0
    y: float = 0.0
    speed: float = 0.0

    def path(self, frames: int) -> np.ndarray:
        """(T, 2)."""
        return np.stack([self.x + self.speed * np.arange(frames), np.full(frames, self.y)], -1)


@dataclasses.dataclass(frozen=True)
class ShadowTruth(Truth):
    """What is behind one clip, in pixels and frames."""

    light: np.ndarray  # (T, 2) its place (x, y)
    shadows: np.ndarray  # (T, N) x of their centres
    widths: np.ndarray  # (T, N)


@dataclasses.dataclass(frozen=True)
class ShadowedBalls(BouncingBalls):
    """config.data of the balls with shadows, and the source itself (see BouncingBalls).

    Raises: UserError, naming config.data.KEY, for a world that cannot be drawn.
    """

    frames: Frames = 16
    pixels: FrameSize = 32
    gravity: Gravity = 0.006  # sides per frame^2
    speed: Speed = 0.05  # sides per frame, as in BouncingBalls
    bar: Share = 0.0  # stays 0
    light: Speed = 0.05  # sides per frame: the light moves sideways at most this fast, and at least 0.3 times
    candidates: ClassVar[int] = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check('bar', self.bar == 0, 'a bar would need a shadow of its own: set it to 0')

    @property
    def floor(self) -> float:
        return self.view[0] - GROUND / 2

    def truth(self, i: int) -> ShadowTruth:
        """Positions, velocities, light and shadows of clip i."""
        start, _, setting = self._scene(i)
        light = setting.path(self.frames)
        shadows, widths = self._shadows(self._fly(start, np.arange(self.frames))[0], light)
        side = self.unit
        return ShadowTruth(**vars(super().truth(i)), light=light * side, shadows=shadows * side, widths=widths * side)

    def _settings(self, rng):
        x, y, speed, sign = rng.random(4)
        height, width = self.view
        x = width * (LIGHT_PLACES[0] + x * (LIGHT_PLACES[1] - LIGHT_PLACES[0]))
        y = height * (-LIGHT_HEIGHTS[0] - y * (LIGHT_HEIGHTS[1] - LIGHT_HEIGHTS[0]))
        speed = self.light * (0.3 + 0.7 * speed) * (1 if sign < 0.5 else -1)
        # Many balls may leave no room: then the light is the highest, and at rest.
        resting = Lit(x=0.5 * width, y=-LIGHT_HEIGHTS[1] * height, speed=0.0)
        return Lit(x=x - speed * (self.frames - 1) / 2, y=y, speed=speed), resting

    def _shadows(self, positions, light):
        return cast(positions, light, self.radius, self.floor)

    def _merit(self, start, setting):
        positions, _ = self._fly(start, np.arange(self.frames))
        shadows, _ = cast(positions, setting.path(self.frames), self.radius, self.floor)
        return super()._merit(start, setting) * ((0 <= shadows) & (shadows <= self.view[1])).all((0, 2))

    def _backdrop(self, positions, setting):
        rows, columns = ((np.arange(length) + 0.5) / self.unit for length in self.shape[1:3])
        lit = np.clip((rows - (self.view[0] - GROUND)) * self.unit + 0.5, 0, 1)[:, None]
        centres, widths = self._shadows(positions, setting.path(self.frames))
        for centre, width in zip(centres.T[..., None, None], widths.T[..., None, None], strict=True):
            away = np.hypot(columns - centre, (rows[:, None] - self.floor) / FLAT) / (width / 2)
            lit = lit * (1 - SHADE * np.clip((1 + SOFT - away) / (2 * SOFT), 0, 1))
        return (GROUND_GREY * lit).astype(np.float32)


def cast(positions: np.ndarray, light: np.ndarray, radius: float, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """Shadows on the floor of balls at positions (T, ..., 2) under a light at (T, 2): x of their centres, widths.

    Both are (T, ...). Any unit of length will do; y runs down, and the light is above the balls.
    """
    x, y = (light[:, k].reshape((-1,) + (1,) * (positions.ndim - 2)) for k in (0, 1))
    larger = (floor - y) / (positions[..., 1] - y)
    return x + (positions[..., 0] - x) * larger, 2 * radius * larger
