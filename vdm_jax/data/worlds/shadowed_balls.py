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
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls, Gravity, Setting, Speed, Truth, sideways_velocity

GROUND = 0.18  # sides
GROUND_GREY = 112  # of the lit ground
SHADE = 0.8  # of that grey the middle of a shadow takes away
FLAT = 0.4  # height of a shadow by its width
SOFT = 0.2  # share of its radius over which a shadow fades, to either side of its edge
LIGHT_HEIGHTS = (1.0, 3.0)  # heights of the picture above it
LIGHT_PLACES = (0.2, 0.8)  # widths of the picture from the left, in the middle of a clip


@dataclasses.dataclass(frozen=True)
class Lit(Setting):
    """A light at (x + speed * t, y), in sides and frames; y < 0 is above the picture.

    Attributes:
      x: At time 0.
      y: At all times.
      speed: Sides per frame; negative to the left.
    """

    x: float = 0.0
    y: float = 0.0
    speed: float = 0.0

    def path(self, frames: int) -> np.ndarray:
        """Return (x, y) of the light in each frame: (T, 2)."""
        return np.stack([self.x + self.speed * np.arange(frames), np.full(frames, self.y)], -1)


@dataclasses.dataclass(frozen=True)
class ShadowTruth(Truth):
    """What is behind one clip, in pixels and frames.

    Attributes:
      light: (T, 2) its position (x, y).
      shadows: (T, N) x of their centres.
      widths: (T, N) of the shadows.
    """

    light: np.ndarray
    shadows: np.ndarray
    widths: np.ndarray


@dataclasses.dataclass(frozen=True)
class ShadowedBalls(BouncingBalls):
    """Clips of bouncing balls that cast shadows, made on the fly.

    Attributes:
      bar: Stays 0: a bar would need a shadow of its own.
      light: In sides per frame: the light moves sideways at most this fast, and at least 0.3 times.

    Raises:
      UserError: a world that cannot be drawn; it names config.data.KEY.
    """

    frames: Frames = 16
    pixels: FrameSize = 32
    gravity: Gravity = 0.006
    speed: Speed = 0.05
    bar: Share = 0.0
    light: Speed = 0.05

    candidates: ClassVar[int] = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check('bar', self.bar == 0, 'a bar would need a shadow of its own: set it to 0')

    @property
    def floor(self) -> float:
        """The line that balls bounce on, along the middle of the ground, in sides."""
        return self.view[0] - GROUND / 2

    def truth(self, i: int) -> ShadowTruth:
        """Return positions, velocities, light and shadows of clip i."""
        start, _, setting = self._make_scene(i)
        light = self._light_path(setting)
        positions, _ = self._fly(start, np.arange(self.frames))
        shadows, widths = self._cast_shadows(positions, light)
        return ShadowTruth(
            **vars(super().truth(i)),
            light=light * self.unit,
            shadows=shadows * self.unit,
            widths=widths * self.unit,
        )

    def _light_path(self, setting: Setting) -> np.ndarray:
        """Return (x, y) of the light in each frame, in sides: (T, 2)."""
        assert isinstance(setting, Lit)
        return setting.path(self.frames)

    def _draw_settings(self, rng: np.random.Generator) -> tuple[Setting, ...]:
        x, y, speed, sign = rng.random(4)
        height, width = self.view
        x = width * (LIGHT_PLACES[0] + x * (LIGHT_PLACES[1] - LIGHT_PLACES[0]))
        y = height * (-LIGHT_HEIGHTS[0] - y * (LIGHT_HEIGHTS[1] - LIGHT_HEIGHTS[0]))
        speed = sideways_velocity(self.light, speed, sign)
        # Many balls may leave no room: then the light is the highest, and at rest.
        resting = Lit(x=0.5 * width, y=-LIGHT_HEIGHTS[1] * height, speed=0.0)
        # x was drawn for the middle of the clip, where the light is above the picture whatever its speed.
        return Lit(x=x - speed * (self.frames - 1) / 2, y=y, speed=speed), resting

    def _cast_shadows(self, positions: np.ndarray, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return x of the shadows' centres and their widths, as they are drawn: controls draw them elsewhere."""
        return cast_shadows(positions, light, self.radius, self.floor)

    def _rate_starts(self, start: np.ndarray, setting: Setting) -> np.ndarray:
        positions, _ = self._fly(start, np.arange(self.frames))
        # Not those of `_cast_shadows`: a control has the same starts as the world.
        shadows, _ = cast_shadows(positions, self._light_path(setting), self.radius, self.floor)
        stays_in_view = ((0 <= shadows) & (shadows <= self.view[1])).all((0, 2))
        return super()._rate_starts(start, setting) * stays_in_view

    def _draw_backdrop(self, positions: np.ndarray, setting: Setting) -> np.ndarray:
        rows, columns = ((np.arange(length) + 0.5) / self.unit for length in self.shape[1:3])
        # 1 on the ground, 0 above, and between them in the row of pixels that the ground begins in.
        lit = np.clip((rows - (self.view[0] - GROUND)) * self.unit + 0.5, 0, 1)[:, None]

        centres, widths = self._cast_shadows(positions, self._light_path(setting))
        for centre, width in zip(centres.T[..., None, None], widths.T[..., None, None], strict=True):
            # With y stretched, the ellipse is a circle.
            distance = np.hypot(columns - centre, (rows[:, None] - self.floor) / FLAT) / (width / 2)
            lit = lit * (1 - SHADE * np.clip((1 + SOFT - distance) / (2 * SOFT), 0, 1))
        return (GROUND_GREY * lit).astype(np.float32)


def cast_shadows(
    positions: np.ndarray, light: np.ndarray, radius: float, floor: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the shadows of balls on the floor: x of their centres, and their widths, (T, ...) each.

    Any unit of length will do; y runs down, and the light is above the balls.

    Args:
      positions: (T, ..., 2) of the balls' centres.
      light: (T, 2).
      radius: Of a ball.
      floor: Its y.
    """
    light_x, light_y = (light[:, k].reshape((-1,) + (1,) * (positions.ndim - 2)) for k in (0, 1))
    scale = (floor - light_y) / (positions[..., 1] - light_y)
    return light_x + (positions[..., 0] - light_x) * scale, 2 * radius * scale
