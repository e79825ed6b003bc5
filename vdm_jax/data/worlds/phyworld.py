"""PhyWorld: one or two balls of exact physics, and the question whether a network learns it (Kang et al. 2024).

The worlds of "How Far is Video Generation from World Model" (arXiv:2411.02385), made on the fly: clip i is a pure
function of (seed, split, regime, i). A square of 10 units, x to the right and y up, 0.1 units of time a frame:

    uniform    one ball goes right at constant speed
    parabola   one ball, thrown to the right, falls: acceleration -2.5
    collision  a red ball from the left and a blue one from the right meet head-on, without loss; mass is radius^2

Training clips lie on a grid of speeds and radii, as the published sets of 30K, 300K and 3M clips do; test clips are
drawn between the grid's ends, or beyond them (`regime`). Where the released code takes steps of 0.01, here motion is in
closed form: its parabola lies up to 0.04 units lower, and its collisions below a relative speed of 1 lose energy.

Balls are drawn as released: red (the second one blue) on white, the share clip((r^2 - d^2) / (0.03 r^2), 0, 1) of the
ball's colour at a pixel d from the centre, where pixel j of D lies at 10 j / (D - 1); rows run down. The picture has
`drawn` pixels a side, 256 in the paper, and a frame of fewer is the mean of its blocks.
"""

import dataclasses
from typing import Annotated, ClassVar, Literal

import numpy as np

from vdm_jax.config.ranges import Ahead, AtLeast, Between, Frames, Threads
from vdm_jax.data.source import Clip, Shape, StatelessSource
from vdm_jax.data.worlds.bouncing_balls import WorldSeed
from vdm_jax.errors import UserError

WORLD = 10.0  # units, either way
FRAME_TIME = 0.1  # units of time
GRAVITY = -2.5  # units per time^2, of a parabola
EDGE = 0.03  # of r^2, over which a ball fades
MARGIN = 0.05 * WORLD  # units between a ball and floor or ceiling
COLOURS = np.array([(255, 0, 0), (0, 0, 255)], np.float32)
HELD_OUT = 2048  # clips of the test split
# Speeds and radii beyond those of training; of each a clip takes either range with the same chance.
FAST_OR_SLOW = ((0.0, 0.8), (4.5, 6.0))

World = Literal['uniform', 'parabola', 'collision']
Regime = Literal['in', 'out_speed', 'out_radius', 'out_both']
REGIMES: tuple[Regime, ...] = ('in', 'out_speed', 'out_radius', 'out_both')


@dataclasses.dataclass(frozen=True)
class Law:
    """What the balls of a world do, and which there are in its training clips.

    Attributes:
      balls: How many.
      speeds: The least and the greatest.
      radii: The same.
      large: Radii beyond those of training. (Smaller ones, of 0.3 to 0.6, vanish in the paper's own models, and its
        evaluation leaves them out.)
      grids: Numbers of speeds and of radii of each published set.
    """

    balls: int
    speeds: tuple[float, float]
    radii: tuple[float, float]
    large: tuple[float, float]
    grids: dict[str, tuple[int, int]]


ONE_BALL = Law(1, (1.0, 4.0), (0.7, 1.4), (1.5, 2.0), {'30K': (300, 100), '300K': (1000, 300), '3M': (3000, 1000)})
# Each ball has a speed and a radius of its own: 168^2, 574^2 and 1,846^2 clips.
TWO_BALLS = Law(2, (1.0, 4.0), (0.5, 1.5), (1.7, 2.0), {'30K': (21, 8), '300K': (41, 14), '3M': (71, 26)})
LAWS: dict[str, Law] = {'uniform': ONE_BALL, 'parabola': ONE_BALL, 'collision': TWO_BALLS}


@dataclasses.dataclass(frozen=True)
class Truth:
    """What is behind one clip of T frames with N balls, in units of the world; y runs up.

    Attributes:
      positions: (T, N, 2) centres (x, y).
      velocities: (T, N, 2) in units of length per unit of time.
      radii: (N,).
      contact: When the balls of a collision touch, in frames; inf where they never do.
    """

    positions: np.ndarray
    velocities: np.ndarray
    radii: np.ndarray
    contact: float = np.inf

    @property
    def masses(self) -> np.ndarray:
        """Of each ball, (N,): its area but for pi."""
        masses: np.ndarray = self.radii**2
        return masses


