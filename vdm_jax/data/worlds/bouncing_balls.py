"""A small world made on the fly: coloured balls that fall, bounce and pass behind a grey bar.

Length is counted in sides, of the picture's shorter side each, and time in frames, so one world can be drawn at any
`pixels`; the room of a picture that is not square is as much wider or higher.
x runs right, y runs down, and pixel j covers [j, j + 1]: its centre is at j + 0.5.
Balls fly on exact parabolas, bounce without loss off the floor and the two side walls, never reach the ceiling,
and pass through each other. At least four fifths of every ball are in view in the first frame and two fifths in the
last one, so that whoever watches a whole clip can tell how many balls it holds and what became of each.
Where there is a bar, starts from which some ball passes behind it are preferred.

A harder world is a subclass in a file of its own, and overrides what it changes: the `width` and `floor` of the room,
`_draw_settings` (what else is drawn for a clip), `_make_starts`, `_fly`, `_rate_starts` (which starts it wants),
`_draw_backdrop` and `_compute_cover`.
"""

import dataclasses
import itertools
from typing import Annotated, ClassVar, Literal

import numpy as np

from vdm_jax.config.frame_size import FrameSize, height_width, read_pixels
from vdm_jax.config.ranges import Above0, Ahead, Ascending, Between, Clips, Frames, Share, Threads, show
from vdm_jax.data.source import Clip, Shape, StatelessSource
from vdm_jax.errors import UserError

# Bright on black, at least 30 degrees apart as directions in RGB (and from grey), so that anti-aliased edges
# keep a recognisable hue.
PALETTE = np.array(
    [(255, 30, 30), (0, 230, 60), (30, 60, 255), (255, 230, 0), (255, 0, 255), (0, 240, 255)], dtype=np.uint8
)
PALETTE_C111 = (PALETTE + np.float32(0.5))[..., None, None, None]
Colours = Annotated[int, Between(1, len(PALETTE))]
GREY = 128  # the bar
HELD_OUT = 2048  # clips of the test split
START_GAP = 2.3  # radii between two centres in the first frame (2 = touching)
END_GAP = 1.2  # radii between two centres in the last frame: at least two thirds of each disc in view
BAR_WIDTHS = (2.1, 2.6)  # radii; wider than a ball, so that it can hide one whole
START_CLEAR = 0.6  # radii from a centre to the bar in the first frame: 85% of the ball in view
END_CLEAR = 0.2  # radii from a centre to the bar in the last frame: 60% of the ball in view
START_HEIGHT = 0.4  # lowest start, as a share of the room above the floor: keeps bounces rare and well apart
ROUNDS = 64  # how often starts are tried before the world is called too crowded

Gravity = Annotated[float, Above0(1e-9, 1, below=True)]  # sides per frame^2
Speed = Annotated[float, Between(0, 1, below=True)]  # sides per frame
WorldSeed = Annotated[int, Between(0, 2**62 - 1)]  # with the split it makes one word of 64 bits


@dataclasses.dataclass(frozen=True)
class Truth:
    """What is behind one clip of T frames with N balls, in pixels and frames.

    Attributes:
      positions: (T, N, 2) centres (x, y).
      velocities: (T, N, 2) pixels per frame.
      colours: (N,) index into PALETTE; later balls are drawn over earlier ones.
      radius: Of all balls.
      bar: (left, top, right, bottom), None where there is none.
      visible: (T, N) share of each disc that is covered neither by the bar nor by another ball.
    """

    positions: np.ndarray
    velocities: np.ndarray
    colours: np.ndarray
    radius: float
    bar: tuple[float, float, float, float] | None
    visible: np.ndarray


