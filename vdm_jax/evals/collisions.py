"""Do balls collide as equal masses do? Figures of clips for the world of colliding balls, beside those of physics.py.

A collision is measured where two balls fly freely for MIN_SIDE frames or more, their flights, carried on, touch
squarely, and both fly freely again, on from there, with no wall and no third ball on the way. Flights of at most WINDOW
frames on either side, under the world's own gravity, give the four velocities at the moment of contact. Of these
`collisions`:

through: share in which the two go on towards each other, as if nothing were there.
momentum_error_px: change of the sum of both velocities, pixels per frame, mean.
energy_error: |kinetic energy after / before - 1| of the pair at contact, mean.
deflection_error_px: root mean square, over the two balls, of the distance between the velocity after and the one that
an elastic collision of the flights before would give; pixels per frame, mean.

Balls that pass through each other keep momentum and energy: `through` and `deflection_error_px` are there for them.
Arcs of residual_px also break where two balls touch.
"""

import dataclasses
import itertools

import numpy as np

from vdm_jax.data.colliding_balls import CollidingBalls
from vdm_jax.evals import physics
from vdm_jax.evals.balls import Tracks, find
from vdm_jax.evals.protocols import BallPhysics

MIN_SIDE, WINDOW = 3, 6  # frames of free flight on either side of a collision: fewest, most that are fitted
SQUARE = 0.8  # of two radii: the centres of balls that collide squarely would otherwise come closer than this
LOOSE, LATE = 0.5, 0.3  # px and frames by which positions and moments may be off
JOINED = 0.5  # radii between where the flights before and those after have a ball at contact; more, and more happened


@dataclasses.dataclass(frozen=True)
class Meeting:
    """Two balls before and after they touch: velocities (2, 2), ball by (x, y), in pixels per frame; time in frames."""

    time: float
    normal: np.ndarray  # (2,) from the first to the second
    before: np.ndarray
    after: np.ndarray

    @property
    def through(self) -> bool:
        return bool((self.after[1] - self.after[0]) @ self.normal < 0)

    @property
    def momentum_error(self) -> float:
        return float(np.linalg.norm(self.after.sum(0) - self.before.sum(0)))

    @property
    def energy_error(self) -> float:
        return float(abs(np.square(self.after).sum() / np.square(self.before).sum() - 1))

    @property
    def deflection_error(self) -> float:
        given = ((self.before[0] - self.before[1]) @ self.normal) * self.normal
        elastic = self.before + np.stack([-given, given])
        return float(np.sqrt(np.square(self.after - elastic).sum(1).mean()))


def figures(videos: np.ndarray, world: CollidingBalls, train: np.ndarray | None = None) -> dict[str, float]:
    """physics.figures of clips, uint8 (N, T, H, W, 3), and those of their collisions; nan where there was none."""
    tracks = [find(video, world) for video in videos]
    touch = [touches(each, world) for each in tracks]
    found = [meeting for each, near in zip(tracks, touch, strict=True) for meeting in meetings(each, world, near)]

    def mean(values):
        return float(np.mean(values)) if found else float('nan')

    return physics.figures(videos, world, train, tracks, [near.any(2) for near in touch]) | {
        'collisions': len(found),
        'through': mean([each.through for each in found]),
        'momentum_error_px': mean([each.momentum_error for each in found]),
        'energy_error': mean([each.energy_error for each in found]),
        'deflection_error_px': mean([each.deflection_error for each in found]),
    }


def judge(found: dict[str, float], real: dict[str, float]) -> dict[str, bool]:
    """physics.judge, and a verdict on each figure of collisions beside that of real clips."""
    return physics.judge(found, real) | {
        'collisions': bool(found['collisions'] / found['clips'] >= 0.5 * real['collisions'] / real['clips']),
        'through': bool(found['through'] <= 0.1),
        'momentum': bool(found['momentum_error_px'] <= max(3 * real['momentum_error_px'], 0.3)),
        'energy': bool(found['energy_error'] <= max(3 * real['energy_error'], 0.3)),
        'deflection': bool(found['deflection_error_px'] <= max(3 * real['deflection_error_px'], 0.3)),
    }


