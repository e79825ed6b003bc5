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
from typing import Annotated, ClassVar

import numpy as np

from vdm_jax.config.frame_size import FrameSize
from vdm_jax.config.ranges import Ascending, Frames, Share
from vdm_jax.data.worlds.bouncing_balls import START_GAP, BouncingBalls, Colours, Gravity, Speed, Truth, fly

CLEAR = 3.5  # frames before and after a collision, for its velocities to be seen
SQUARE = 0.7  # of two radii: passing through each other, balls that collide squarely would come closer than this
FINE = 4  # times in a frame at which flights are looked at, to choose between starts
TRIED = 4  # of the starts that look best, how many are looked at with all their collisions


@dataclasses.dataclass(frozen=True)
class Collision:
    """One collision of two balls."""

    time: float  # frames
    pair: tuple[int, int]  # the lower number first
    point: tuple[float, float]  # (x, y) where they touch
    normal: tuple[float, float]  # unit vector from the first to the second


@dataclasses.dataclass(frozen=True)
class CollidingTruth(Truth):
    """What is behind one clip, in pixels and frames."""

    collisions: tuple[Collision, ...]  # in order of time


@dataclasses.dataclass(frozen=True)
class CollidingBalls(BouncingBalls):
    """config.data of the colliding balls, and the source itself (see BouncingBalls).

    Raises: UserError, naming config.data.KEY, for a world that cannot be drawn.
    """

    frames: Frames = 16
    pixels: FrameSize = 32
    balls: Annotated[tuple[Colours, Colours], Ascending()] = (2, 3)
    gravity: Gravity = 0.006  # sides per frame^2
    speed: Speed = 0.05  # sides per frame, as in BouncingBalls
    bar: Share = 0.0  # stays 0
    collide: bool = True  # false: the same starts, but balls pass through each other; a control
    candidates: ClassVar[int] = 48

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check('bar', self.bar == 0, 'behind a bar no collision can be seen: set it to 0')

    def truth(self, i: int) -> CollidingTruth:
        """Positions, velocities and collisions of clip i."""
        start, _, _ = self._scene(i)
        collisions = self._run(start, np.arange(self.frames))[2] if self.collide else ()
        scaled = (
            dataclasses.replace(each, point=(each.point[0] * self.unit, each.point[1] * self.unit))
            for each in collisions
        )
        return CollidingTruth(**vars(super().truth(i)), collisions=tuple(scaled))

    def _fly(self, start, times):
        return self._run(start, times)[:2] if self.collide else super()._fly(start, times)

    def _run(self, start, times):
        return collide(start, times, self.radius, self.gravity, self.width, self.floor)

    def _merit(self, start, setting):
        """Candidates (K, N, 4) -> (K,): above 0 for the one chosen (see the module), 0 for the others."""
        times = np.arange((self.frames - 1) * FINE + 1) / FINE
        flights, speeds = fly(start, times, self.radius, self.gravity, self.width, self.floor)  # exact until two meet
        apart, hope = np.ones(len(start), bool), np.zeros(len(start))
        for a, b in itertools.combinations(range(start.shape[1]), 2):
            gaps = np.linalg.norm(flights[:, :, a] - flights[:, :, b], axis=-1) / (2 * self.radius)
            apart &= gaps[0] >= START_GAP / 2
            free = ~self._turns(speeds[:, :, [a, b]]).any(-1)
            for k in np.flatnonzero((gaps < 1).any(0)):
                met = int((gaps[:, k] < 1).argmax())
                before = met >= CLEAR * FINE and free[met - int(CLEAR * FINE) : met, k].all()
                square = gaps[met : met + int(CLEAR * FINE), k].min() < SQUARE
                hope[k] = max(hope[k], 1 + before + square)
        merit = np.zeros(len(start))
        for k in np.argsort(-hope, kind='stable'):
            if not apart[k]:
                continue
            run, speeds, collisions = self._run(start[k], times)
            # Between two of these times a ball can rise by g / (8 FINE^2) more than at either.
            if run[..., 1].min() > self.radius + self.gravity / (8 * FINE**2):
                turns = self._turns(speeds)
                merit[k] = 1 + any(self._is_clear(each, turns) for each in collisions)
            if merit[k] == 2 or (merit > 0).sum() == TRIED:
                break
        return merit

    def _turns(self, velocities):
        """Whether balls bounce or collide in each step of 1 / FINE frames: velocities (T, ..., 2) -> (T - 1, ...)."""
        step = np.abs(np.diff(velocities, axis=0) - [0, self.gravity / FINE])
        return (step > 1e-9).any(-1)

    def _is_clear(self, collision, turns):
        """Whether nothing else turns the two balls within CLEAR frames: turns (T - 1, N) at steps of 1 / FINE."""
        own, reach = int(collision.time * FINE), int(CLEAR * FINE)
        if not reach <= own < len(turns) - reach:
            return False
        return turns[own - reach : own + reach + 1, collision.pair].sum() <= 2


