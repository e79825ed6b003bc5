"""Bouncing balls that collide: equal masses, no loss, no friction; no ball passes through another.

Events are found in closed form and taken in order, so nothing drifts and there is no step size. Between walls two balls
fall alike, so one moves past the other on a straight line: the time of contact is the root of a quadratic. At contact
they exchange the parts of their velocities along the line of centres, which keeps momentum and energy of the pair.

Of the starts tried for a clip one is preferred from which two balls collide squarely, with CLEAR frames of free flight
before and after. A ball hit from below rises higher than it started: starts after which one would reach the ceiling are
passed over. With the defaults 99% of the clips have a collision, 1.8 in the mean, and half of them such a clear one.
Choosing starts takes most of the 3 ms that a clip takes on one core.
"""

import dataclasses
import itertools
import math
from typing import Annotated, ClassVar, Literal

import numpy as np

from vdm_jax.config.frame_size import FrameSize
from vdm_jax.config.ranges import Ascending, Frames, Share
from vdm_jax.data.worlds.bouncing_balls import (
    START_GAP,
    BouncingBalls,
    Colours,
    Gravity,
    Setting,
    Speed,
    Truth,
    fly,
)

CLEAR = 3.5  # frames before and after a collision, for its velocities to be seen
SQUARE = 0.7  # of two radii: passing through each other, balls that collide squarely would come closer than this
FINE = 4  # times in a frame at which flights are looked at, to choose between starts
TRIED = 4  # of the starts that look best, how many are looked at with all their collisions


@dataclasses.dataclass(frozen=True)
class Collision:
    """One collision of two balls.

    Attributes:
      time: In frames.
      pair: The two balls, the lower number first.
      point: (x, y) where they touch.
      normal: Unit vector from the first to the second.
    """

    time: float
    pair: tuple[int, int]
    point: tuple[float, float]
    normal: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class CollidingTruth(Truth):
    """What is behind one clip, in pixels and frames.

    Attributes:
      collisions: In order of time.
    """

    collisions: tuple[Collision, ...]