def touches(tracks: Tracks, world: CollidingBalls) -> np.ndarray:
    """Where two balls may touch: bool (T - 1, N, N), between frames t and t + 1.

    They may where one of the two frames shows them touching, and where the way to contact and off again is no longer
    than the ways both go within a frame, at their fastest in the frames around.
    """
    reach = 2 * world.radius * world.unit
    apart = tracks.positions[:, :, None] - tracks.positions[:, None]
    gaps = np.nan_to_num(np.linalg.norm(apart, axis=-1) - reach, nan=np.inf)
    steps = np.nan_to_num(np.linalg.norm(np.diff(tracks.positions, axis=0), axis=-1))
    around = np.pad(steps, [(2, 2), (0, 0)])
    longest = np.max([around[k : k + len(steps)] for k in range(5)], axis=0)
    found = (gaps[1:] + gaps[:-1] <= longest[:, :, None] + longest[:, None] + LOOSE) | (
        np.minimum(gaps[1:], gaps[:-1]) < 1
    )
    return found & ~np.eye(len(tracks.colours), dtype=bool)


def meetings(tracks: Tracks, world: CollidingBalls, touch: np.ndarray) -> list[Meeting]:
    """The collisions of a clip that can be measured (see the module); touch as from `touches`."""
    arcs = [physics.arcs(tracks, ball, world, touch.any(2)) for ball in range(len(tracks.colours))]
    found = []
    for a, b in itertools.combinations(range(len(arcs)), 2):
        others = np.delete(touch[:, [a, b]], [a, b], axis=2).any((1, 2))
        both = [(max(p[0], q[0]), min(p[1], q[1])) for p in arcs[a] for q in arcs[b]]
        both = sorted((begin, end) for begin, end in both if end - begin >= MIN_SIDE)
        for (begin, end), (again, until) in itertools.pairwise(both):
            if not others[end - 1 : again].any():
                before = _flights(tracks, (a, b), np.arange(max(begin, end - WINDOW), end), world)
                after = _flights(tracks, (a, b), np.arange(again, min(until, again + WINDOW)), world)
                found += _meeting(before, after, end - 1, again, world)
    return found


def _flights(tracks, pair, times, world):
    """Fitted free flight of two balls over frames `times`: time -> positions (2, 2), velocities (2, 2)."""
    gravity = np.array([0, world.gravity * world.unit])
    line = np.stack([np.ones(len(times)), times], 1)
    straight = tracks.positions[times][:, pair] - 0.5 * gravity * np.square(times)[:, None, None]
    (at, speed), *_ = np.linalg.lstsq(line, straight.reshape(len(times), 4), rcond=None)
    at, speed = at.reshape(2, 2), speed.reshape(2, 2)
    return lambda t: (at + speed * t + 0.5 * gravity * t**2, speed + gravity * t)


def _meeting(before, after, last, again, world):
    """[Meeting] where flights `before`, carried on from frame `last`, touch squarely before frame `again`, else [].

    A wall passed on the way would show: the flights of either side, carried to the moment of contact, are in the room.
    """
    time = _contact(before, world)
    if time is None or not last - LATE <= time <= again + LATE:
        return []
    (positions, speeds), (behind, faster) = before(time), after(time)
    if min(_room(positions, world), _room(behind, world)) < LOOSE:
        return []
    if np.linalg.norm(behind - positions, axis=1).max() > JOINED * world.radius * world.unit:
        return []
    normal = positions[1] - positions[0]
    return [Meeting(time, normal / np.linalg.norm(normal), speeds, faster)]


def _contact(flights, world):
    """When two flights first touch, if they do so squarely; else None."""
    positions, speeds = flights(0.0)
    apart, speed = positions[1] - positions[0], speeds[1] - speeds[0]
    speed2 = max(float(speed @ speed), 1e-12)
    closest = -float(apart @ speed) / speed2
    least2 = float(np.square(apart + closest * speed).sum())
    reach = 2 * world.radius * world.unit
    return None if least2 > (SQUARE * reach) ** 2 else closest - float(np.sqrt((reach**2 - least2) / speed2))


def _room(positions, world):
    """The least distance in pixels of balls (2, 2) from a side wall or the floor; below 0 beyond it."""
    side, radius = world.unit, world.radius * world.unit
    x, y = positions.T
    return np.min([x - radius, world.width * side - radius - x, world.floor * side - radius - y])


@dataclasses.dataclass(frozen=True)
class CollisionPhysics(BallPhysics):
    """BallPhysics, and what two balls do to each other."""

    sources = (CollidingBalls,)
    world = '_collide'
    figures = staticmethod(figures)
    judge = staticmethod(judge)
    wrong = {'through': lambda **fields: CollidingBalls(**fields | {'collide': False})}
