"""A small world made on the fly: coloured balls fall, bounce and pass behind a grey bar.

Length is counted in sides, of the picture's shorter side each, and time in frames, so one world can be drawn at any
`pixels`; the room of a picture that is not square is as much wider or higher.
x runs right, y runs down, and pixel j covers [j, j + 1]: its centre is at j + 0.5.
Balls fly on exact parabolas, bounce without loss off the floor and the two side walls, never reach the ceiling,
and pass through each other. At least four fifths of every ball are in view in the first frame and two fifths in the
last one, so that whoever watches a whole clip can tell how many balls it holds and what became of each.
Where there is a bar, starts from which some ball passes behind it are preferred.

A harder world is a subclass in a file of its own, and overrides what it changes: the `width` and `floor` of the room,
`_settings` (what else is drawn for a clip), `_fly`, `_merit` (which starts it wants), `_backdrop` and `_cover`.
"""

import dataclasses
import itertools
from typing import Annotated, ClassVar, Literal

import numpy as np

from vdm_jax.config.frame_size import FrameSize, height_width, read_pixels
from vdm_jax.config.ranges import Above0, Ahead, Ascending, Between, Clips, Frames, Share, Threads, show
from vdm_jax.data.source import Clip, StatelessSource
from vdm_jax.errors import UserError

# Bright on black, at least 30 degrees apart as directions in RGB (and from grey), so that dim edges stay telling.
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
START_CLEAR, END_CLEAR = 0.6, 0.2  # radii from a centre to the bar in the first and last frame: 85%, 60% in view
START_HEIGHT = 0.4  # lowest start, as a share of the room above the floor: keeps bounces rare and well apart
ROUNDS = 64  # how often starts are tried before the world is called too crowded

Gravity = Annotated[float, Above0(1e-9, 1, below=True)]  # sides per frame^2
Speed = Annotated[float, Between(0, 1, below=True)]  # sides per frame
WorldSeed = Annotated[int, Between(0, 2**62 - 1)]  # with the split it makes one word of 64 bits


@dataclasses.dataclass(frozen=True)
class Truth:
    """What is behind one clip. Pixels and frames are the units; T frames, N balls."""

    positions: np.ndarray  # (T, N, 2) centres (x, y)
    velocities: np.ndarray  # (T, N, 2) pixels per frame
    colours: np.ndarray  # (N,) index into PALETTE; later balls are drawn over earlier ones
    radius: float
    bar: tuple[float, float, float, float] | None  # left, top, right, bottom
    visible: np.ndarray  # (T, N) share of each disc that is covered neither by the bar nor by another ball


@dataclasses.dataclass(frozen=True)
class Setting:
    """What stands around the balls of one clip, in sides."""

    bar: tuple[float, float] | None = None  # left, right