@dataclasses.dataclass(frozen=True)
class Setting:
    """What stands around the balls of one clip, in sides.

    Attributes:
      bar: (left, right), None where there is none.
    """

    bar: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class BouncingBalls(StatelessSource):
    """Clips of bouncing balls, made on the fly: clip i is a pure function of (seed, split, i).

    Attributes:
      frames: Frames of a clip.
      pixels: Size of a frame.
      size: Clips of the training split; the test split always has 2048.
      seed: Of the world: other seeds have other clips.
      split: Which clips these are.
      balls: Fewest and most balls in a clip.
      radius: Of a ball, in sides of the picture.
      gravity: In sides per frame^2.
      speed: In sides per frame: a ball's speed sideways is 0.3 to 1 times this, that up or down at the start at most
        this.
      bar: Share of clips with a bar that balls pass behind.
      colours: How many of the palette's colours there are, the first ones.
      label: The number of balls above the fewest, or the colour of the first ball.
      threads: Of the loader; drawing is Python: with more it takes as long, and twice the work.
      prefetch: Clips that the loader draws ahead.

    Raises:
      UserError: a world that cannot be drawn; it names config.data.KEY.
    """

    frames: Frames = 8
    pixels: FrameSize = 16
    size: Clips = 20_000
    seed: WorldSeed = 0
    split: Literal['train', 'test'] = 'train'
    balls: Annotated[tuple[Colours, Colours], Ascending()] = (1, 2)
    radius: Annotated[float, Above0(1e-4, 0.25)] = 0.12
    gravity: Gravity = 0.02
    speed: Speed = 0.08
    bar: Share = 0.2
    colours: Colours = 6
    label: Literal['count', 'colour'] = 'count'
    threads: Threads = 0
    prefetch: Ahead = 16

    candidates: ClassVar[int] = 16  # starts tried at once

    def __post_init__(self) -> None:
        super().__post_init__()
        # 16 and '16x16' are one config.
        object.__setattr__(self, 'pixels', read_pixels(self.pixels))

        most = self.balls[1]
        self._check('balls', most <= self.colours, f'each needs one of {self.colours} colours: set fewer')
        # Room for the bar, and on either side of it for a ball and a little more, as `_draw_settings` wants.
        widest = 1 / (4.1 + BAR_WIDTHS[1])
        self._check('radius', not self.bar or self.radius <= widest, f'beside a bar want {widest:.3f} sides or less')
        enough = int(np.ceil(1 / self.radius))
        self._check('pixels', self.unit >= enough, f'balls would be under 2 pixels wide: set it to {enough} or more')

        # Balls that just touch fill about half of the squares that they stand in.
        room = (self.width - 2 * self.radius) * (self.floor - 2 * self.radius) / (START_GAP * self.radius) ** 2
        self._check('balls', most <= max(1, room / 2), f'at radius {self.radius} they have no room: set fewer')

    def _check(self, key: str, is_sound: bool, advice: str) -> None:
        if not is_sound:
            raise UserError(f'config.data.{key}={show(getattr(self, key))}: {advice}')

    @property
    def unit(self) -> int:
        """Pixels of a side: the shorter one of the picture."""
        return min(height_width(self.pixels))

    @property
    def view(self) -> tuple[float, float]:
        """Height and width of the picture, in sides."""
        height, width = height_width(self.pixels)
        return height / self.unit, width / self.unit

    @property
    def width(self) -> float:
        """From one side wall to the other, in sides."""
        return self.view[1]

    @property
    def floor(self) -> float:
        """How far the floor lies below the ceiling, in sides."""
        return self.view[0]

    @property
    def num_classes(self) -> int:
        """Numbers of balls that a clip can have, or colours."""
        return self.balls[1] - self.balls[0] + 1 if self.label == 'count' else self.colours

    @property
    def shape(self) -> Shape:
        """(T, H, W, C) of a clip."""
        return self.frames, *height_width(self.pixels), 3

    def __len__(self) -> int:
        return self.size if self.split == 'train' else HELD_OUT

    def __getitem__(self, i: int) -> Clip:
        """Return clip i: 'video' uint8 (T, H, W, 3) and 'label' int32."""
        start, colours, setting = self._make_scene(i)
        positions, _ = self._fly(start, np.arange(self.frames))
        discs_TNHW, bar = self._compute_cover(positions, setting)

        # Painted from back to front. The 0.5 makes the cast to whole numbers at the end round.
        video_CTHW = np.full((3, *self.shape[:3]), 0.5, np.float32)
        video_CTHW += self._draw_backdrop(positions, setting)
        for ball, colour in enumerate(colours):
            video_CTHW += discs_TNHW[:, ball] * (PALETTE_C111[colour] - video_CTHW)
        if setting.bar is not None:
            video_CTHW += bar * (np.float32(GREY + 0.5) - video_CTHW)

        label = len(colours) - self.balls[0] if self.label == 'count' else colours[0]
        video = np.ascontiguousarray(video_CTHW.astype(np.uint8).transpose(1, 2, 3, 0))
        return {'video': video, 'label': np.int32(label)}

    def draw(self, i: int, rng: np.random.Generator) -> Clip:
        """Return what training sees of clip i. Nothing is augmented here: rng is not used."""
        del rng
        return self[i]

    def truth(self, i: int) -> Truth:
        """Return positions, velocities and what can be seen of the balls of clip i."""
        start, colours, setting = self._make_scene(i)
        positions, velocities = self._fly(start, np.arange(self.frames))
        discs_TNHW, bar_cover = self._compute_cover(positions, setting)

        open_TNHW = np.broadcast_to(1 - bar_cover, discs_TNHW.shape).copy()
        # Painted as in __getitem__: later balls hide earlier ones.
        for ball in range(len(colours)):
            open_TNHW[:, :ball] *= 1 - discs_TNHW[:, ball : ball + 1]

        bar = None
        if setting.bar is not None:
            left, right = setting.bar
            bar = left * self.unit, 0.0, right * self.unit, float(self.shape[1])
        return Truth(
            positions=positions * self.unit,
            velocities=velocities * self.unit,
            colours=colours,
            radius=self.radius * self.unit,
            bar=bar,
            visible=(discs_TNHW * open_TNHW).sum((2, 3)) / discs_TNHW.sum((2, 3)),
        )

    def _make_scene(self, i: int) -> tuple[np.ndarray, np.ndarray, Setting]:
        """Return clip i at time 0.

        Returns:
          start: (N, 4) = x, y, vx, vy in sides.
          colours: (N,) index into PALETTE.
          setting: What stands around the balls.

        Raises:
          UserError: there is no room for so many balls.
        """
        if not 0 <= i < len(self):
            raise IndexError(f'clip {i} of {len(self)} in the {self.split} split')

        # Philox is a keyed bijection: other keys are other streams, so the splits share nothing and no state is kept.
        rng = np.random.Generator(np.random.Philox(key=[2 * self.seed + (self.split == 'test'), i]))
        count = int(rng.integers(self.balls[0], self.balls[1] + 1))
        colours = rng.permutation(self.colours)[:count]
        for setting in self._draw_settings(rng):
            for _ in range(ROUNDS):
                start = self._make_starts(rng.random((5, self.candidates, count)), setting)
                ratings = self._rate_starts(start, setting)
                best = int(ratings.argmax())
                if ratings[best] > 0:
                    return start[best], colours, setting
        raise UserError(
            f'config.data.balls={show(self.balls)}: clip {i} has no room for {count}; set fewer or smaller ones'
        )

    # What harder worlds override.

    def _draw_settings(self, rng: np.random.Generator) -> tuple[Setting, ...]:
        """Draw what may stand around the balls of a clip, in the order in which it is tried."""
        # Three numbers with or without a bar, so that `bar` moves nothing else of a clip.
        has_bar, width, left = rng.random(3)
        width = (BAR_WIDTHS[0] + width * (BAR_WIDTHS[1] - BAR_WIDTHS[0])) * self.radius
        left = 2.05 * self.radius + left * (self.width - 4.1 * self.radius - width)
        with_bar = Setting(bar=(left, left + width) if has_bar < self.bar else None)
        # Where large balls leave no room beside the bar, the clip goes without.
        return with_bar, Setting()

    def _make_starts(self, uniform: np.ndarray, setting: Setting) -> np.ndarray:
        """Return candidates for a start, clear of the bar and never to touch the ceiling.

        Args:
          uniform: (5, K, N) numbers in [0, 1), for K candidates of N balls.
          setting: What stands around them.

        Returns:
          (K, N, 4) = x, y, vx, vy in sides.
        """
        room = self.width - 2 * self.radius
        height = self.floor - 2 * self.radius

        x = self.radius + room * uniform[0]
        if setting.bar is not None:
            # Spread over the room beside the bar, then move what would stand behind or right of it.
            left = setting.bar[0] - START_CLEAR * self.radius
            right = setting.bar[1] + START_CLEAR * self.radius
            x = self.radius + uniform[0] * (room - (right - left))
            x += (x > left) * (right - left)

        fall = height * (1 - START_HEIGHT) * uniform[1]
        vx = self.speed * (0.3 + 0.7 * uniform[2]) * np.copysign(1, uniform[4] - 0.5)
        # Faster upwards than sqrt(2 g fall), a ball would reach the ceiling.
        vy = (2 * uniform[3] - 1) * np.minimum(self.speed, np.sqrt(2 * self.gravity * fall))
        return np.stack([x, self.radius + fall, vx, vy], -1)

    def _fly(self, start: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return positions and velocities at times (T,) from start (..., N, 4): (T, ..., N, 2) each, in sides."""
        return fly(start, times, self.radius, self.gravity, self.width, self.floor)

    def _rate_starts(self, start: np.ndarray, setting: Setting) -> np.ndarray:
        """Rate candidates for a start.

        Args:
          start: (K, N, 4), of K candidates.
          setting: What stands around the balls.

        Returns:
          (K,): 0 for balls that touch at first or are hidden at last, else 1, or 2 where one passes the bar.
        """
        # In between balls may hide each other: they are seen before and after.
        positions, _ = self._fly(start, np.array([self.frames - 1]))
        end = positions[0]
        is_sound = np.ones(len(start), bool)
        passes_bar = np.ones(len(start), bool)
        if setting.bar is not None:
            left, right = setting.bar
            middle = 0.5 * (left + right)
            half = 0.5 * (right - left)
            is_sound &= (np.abs(end[..., 0] - middle) >= half + END_CLEAR * self.radius).all(-1)
            passes_bar = ((start[..., 0] < middle) != (end[..., 0] < middle)).any(-1)

        for a, b in itertools.combinations(range(start.shape[1]), 2):
            for state, gap in ((start, START_GAP), (end, END_GAP)):
                apart = state[:, a, :2] - state[:, b, :2]
                is_sound &= np.hypot(apart[:, 0], apart[:, 1]) >= gap * self.radius
        ratings: np.ndarray = is_sound * (1 + passes_bar)
        return ratings

    def _draw_backdrop(self, positions: np.ndarray, setting: Setting) -> np.ndarray | np.float32:
        """Return what the balls are drawn on: grey, 0 to 255, of a shape that broadcasts to (T, H, W)."""
        del positions, setting
        return np.float32(0)

    def _compute_cover(self, positions: np.ndarray, setting: Setting) -> tuple[np.ndarray, np.ndarray | np.float32]:
        """Return the share of each pixel under each disc, float32 (T, N, H, W), and under the bar, float32 (W,) or 0.

        Args:
          positions: (T, N, 2) centres (x, y), in sides.
          setting: What stands around the balls.
        """
        height, width = self.shape[1:3]
        rows = np.arange(height, dtype=np.float32) + np.float32(0.5)
        columns = np.arange(width, dtype=np.float32) + np.float32(0.5)
        x, y = np.moveaxis((positions * self.unit).astype(np.float32), -1, 0)[..., None]  # (T, N, 1)

        # Anti-aliasing by distance: the edge crosses a pixel as a straight line facing the pixel grid would.
        disc = np.sqrt(np.square(columns - x)[:, :, None, :] + np.square(rows - y)[:, :, :, None])
        np.subtract(np.float32(self.radius * self.unit + 0.5), disc, out=disc)
        np.clip(disc, 0, 1, out=disc)

        if setting.bar is None:
            return disc, np.float32(0)
        left, right = (edge * self.unit for edge in setting.bar)
        bar = np.clip(np.minimum(columns + 0.5, right) - np.maximum(columns - 0.5, left), 0, 1)
        return disc, bar.astype(np.float32)


def sideways_velocity(fastest: float, share: float, sign: float) -> float:
    """Return a velocity of 0.3 to 1 times `fastest`, to either side, for two numbers in [0, 1)."""
    return fastest * (0.3 + 0.7 * share) * (1 if sign < 0.5 else -1)


def fly(
    start: np.ndarray, times: np.ndarray, radius: float, gravity: float, width: float = 1.0, floor: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and velocities of balls that bounce off walls and floor, in closed form: nothing drifts.

    Between side walls (x = 0 and `width`) x is a triangle wave; y repeats the arc from floor to floor (y = `floor`).
    Units are sides and frames; y runs down.

    Args:
      start: (..., 4) = x, y, vx, vy at time 0.
      times: (T,).
      radius: Of a ball.
      gravity: Downwards.
      width: From wall to wall.
      floor: Where it lies below the ceiling.

    Returns:
      Two arrays (T, ..., 2).
    """
    x0, y0, vx, vy = (start[..., k] for k in range(4))
    times = np.asarray(times, np.float64).reshape((-1,) + (1,) * x0.ndim)
    positions = np.empty((len(times),) + x0.shape + (2,))
    velocities = np.empty_like(positions)

    room = width - 2 * radius

    # With mirrored rooms beside it the ball flies straight on; folding them back gives the bounces off the walls.
    unfolded = (x0 - radius + vx * times) % (2 * room)
    positions[..., 0] = width - radius - np.abs(unfolded - room)
    velocities[..., 0] = np.where(unfolded > room, -vx, vx)

    # Speed at the floor, the same at every bounce, as energy is kept.
    launch = np.sqrt(vy**2 + 2 * gravity * (floor - radius - y0))
    # Time since the last bounce.
    since = ((launch + vy) / gravity + times) % (2 * launch / gravity)
    positions[..., 1] = floor - radius - since * (launch - 0.5 * gravity * since)
    velocities[..., 1] = gravity * since - launch
    return positions, velocities
