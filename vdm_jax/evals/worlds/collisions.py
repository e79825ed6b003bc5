"""Do balls collide as equal masses do? Figures of clips for the world of colliding balls, beside those of physics.py.

A collision is measured where two balls fly freely for MIN_SIDE frames or more, their flights, carried on, touch
squarely, and both fly freely again, on from there, with no wall and no third ball on the way. Flights of at most WINDOW
frames on either side, under the world's own gravity, give the four velocities at the moment of contact. Of these
`collisions`:

through              share in which the two go on towards each other, as if nothing were there.
momentum_error_px    change of the sum of both velocities, pixels per frame, mean.
energy_error         |kinetic energy after / before - 1| of the pair at contact, mean.
deflection_error_px  root mean square, over the two balls, of the distance between the velocity after and the one that
                     an elastic collision of the flights before would give; pixels per frame, mean.

Balls that pass through each other keep momentum and energy: `through` and `deflection_error_px` are there for them.
Arcs of residual_px also break where two balls touch.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from vdm_jax.data.source import Source
from vdm_jax.data.worlds.colliding_balls import CollidingBalls
from vdm_jax.evals.verdicts import is_small
from vdm_jax.evals.worlds import physics
from vdm_jax.evals.worlds.ball_physics import BallPhysics
from vdm_jax.evals.worlds.ball_tracking import Tracks, track_balls

MIN_SIDE = 3  # frames of free flight on either side of a collision, at least
WINDOW = 6  # of which at most so many are fitted
SQUARE = 0.8  # of two radii: the centres of balls that collide squarely would otherwise come closer than this
LOOSE = 0.5  # px by which positions may be off
LATE = 0.3  # frames by which moments may be off
JOINED = 0.5  # radii between where the flights before and those after have a ball at contact; more, and more happened

# The fitted flights of two balls: time -> positions (2, 2), velocities (2, 2).
Flights = Callable[[float], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Collision:
    """Two balls before and after they touch; pixels and frames are the units.

    Attributes:
      time: Of contact.
      normal: (2,) from the first to the second.
      before: Velocities (2, 2), ball by (x, y).
      after: The same.
    """

    time: float
    normal: np.ndarray
    before: np.ndarray
    after: np.ndarray

    @property
    def through(self) -> bool:
        """Whether they go on towards each other."""
        return bool((self.after[1] - self.after[0]) @ self.normal < 0)

    @property
    def momentum_error(self) -> float:
        """How much the sum of their velocities changes."""
        return float(np.linalg.norm(self.after.sum(0) - self.before.sum(0)))

    @property
    def energy_error(self) -> float:
        """By which share their kinetic energy changes."""
        return float(abs(np.square(self.after).sum() / np.square(self.before).sum() - 1))

    @property
    def deflection_error(self) -> float:
        """How far their velocities are from those after an elastic collision."""
        # Equal masses exchange the part of their velocities along the normal, and keep the rest.
        transferred = ((self.before[0] - self.before[1]) @ self.normal) * self.normal
        elastic = self.before + np.stack([-transferred, transferred])
        return float(np.sqrt(np.square(self.after - elastic).sum(1).mean()))


def measure(videos: np.ndarray, world: CollidingBalls, train: np.ndarray | None = None) -> dict[str, float]:
    """Return physics.measure of clips, uint8 (N, T, H, W, 3), and figures of their collisions; nan where none is."""
    tracks = [track_balls(video, world) for video in videos]
    touches = [find_touches(each, world) for each in tracks]
    collisions = []
    for each, touches_of_clip in zip(tracks, touches, strict=True):
        collisions += find_collisions(each, world, touches_of_clip)

    def average(values: list[float]) -> float:
        return float(np.mean(values)) if values else float('nan')

    breaks = [_touches_any(each) for each in touches]
    return physics.measure(videos, world, train, tracks, breaks) | {
        'collisions': len(collisions),
        'through': average([each.through for each in collisions]),
        'momentum_error_px': average([each.momentum_error for each in collisions]),
        'energy_error': average([each.energy_error for each in collisions]),
        'deflection_error_px': average([each.deflection_error for each in collisions]),
    }


def judge(figures: dict[str, float], real: dict[str, float]) -> dict[str, bool]:
    """Judge as physics.judge does, and each figure of collisions beside that of real clips."""
    return physics.judge(figures, real) | {
        'collisions': bool(figures['collisions'] / figures['clips'] >= 0.5 * real['collisions'] / real['clips']),
        'through': bool(figures['through'] <= 0.1),
        'momentum': is_small(figures['momentum_error_px'], real['momentum_error_px']),
        'energy': is_small(figures['energy_error'], real['energy_error']),
        'deflection': is_small(figures['deflection_error_px'], real['deflection_error_px']),
    }


def find_touches(tracks: Tracks, world: CollidingBalls) -> np.ndarray:
    """Return where two balls may touch: bool (T - 1, N, N), between frames t and t + 1.

    They may where one of the two frames shows them touching, and where the way to contact and off again is no longer
    than the ways both go within a frame, at their fastest in the frames around.
    """
    reach = 2 * world.radius * world.unit
    apart = tracks.positions[:, :, None] - tracks.positions[:, None]
    # A ball that is not seen touches nobody that could be measured: infinitely far away.
    gaps = np.nan_to_num(np.linalg.norm(apart, axis=-1) - reach, nan=np.inf)
    steps = np.nan_to_num(np.linalg.norm(np.diff(tracks.positions, axis=0), axis=-1))

    # The fastest of five steps: the one in which balls touch is itself cut short by it.
    around = np.pad(steps, [(2, 2), (0, 0)])
    longest = np.max([around[k : k + len(steps)] for k in range(5)], axis=0)
    is_short = gaps[1:] + gaps[:-1] <= longest[:, :, None] + longest[:, None] + LOOSE
    is_shown = np.minimum(gaps[1:], gaps[:-1]) < 1
    touches: np.ndarray = (is_short | is_shown) & ~np.eye(len(tracks.colours), dtype=bool)
    return touches


def _touches_any(touches: np.ndarray) -> np.ndarray:
    """Return whether each ball may touch any other one: (T - 1, N, N) -> (T - 1, N)."""
    return np.asarray(touches.any(2))


def find_collisions(tracks: Tracks, world: CollidingBalls, touches: np.ndarray) -> list[Collision]:
    """Find the collisions of a clip that can be measured (see the module); touches as from `find_touches`."""
    breaks = _touches_any(touches)
    arcs = [physics.find_arcs(tracks, ball, world, breaks) for ball in range(len(tracks.colours))]
    collisions = []
    for a, b in itertools.combinations(range(len(arcs)), 2):
        others = np.asarray(np.delete(touches[:, [a, b]], [a, b], axis=2).any((1, 2)))

        # Frames in which both fly freely; two such spans in succession may have a collision between them.
        overlaps = [(max(p[0], q[0]), min(p[1], q[1])) for p in arcs[a] for q in arcs[b]]
        spans = sorted((begin, end) for begin, end in overlaps if end - begin >= MIN_SIDE)
        for (begin, end), (again, until) in itertools.pairwise(spans):
            if not others[end - 1 : again].any():
                before = _fit_flights(tracks, (a, b), np.arange(max(begin, end - WINDOW), end), world)
                after = _fit_flights(tracks, (a, b), np.arange(again, min(until, again + WINDOW)), world)
                collision = _measure_collision(before, after, end - 1, again, world)
                if collision is not None:
                    collisions.append(collision)
    return collisions


def _fit_flights(tracks: Tracks, pair: tuple[int, int], times: np.ndarray, world: CollidingBalls) -> Flights:
    """Fit the free flight of two balls over frames `times`."""
    gravity = np.array([0, world.gravity * world.unit])
    line = np.stack([np.ones(len(times)), times], 1)
    # Less the fall, which is known, a flight is a straight line: linear in its start and velocity.
    straight = tracks.positions[times][:, pair] - 0.5 * gravity * np.square(times)[:, None, None]
    (start, velocity), *_ = np.linalg.lstsq(line, straight.reshape(len(times), 4), rcond=None)

    start = start.reshape(2, 2)
    velocity = velocity.reshape(2, 2)

    def fly(t: float) -> tuple[np.ndarray, np.ndarray]:
        return start + velocity * t + 0.5 * gravity * t**2, velocity + gravity * t

    return fly


def _measure_collision(
    before: Flights, after: Flights, last: int, again: int, world: CollidingBalls
) -> Collision | None:
    """Return the collision where flights carried on from frame `last` touch squarely before frame `again`, else None.

    A wall passed on the way would show: the flights of either side, carried to the moment of contact, are in the room.
    """
    time = _find_contact(before, world)
    if time is None or not last - LATE <= time <= again + LATE:
        return None

    positions, velocities = before(time)
    positions_after, velocities_after = after(time)
    if min(_measure_room(positions, world), _measure_room(positions_after, world)) < LOOSE:
        return None
    # Flights that do not meet at contact had something between them that was not seen.
    if np.linalg.norm(positions_after - positions, axis=1).max() > JOINED * world.radius * world.unit:
        return None

    normal = positions[1] - positions[0]
    return Collision(time, normal / np.linalg.norm(normal), velocities, velocities_after)


def _find_contact(flights: Flights, world: CollidingBalls) -> float | None:
    """Return when two flights first touch, if they do so squarely; else None."""
    positions, velocities = flights(0.0)
    apart = positions[1] - positions[0]
    velocity = velocities[1] - velocities[0]
    speed2 = max(float(velocity @ velocity), 1e-12)
    # The moment at which they would be nearest, and back from there to where they are two radii apart.
    closest = -float(apart @ velocity) / speed2
    least2 = float(np.square(apart + closest * velocity).sum())
    reach = 2 * world.radius * world.unit
    if least2 > (SQUARE * reach) ** 2:
        return None
    return closest - float(np.sqrt((reach**2 - least2) / speed2))


def _measure_room(positions: np.ndarray, world: CollidingBalls) -> float:
    """Return the least distance in pixels of balls (2, 2) from a side wall or the floor; below 0 beyond it."""
    side = world.unit
    radius = world.radius * side
    x, y = positions.T
    return float(np.min([x - radius, world.width * side - radius - x, world.floor * side - radius - y]))


def make_passing_balls(**fields: Any) -> CollidingBalls:
    """Make the control in which balls do not notice each other."""
    return CollidingBalls(**fields | {'collide': False})


@dataclasses.dataclass(frozen=True)
class CollisionPhysics(BallPhysics[CollidingBalls]):
    """BallPhysics, and what two balls do to each other."""

    usual_sources: ClassVar = (CollidingBalls,)
    suffix: ClassVar[str] = '_collide'
    wrong_worlds: ClassVar[dict[str, Callable[..., Source]]] = {'through': make_passing_balls}
    further_figures: ClassVar = ('collisions', 'through', 'momentum_error_px', 'energy_error', 'deflection_error_px')

    def measure(self, videos: np.ndarray, world: CollidingBalls, train: np.ndarray | None = None) -> dict[str, float]:
        """Return the figures of this module."""
        return measure(videos, world, train)

    def judge(self, figures: dict[str, float], real: dict[str, float]) -> dict[str, bool]:
        """Return the verdicts of this module on figures of samples, beside those of real clips."""
        return judge(figures, real)