@dataclasses.dataclass(frozen=True)
class CollidingBalls(BouncingBalls):
    """Clips of balls that bounce and collide, made on the fly.

    Attributes:
      bar: Stays 0: behind a bar no collision can be seen.
      collide: Whether they collide; otherwise balls pass through each other from the same starts, as a control.

    Raises:
      UserError: a world that cannot be drawn; it names config.data.KEY.
    """

    frames: Frames = 16
    pixels: FrameSize = 32
    balls: Annotated[tuple[Colours, Colours], Ascending()] = (2, 3)
    gravity: Gravity = 0.006
    speed: Speed = 0.05
    bar: Share = 0.0
    collide: bool = True

    candidates: ClassVar[int] = 48

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check('bar', self.bar == 0, 'behind a bar no collision can be seen: set it to 0')

    def truth(self, i: int) -> CollidingTruth:
        """Return positions, velocities and collisions of clip i."""
        collisions: tuple[Collision, ...] = ()
        if self.collide:
            start, _, _ = self._make_scene(i)
            _, _, collisions = self._simulate(start, np.arange(self.frames))
        return CollidingTruth(**vars(super().truth(i)), collisions=tuple(map(self._in_pixels, collisions)))

    def _in_pixels(self, collision: Collision) -> Collision:
        x, y = collision.point
        return dataclasses.replace(collision, point=(x * self.unit, y * self.unit))

    def _fly(self, start: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self.collide:
            return super()._fly(start, times)
        positions, velocities, _ = self._simulate(start, times)
        return positions, velocities

    def _simulate(self, start: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[Collision, ...]]:
        return collide(start, times, self.radius, self.gravity, self.width, self.floor)

    def _rate_starts(self, start: np.ndarray, setting: Setting) -> np.ndarray:
        """Rate candidates (K, N, 4) for a start: (K,), 0 for what cannot be taken, 2 for a clear collision, else 1.

        Of these only so many are looked at as it takes to choose one; the others stay 0.
        """
        del setting
        times = np.arange((self.frames - 1) * FINE + 1) / FINE
        is_apart, promise = self._estimate_promise(start, times)

        # The most promising first, and few of them: a simulation takes longer than all else of a clip.
        ratings = np.zeros(len(start))
        for k in np.argsort(-promise, kind='stable'):
            if not is_apart[k]:
                continue
            positions, velocities, collisions = self._simulate(start[k], times)
            # Between two of these times a ball can rise by g / (8 FINE^2) more than at either.
            if positions[..., 1].min() > self.radius + self.gravity / (8 * FINE**2):
                turns = self._find_turns(velocities)
                ratings[k] = 1 + any(self._is_clear(each, turns) for each in collisions)
            if ratings[k] == 2 or (ratings > 0).sum() == TRIED:
                break
        return ratings

    def _estimate_promise(self, start: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Estimate from flights without collisions which starts (K, N, 4) lead to a clear one.

        Returns:
          is_apart: (K,) whether no two balls touch at first.
          promise: (K,) from 0, where no two balls meet, to 3.
        """
        # Exact until two meet.
        positions, velocities = fly(start, times, self.radius, self.gravity, self.width, self.floor)
        reach = int(CLEAR * FINE)
        is_apart = np.ones(len(start), bool)
        promise = np.zeros(len(start))
        for a, b in itertools.combinations(range(start.shape[1]), 2):
            gaps = np.linalg.norm(positions[:, :, a] - positions[:, :, b], axis=-1) / (2 * self.radius)
            is_apart &= gaps[0] >= START_GAP / 2
            is_free = np.logical_not(self._find_turns(velocities[:, :, [a, b]]).any(-1))
            for k in np.flatnonzero((gaps < 1).any(0)):
                contact = int((gaps[:, k] < 1).argmax())
                free_before = contact >= CLEAR * FINE and is_free[contact - reach : contact, k].all()
                hits_squarely = gaps[contact : contact + reach, k].min() < SQUARE
                promise[k] = max(promise[k], 1 + free_before + hits_squarely)
        return is_apart, promise

    def _find_turns(self, velocities: np.ndarray) -> np.ndarray:
        """Return whether balls bounce or collide in each step of 1 / FINE frames: (T, ..., 2) -> bool (T - 1, ...)."""
        # In free flight gravity alone changes a velocity; 1e-9 is for rounding.
        change = np.abs(np.diff(velocities, axis=0) - [0, self.gravity / FINE])
        turns: np.ndarray = (change > 1e-9).any(-1)
        return turns

    def _is_clear(self, collision: Collision, turns: np.ndarray) -> bool:
        """Whether nothing else turns the two balls within CLEAR frames: turns (T - 1, N) at steps of 1 / FINE."""
        step = int(collision.time * FINE)
        reach = int(CLEAR * FINE)
        if not reach <= step < len(turns) - reach:
            return False
        # The collision itself turns both balls, which makes two.
        return bool(turns[step - reach : step + reach + 1, collision.pair].sum() <= 2)


def collide(
    start: np.ndarray, times: np.ndarray, radius: float, gravity: float, width: float = 1.0, floor: float = 1.0
) -> tuple[np.ndarray, np.ndarray, tuple[Collision, ...]]:
    """Return the flight of balls that collide, and their collisions.

    As in `fly` there are side walls and a floor, and no ceiling. Where no two balls meet, it is `fly` but for rounding.
    Units are sides and frames; y runs down.

    Args:
      start: (N, 4) = x, y, vx, vy at time 0.
      times: (T,), which ascend from 0 or later.
      radius: Of a ball.
      gravity: Downwards.
      width: From wall to wall.
      floor: Where it lies below the ceiling.

    Returns:
      Positions and velocities, (T, N, 2) each, and the collisions up to the last of the times.
    """
    times = np.asarray(times, np.float64)
    positions = np.empty((len(times), len(start), 2))
    velocities = np.empty_like(positions)
    balls = _Balls(start, radius, gravity, width, floor)

    done = 0  # times that are filled in
    while done < len(times):
        wait, kind, members = balls.next_event()
        stop = done + int(np.searchsorted(times[done:], balls.now + wait, 'right'))
        balls.fill(times[done:stop], positions[done:stop], velocities[done:stop])
        balls.advance(wait)
        done = stop
        # A collision behind the last of the times is none of theirs.
        if done < len(times):
            balls.turn(kind, members)
    return positions, velocities, tuple(balls.collisions)


class _Balls:
    """Balls in free flight from one event to the next, in Python's floats, which are faster than arrays of a few.

    Attributes:
      now: The time of the last event.
      x, y, vx, vy: Of each ball at that time.
      collisions: Those up to that time.
    """

    def __init__(self, start: np.ndarray, radius: float, gravity: float, width: float, floor: float):
        self.x, self.y, self.vx, self.vy = (list(map(float, start[:, k])) for k in range(4))
        self.now = 0.0
        self.collisions: list[Collision] = []
        self._radius = radius
        self._gravity = gravity
        self._width = width
        self._floor = floor
        self._pairs = list(itertools.combinations(range(len(start)), 2))

    def next_event(self) -> tuple[float, Literal['wall', 'floor', 'contact'], tuple[int, ...]]:
        """Return how long the next event is away, its kind, and the balls that it turns."""
        balls = range(len(self.x))
        events: list[tuple[float, Literal['wall', 'floor', 'contact'], tuple[int, ...]]] = []
        events += [(self._time_to_wall(n), 'wall', (n,)) for n in balls]
        events += [(self._time_to_floor(n), 'floor', (n,)) for n in balls]
        events += [(self._time_to_contact(a, b), 'contact', (a, b)) for a, b in self._pairs]
        # Of events at one time the kind and the numbers decide: the same order on every machine.
        return min(events)

    def _time_to_wall(self, n: int) -> float:
        if not self.vx[n]:
            return math.inf
        wall = self._width - self._radius if self.vx[n] > 0 else self._radius
        return (wall - self.x[n]) / self.vx[n]

    def _time_to_floor(self, n: int) -> float:
        room = max(self._floor - self._radius - self.y[n], 0.0)
        return (math.sqrt(self.vy[n] ** 2 + 2 * self._gravity * room) - self.vy[n]) / self._gravity

    def _time_to_contact(self, a: int, b: int) -> float:
        """Return the earlier root of |offset + velocity t| = 2 radius: both fall alike, so it is a straight line."""
        dx = self.x[b] - self.x[a]
        dy = self.y[b] - self.y[a]
        dvx = self.vx[b] - self.vx[a]
        dvy = self.vy[b] - self.vy[a]
        closing = -(dx * dvx + dy * dvy)
        excess = dx**2 + dy**2 - 4 * self._radius**2
        discriminant = closing**2 - (dvx**2 + dvy**2) * excess
        # Balls that move apart, as after their own collision, meet no more.
        if closing <= 0 or discriminant <= 0:
            return math.inf
        # Not closing - sqrt(discriminant), which cancels where the balls all but touch.
        return max(excess, 0.0) / (closing + math.sqrt(discriminant))

    def fill(self, times: np.ndarray, positions: np.ndarray, velocities: np.ndarray) -> None:
        """Fill in positions and velocities (T, N, 2) at times before the next event."""
        since = (times - self.now)[:, None]
        positions[..., 0] = np.array(self.x) + since * self.vx
        positions[..., 1] = np.array(self.y) + since * self.vy + 0.5 * self._gravity * since**2
        velocities[..., 0] = self.vx
        velocities[..., 1] = np.array(self.vy) + self._gravity * since

    def advance(self, wait: float) -> None:
        """Let so much time pass, in which nothing happens."""
        self.now += wait
        for n in range(len(self.x)):
            self.x[n] += self.vx[n] * wait
            self.y[n] += self.vy[n] * wait + 0.5 * self._gravity * wait**2
            self.vy[n] += self._gravity * wait

    def turn(self, kind: Literal['wall', 'floor', 'contact'], members: tuple[int, ...]) -> None:
        """Turn the balls of an event that happens now."""
        if kind == 'contact':
            self._exchange(*members)
            return

        # Put where it must be, so that rounding does not add up.
        (n,) = members
        if kind == 'wall':
            self.x[n] = self._width - self._radius if self.vx[n] > 0 else self._radius
            self.vx[n] = -self.vx[n]
        else:
            self.y[n] = self._floor - self._radius
            self.vy[n] = -self.vy[n]

    def _exchange(self, a: int, b: int) -> None:
        """Exchange the parts of two balls' velocities along the line of centres, and note the collision."""
        gap = math.hypot(self.x[b] - self.x[a], self.y[b] - self.y[a])
        normal = (self.x[b] - self.x[a]) / gap, (self.y[b] - self.y[a]) / gap
        transfer = (self.vx[a] - self.vx[b]) * normal[0] + (self.vy[a] - self.vy[b]) * normal[1]
        self.vx[a] -= transfer * normal[0]
        self.vy[a] -= transfer * normal[1]
        self.vx[b] += transfer * normal[0]
        self.vy[b] += transfer * normal[1]
        point = 0.5 * (self.x[a] + self.x[b]), 0.5 * (self.y[a] + self.y[b])
        self.collisions.append(Collision(self.now, (a, b), point, normal))