@dataclasses.dataclass(frozen=True)
class BouncingBalls(StatelessSource):
    """config.data of the bouncing balls, and the source itself: clip i is a pure function of (seed, split, i).

    Raises: UserError, naming config.data.KEY, for a world that cannot be drawn.
    """

    frames: Frames = 8
    pixels: FrameSize = 16
    size: Clips = 20_000  # clips of the training split; the test split always holds HELD_OUT
    seed: WorldSeed = 0
    split: Literal['train', 'test'] = 'train'
    balls: Annotated[tuple[Colours, Colours], Ascending()] = (1, 2)  # fewest, most
    radius: Annotated[float, Above0(1e-4, 0.25)] = 0.12  # sides
    gravity: Gravity = 0.02  # sides per frame^2
    speed: Speed = 0.08  # sides per frame: |vx| is 0.3 to 1 times this, |vy| at the start at most this
    bar: Share = 0.2  # share of clips with an occluding bar
    colours: Colours = 6  # the first so many of PALETTE
    label: Literal['count', 'colour'] = 'count'  # number of balls above the fewest, or colour of the first ball
    threads: Threads = 0  # of the loader; drawing is Python: with more it takes as long, and twice the work
    prefetch: Ahead = 16  # clips the loader keeps ready
    candidates: ClassVar[int] = 16  # starts tried together

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, 'pixels', read_pixels(self.pixels))
        self._check('balls', self.balls[1] <= self.colours, f'each needs one of {self.colours} colours: set fewer')
        widest = 1 / (4.1 + BAR_WIDTHS[1])
        self._check('radius', not self.bar or self.radius <= widest, f'beside a bar want {widest:.3f} sides or less')
        enough = int(np.ceil(1 / self.radius))
        self._check('pixels', self.unit >= enough, f'balls would be under 2 pixels wide: set it to {enough} or more')
        room = (self.width - 2 * self.radius) * (self.floor - 2 * self.radius) / (START_GAP * self.radius) ** 2
        self._check('balls', self.balls[1] <= max(1, room / 2), f'at radius {self.radius} they have no room: set fewer')

    def _check(self, key: str, sound: bool, advice: str) -> None:
        if not sound:
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
        return self.balls[1] - self.balls[0] + 1 if self.label == 'count' else self.colours

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(T, H, W, C) of a clip."""
        return self.frames, *height_width(self.pixels), 3

    def __len__(self) -> int:
        return self.size if self.split == 'train' else HELD_OUT

    def __getitem__(self, i: int) -> Clip:
        """Clip i: 'video' uint8 (T, H, W, 3) and 'label' int32."""
        start, colours, setting = self._scene(i)
        positions, _ = self._fly(start, np.arange(self.frames))
        disc, pillar = self._cover(positions, setting)
        video_CTHW = np.full((3, *self.shape[:3]), 0.5, np.float32)  # 0.5: rounds at the end
        video_CTHW += self._backdrop(positions, setting)
        for ball, colour in enumerate(colours):
            video_CTHW += disc[:, ball] * (PALETTE_C111[colour] - video_CTHW)
        if setting.bar is not None:
            video_CTHW += pillar * (np.float32(GREY + 0.5) - video_CTHW)
        label = len(colours) - self.balls[0] if self.label == 'count' else colours[0]
        video = np.ascontiguousarray(video_CTHW.astype(np.uint8).transpose(1, 2, 3, 0))
        return {'video': video, 'label': np.int32(label)}

    def draw(self, i: int, rng: np.random.Generator) -> Clip:
        """What training sees of example i. Nothing is augmented here: rng is not used."""
        del rng
        return self[i]

    def truth(self, i: int) -> Truth:
        """Positions, velocities and what can be seen of the balls of clip i."""
        start, colours, setting = self._scene(i)
        positions, velocities = self._fly(start, np.arange(self.frames))
        disc, pillar = self._cover(positions, setting)
        bar = setting.bar
        open_TNHW = np.broadcast_to(1 - pillar, disc.shape).copy()
        for ball in range(len(colours)):
            open_TNHW[:, :ball] *= 1 - disc[:, ball : ball + 1]
        return Truth(
            positions=positions * self.unit,
            velocities=velocities * self.unit,
            colours=colours,
            radius=self.radius * self.unit,
            bar=None if bar is None else (bar[0] * self.unit, 0.0, bar[1] * self.unit, float(self.shape[1])),
            visible=(disc * open_TNHW).sum((2, 3)) / disc.sum((2, 3)),
        )

    def _scene(self, i: int):
        """Clip i at time 0: start (N, 4) = x, y, vx, vy in sides; colours (N,); its Setting."""
        if not 0 <= i < len(self):
            raise IndexError(f'clip {i} of {len(self)} in the {self.split} split')
        # Philox is a keyed bijection: other keys are other streams, so the splits share nothing and no state is kept.
        rng = np.random.Generator(np.random.Philox(key=[2 * self.seed + (self.split == 'test'), i]))
        count = int(rng.integers(self.balls[0], self.balls[1] + 1))
        colours = rng.permutation(self.colours)[:count]
        for setting in self._settings(rng):
            for _ in range(ROUNDS):
                start = self._starts(rng.random((5, self.candidates, count)), setting)
                merit = self._merit(start, setting)
                best = int(merit.argmax())
                if merit[best] > 0:
                    return start[best], colours, setting
        raise UserError(
            f'config.data.balls={show(self.balls)}: clip {i} has no room for {count}; set fewer or smaller ones'
        )

    def _settings(self, rng) -> tuple[Setting, ...]:
        """What may stand around the balls of a clip, drawn from rng, in the order in which they are tried."""
        has_bar, width, place = rng.random(3)
        width = (BAR_WIDTHS[0] + width * (BAR_WIDTHS[1] - BAR_WIDTHS[0])) * self.radius
        left = 2.05 * self.radius + place * (self.width - 4.1 * self.radius - width)
        # Where large balls leave no room beside the bar, the clip goes without.
        return Setting(bar=(left, left + width) if has_bar < self.bar else None), Setting()

    def _starts(self, uniform, setting):
        """Uniform numbers (5, K, N) -> candidates (K, N, 4) in sides, clear of the bar, never to touch the ceiling."""
        room, height, bar = self.width - 2 * self.radius, self.floor - 2 * self.radius, setting.bar
        x = self.radius + room * uniform[0]
        if bar is not None:
            left, right = bar[0] - START_CLEAR * self.radius, bar[1] + START_CLEAR * self.radius
            x = self.radius + uniform[0] * (room - (right - left))
            x += (x > left) * (right - left)
        fall = height * (1 - START_HEIGHT) * uniform[1]
        vx = self.speed * (0.3 + 0.7 * uniform[2]) * np.copysign(1, uniform[4] - 0.5)
        vy = (2 * uniform[3] - 1) * np.minimum(self.speed, np.sqrt(2 * self.gravity * fall))
        return np.stack([x, self.radius + fall, vx, vy], -1)

    def _fly(self, start, times):
        """Positions and velocities at times (T,) from start (..., N, 4): two arrays (T, ..., N, 2), in sides."""
        return fly(start, times, self.radius, self.gravity, self.width, self.floor)

    def _merit(self, start, setting):
        """Candidates (K, N, 4) -> (K,): 0 for touching at first or hidden at last, else 1, or 2 for passing the bar."""
        end, bar = self._fly(start, np.array([self.frames - 1]))[0][0], setting.bar
        sound, wanted = np.ones(len(start), bool), np.ones(len(start), bool)
        if bar is not None:
            middle, half = 0.5 * (bar[0] + bar[1]), 0.5 * (bar[1] - bar[0])
            sound &= (np.abs(end[..., 0] - middle) >= half + END_CLEAR * self.radius).all(-1)
            wanted = ((start[..., 0] < middle) != (end[..., 0] < middle)).any(-1)
        for a, b in itertools.combinations(range(start.shape[1]), 2):
            for at, gap in ((start, START_GAP), (end, END_GAP)):
                apart = at[:, a, :2] - at[:, b, :2]
                sound &= np.hypot(apart[:, 0], apart[:, 1]) >= gap * self.radius
        return sound * (1 + wanted)

    def _backdrop(self, positions, setting):
        """What the balls are drawn on: grey, 0 to 255, of a shape that broadcasts to (T, H, W)."""
        return np.float32(0)

    def _cover(self, positions, setting):
        """Share of each pixel under each disc, float32 (T, N, H, W), and under the bar, float32 (W,) or 0."""
        rows, columns = (np.arange(length, dtype=np.float32) + np.float32(0.5) for length in self.shape[1:3])
        x, y = np.moveaxis((positions * self.unit).astype(np.float32), -1, 0)[..., None]  # (T, N, 1)
        # Anti-aliasing by distance: the edge crosses a pixel as a straight line facing the pixel grid would.
        disc = np.sqrt(np.square(columns - x)[:, :, None, :] + np.square(rows - y)[:, :, :, None])
        np.subtract(np.float32(self.radius * self.unit + 0.5), disc, out=disc)
        np.clip(disc, 0, 1, out=disc)
        if setting.bar is None:
            return disc, np.float32(0)
        left, right = (edge * self.unit for edge in setting.bar)
        pillar = np.clip(np.minimum(columns + 0.5, right) - np.maximum(columns - 0.5, left), 0, 1)
        return disc, pillar.astype(np.float32)


def fly(
    start: np.ndarray, times: np.ndarray, radius: float, gravity: float, width: float = 1.0, floor: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities at `times` (T,) from start (..., 4) = x, y, vx, vy: two arrays (T, ..., 2).

    Closed form, so nothing drifts: between side walls (x = 0 and `width`) x is a triangle wave; y repeats the arc from
    floor to floor (y = `floor`). Units: sides and frames, y down.
    """
    x0, y0, vx, vy = (start[..., k] for k in range(4))
    times = np.asarray(times, np.float64).reshape((-1,) + (1,) * x0.ndim)
    positions = np.empty((len(times),) + x0.shape + (2,))
    velocities = np.empty_like(positions)

    room = width - 2 * radius
    unfolded = (x0 - radius + vx * times) % (2 * room)
    positions[..., 0] = width - radius - np.abs(unfolded - room)
    velocities[..., 0] = np.where(unfolded > room, -vx, vx)

    launch = np.sqrt(vy**2 + 2 * gravity * (floor - radius - y0))  # speed at the floor: energy is kept
    since = ((launch + vy) / gravity + times) % (2 * launch / gravity)  # time since the last bounce
    positions[..., 1] = floor - radius - since * (launch - 0.5 * gravity * since)
    velocities[..., 1] = gravity * since - launch
    return positions, velocities