def collide(
    start: np.ndarray, times: np.ndarray, radius: float, gravity: float, width: float = 1.0, floor: float = 1.0
) -> tuple[np.ndarray, np.ndarray, tuple[Collision, ...]]:
    """Flight with collisions from start (N, 4) = x, y, vx, vy: positions and velocities (T, N, 2), and collisions.

    times (T,) ascend from 0 or later; collisions are those up to the last one. Units: sides and frames, y down. As in
    `fly` there are side walls and a floor, and no ceiling. Where no two balls meet, it is `fly` but for rounding.
    """
    x, y, vx, vy = (list(map(float, start[:, k])) for k in range(4))
    balls, pairs = range(len(x)), list(itertools.combinations(range(len(x)), 2))
    times = np.asarray(times, np.float64)
    positions, velocities = np.empty((len(times), len(x), 2)), np.empty((len(times), len(x), 2))
    collisions, now, done = [], 0.0, 0

    def to_wall(n):
        return ((width - radius if vx[n] > 0 else radius) - x[n]) / vx[n] if vx[n] else math.inf

    def to_floor(n):
        room = max(floor - radius - y[n], 0.0)
        return (math.sqrt(vy[n] ** 2 + 2 * gravity * room) - vy[n]) / gravity

    def to_contact(a, b):
        away = x[b] - x[a], y[b] - y[a]
        speed = vx[b] - vx[a], vy[b] - vy[a]
        closing = -(away[0] * speed[0] + away[1] * speed[1])
        excess = away[0] ** 2 + away[1] ** 2 - 4 * radius**2
        inside = closing**2 - (speed[0] ** 2 + speed[1] ** 2) * excess
        if closing <= 0 or inside <= 0:
            return math.inf
        return max(excess, 0.0) / (closing + math.sqrt(inside))  # the earlier root, without cancellation

    while done < len(times):
        events = [(to_wall(n), 'wall', n) for n in balls] + [(to_floor(n), 'floor', n) for n in balls]
        events += [(to_contact(a, b), 'contact', (a, b)) for a, b in pairs]
        wait, kind, who = min(events)
        last = done + int(np.searchsorted(times[done:], now + wait, 'right'))
        since = (times[done:last] - now)[:, None]
        positions[done:last, :, 0] = np.array(x) + since * vx
        positions[done:last, :, 1] = np.array(y) + since * vy + 0.5 * gravity * since**2
        velocities[done:last, :, 0] = vx
        velocities[done:last, :, 1] = np.array(vy) + gravity * since
        now, done = now + wait, last
        for n in balls:
            x[n] += vx[n] * wait
            y[n] += vy[n] * wait + 0.5 * gravity * wait**2
            vy[n] += gravity * wait
        if kind == 'wall':
            x[who] = width - radius if vx[who] > 0 else radius
            vx[who] = -vx[who]
        elif kind == 'floor':
            y[who] = floor - radius
            vy[who] = -vy[who]
        elif done < len(times):
            a, b = who
            gap = math.hypot(x[b] - x[a], y[b] - y[a])
            normal = (x[b] - x[a]) / gap, (y[b] - y[a]) / gap
            given = (vx[a] - vx[b]) * normal[0] + (vy[a] - vy[b]) * normal[1]
            vx[a], vy[a] = vx[a] - given * normal[0], vy[a] - given * normal[1]
            vx[b], vy[b] = vx[b] + given * normal[0], vy[b] + given * normal[1]
            point = 0.5 * (x[a] + x[b]), 0.5 * (y[a] + y[b])
            collisions.append(Collision(now, (a, b), point, normal))
    return positions, velocities, tuple(collisions)