@dataclasses.dataclass(frozen=True)
class PhyWorld(StatelessSource):
    """Clips of one of PhyWorld's three worlds.

    Attributes:
      world: Which one.
      size: Which of the published training sets: 30K, 300K or 3M combinations of speed and radius.
      frames: Frames of a clip, of which three quarters show the ball at the least, and a quarter lies before and after
        a collision.
      pixels: Side of a frame.
      drawn: Side of the picture that is drawn, of whose blocks a frame is the mean: a multiple of `pixels`.
      regime: Which test clips: speeds and radii as in training (in), speeds beyond (out_speed), balls larger
        (out_radius), or both. Training clips are always of `in`.
      seed: Of the world: other seeds have other clips.
      split: Which clips these are.
      threads: Of the loader; drawing is Python: with more it takes as long, and twice the work.
      prefetch: Clips that the loader draws ahead.

    Raises:
      UserError: a world that cannot be drawn; it names config.data.KEY.
    """

    world: World = 'uniform'
    size: Literal['30K', '300K', '3M'] = '30K'
    frames: Annotated[Frames, AtLeast(4)] = 32
    pixels: Annotated[int, Between(8, 1024)] = 256
    drawn: Annotated[int, Between(8, 1024)] = 256
    regime: Regime = 'in'
    seed: WorldSeed = 0
    split: Literal['train', 'test'] = 'train'
    threads: Threads = 0
    prefetch: Ahead = 16

    movable_fields: ClassVar[tuple[str, ...]] = ('threads', 'prefetch')

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.drawn % self.pixels:
            raise UserError(
                f'config.data.drawn={self.drawn}: a frame of config.data.pixels={self.pixels} is the mean of whole '
                'blocks of it; set it to a multiple, such as the same'
            )
        if self.split == 'train' and self.regime != 'in':
            raise UserError(
                f"config.data.regime={self.regime}: training clips are of 'in' alone; set config.data.split=test"
            )

    @property
    def law(self) -> Law:
        """What its balls are and do."""
        return LAWS[self.world]

    @property
    def shape(self) -> Shape:
        """(T, H, W, C) of a clip."""
        return self.frames, self.pixels, self.pixels, 3

    @property
    def title(self) -> str:
        """What results on its clips are called."""
        return f'phyworld_{self.world}'

    def __len__(self) -> int:
        if self.split == 'test':
            return HELD_OUT
        speeds, radii = self.law.grids[self.size]
        return int((speeds * radii) ** self.law.balls)

    def __getitem__(self, i: int) -> Clip:
        """Return clip i: 'video' uint8 (T, H, W, 3) and 'label' int32 0."""
        truth = self.truth(i)
        video = draw_balls(truth.positions, truth.radii, self.drawn, self.pixels)
        return {'video': video, 'label': np.int32(0)}

    def draw(self, i: int, rng: np.random.Generator) -> Clip:
        """Return what training sees of clip i. Nothing is augmented here: rng is not used."""
        del rng
        return self[i]

    def truth(self, i: int) -> Truth:
        """Return positions, velocities and radii of the balls of clip i."""
        if not 0 <= i < len(self):
            raise IndexError(f'clip {i} of {len(self)} in the {self.split} split')

        # Philox is a keyed bijection: other keys are other streams, so the clips share nothing and no state is kept.
        stream = 0 if self.split == 'train' else 1 + REGIMES.index(self.regime)
        rng = np.random.Generator(np.random.Philox(key=[len(REGIMES) * 2 * self.seed + stream, i]))
        speeds, radii = self._pick_on_grid(i) if self.split == 'train' else self._draw_beyond(rng)
        times = np.arange(self.frames) * FRAME_TIME
        if self.world == 'collision':
            return collide(speeds, radii, times, rng)
        return throw(speeds[0], radii[0], times, GRAVITY if self.world == 'parabola' else 0.0, rng)

    def _pick_on_grid(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return speeds and radii (N,) of training clip i: every combination of the grid is one clip."""
        num_speeds, num_radii = self.law.grids[self.size]
        numbers = np.unravel_index(i, (num_speeds, num_radii) * self.law.balls)
        speeds = np.linspace(*self.law.speeds, num_speeds)[list(numbers[0::2])]
        radii = np.linspace(*self.law.radii, num_radii)[list(numbers[1::2])]
        return speeds, radii

    def _draw_beyond(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return speeds and radii (N,) of a test clip of the regime."""
        speed_ranges = FAST_OR_SLOW if self.regime in ('out_speed', 'out_both') else (self.law.speeds,)
        radius_range = self.law.large if self.regime in ('out_radius', 'out_both') else self.law.radii
        # One range for all balls of a clip, so that a clip is slow or fast.
        speed_range = speed_ranges[int(rng.integers(len(speed_ranges)))]
        return rng.uniform(*speed_range, self.law.balls), rng.uniform(*radius_range, self.law.balls)


def throw(speed: float, radius: float, times: np.ndarray, gravity: float, rng: np.random.Generator) -> Truth:
    """Return a ball that goes right, and falls where there is gravity.

    It starts inside the picture, from where it stays inside, sideways, for three quarters of the frames where it can. A
    ball that falls starts in the upper tenth, any other at any height.

    Args:
      speed: To the right, in units per time.
      radius: Of the ball.
      times: (T,).
      gravity: Acceleration upwards, 0 or below.
      rng: For its start.
    """
    last = WORLD - radius - 0.75 * len(times) * FRAME_TIME * speed
    x = rng.uniform(radius, last) if last > radius else radius + rng.uniform(0, 0.5)
    highest = WORLD - MARGIN - radius
    y = rng.uniform(highest - 1.0 if gravity else MARGIN + radius, highest)

    positions = np.stack([x + speed * times, y + 0.5 * gravity * times**2], -1)
    velocities = np.stack([np.full_like(times, speed), gravity * times], -1)
    return Truth(positions[:, None], velocities[:, None], np.array([radius]))


def collide(speeds: np.ndarray, radii: np.ndarray, times: np.ndarray, rng: np.random.Generator) -> Truth:
    """Return two balls that meet head-on, a quarter of the frames or more after the start and before the end.

    Where there is not enough room for that, they start at the two walls.

    Args:
      speeds: (2,) towards each other.
      radii: (2,).
      times: (T,).
      rng: For their starts.
    """
    touching = radii.sum()
    closing = speeds.sum()
    quarter = len(times) // 4 * FRAME_TIME
    room = WORLD - touching  # between the centres, from wall to wall
    nearest = min(touching + quarter * closing, room)
    farthest = min(touching + (times[-1] + FRAME_TIME - quarter) * closing, room)
    distance = rng.uniform(nearest, farthest)
    # `max`, as the difference may be rounded to below 0.
    left = radii[0] + rng.uniform(0, max(room - distance, 0.0))
    largest = radii.max()
    height = rng.uniform(MARGIN + largest, WORLD - MARGIN - largest)

    before = np.array([speeds[0], -speeds[1]])
    masses = radii**2
    # An elastic collision mirrors both velocities at that of the centre of mass.
    after = 2 * (masses @ before) / masses.sum() - before
    contact = (distance - touching) / closing if closing > 0 else np.inf

    start = np.array([left, left + distance])
    free = np.minimum(times, contact)[:, None]
    since = np.maximum(times - contact, 0)[:, None]
    x = start + before * free + after * since
    velocity = np.where(times[:, None] < contact, before, after)

    positions = np.stack([x, np.full_like(x, height)], -1)
    velocities = np.stack([velocity, np.zeros_like(x)], -1)
    return Truth(positions, velocities, radii, contact / FRAME_TIME)


def draw_balls(positions: np.ndarray, radii: np.ndarray, drawn: int, side: int) -> np.ndarray:
    """Draw balls on white as the released code does, later ones over earlier ones: uint8 (T, side, side, 3).

    Args:
      positions: (T, N, 2) centres (x, y) in units; y runs up.
      radii: (N,).
      drawn: Pixels a side of the picture that is drawn.
      side: Pixels a side of a frame, each the rounded mean of a square of the picture's.
    """
    block = drawn // side
    pitch = WORLD / (drawn - 1)
    frames = np.full((len(positions), side, side, 3), 255, np.uint8)
    centres = np.stack([positions[..., 0], WORLD - positions[..., 1]], -1) / pitch  # columns and rows
    for frame, centres_N2 in zip(frames, centres, strict=True):
        # Whole blocks about the balls alone: all else stays white, and a picture of 256 pixels takes its time.
        reach = (radii / pitch + 1)[:, None]
        first = np.clip((centres_N2 - reach).min(0) // block, 0, side).astype(int)
        last = np.clip((centres_N2 + reach).max(0) // block + 1, first, side).astype(int)
        columns, rows = (np.arange(begin * block, end * block) for begin, end in zip(first, last, strict=True))
        window = np.full((len(rows), len(columns), 3), 255, np.uint8)
        for (x, y), radius, colour in zip(centres_N2, radii / pitch, COLOURS, strict=False):
            distance2 = (columns - x)[None, :] ** 2 + (rows - y)[:, None] ** 2
            share = np.clip((radius**2 - distance2) / (EDGE * radius**2), 0, 1)[..., None]
            # The released code cuts off what is behind the point, too.
            window = ((1 - share) * window + share * colour).astype(np.uint8)
        frame[first[1] : last[1], first[0] : last[0]] = average_blocks(window, block)
    return frames


def average_blocks(picture: np.ndarray, block: int) -> np.ndarray:
    """Return the rounded mean of each square of `block` x `block` pixels of a picture, uint8 (H, W, 3)."""
    if block == 1:
        return picture
    height, width, channels = picture.shape
    blocks = picture.reshape(height // block, block, width // block, block, channels)
    means: np.ndarray = np.rint(blocks.mean((1, 3), dtype=np.float32)).astype(np.uint8)
    return means
