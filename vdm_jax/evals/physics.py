"""Does a clip obey the world of bouncing balls? Figures for a set of clips, and the verdict beside real ones.

kept: share of clips in which every ball keeps its colour and the count stays, through occlusion. A ball may be out of
sight only between frames in which it is about to pass behind the bar (as found in the clip itself) or behind another
ball, and it must come back: the world ends every clip with every ball in view. A ball that vanishes or appears
elsewhere, jumps, changes colour or splits fails its clip, as does a clip with too few balls or too many.
residual_px: each arc of free flight (in view, clear of the bar and of other balls, between bounces) of at least
MIN_ARC frames is fitted with position and velocity under the world's own gravity, by least squares; the root mean
square over its frames of the distance to the fit, averaged over arcs (and its median). `arcs` says how many.
speed_px: mean distance a ball goes from one frame to the next. start_spread_px: root of the summed variances of x
and y of the balls' first positions. flicker and nearest_train are those of evals/frames.py.
A figure that nothing could be measured for is nan, and nan passes no verdict.
"""

import numpy as np

from vdm_jax.data.bouncing_balls import BouncingBalls
from vdm_jax.evals import frames
from vdm_jax.evals.balls import Tracks, find

MIN_ARC = 5  # frames
LARGEST, STRAYS = 1.6, 0.3  # discs: more colour than this, or this much of it elsewhere, is not one ball
TURN = 0.15  # px past the wall that free flight would be, for a bounce to be seen in a track


def figures(
    videos: np.ndarray,
    world: BouncingBalls,
    train: np.ndarray | None = None,
    tracks: list[Tracks] | None = None,
    breaks: list[np.ndarray] | None = None,
) -> dict[str, float]:
    """All figures of clips, uint8 (N, T, H, W, 3), in the world they should belong to.

    With training clips, uint8 (M, T, H, W, 3), also nearest_train. A world in which more happens than falling and
    bouncing hands in its own tracks, one a clip, and where they break off, as `arcs` wants it.
    """
    tracks = [find(video, world) for video in videos] if tracks is None else tracks
    breaks = [None] * len(tracks) if breaks is None else breaks
    residuals = [found for each, cut in zip(tracks, breaks, strict=True) for found in arc_residuals(each, world, cut)]
    steps = [np.linalg.norm(np.diff(each.positions, axis=0), axis=-1).ravel() for each in tracks]
    starts = [each.positions[each.seen[:, n].argmax(), n] for each in tracks for n in range(len(each.colours))]
    found = {
        'clips': len(videos),
        'kept': float(np.mean([kept(each, world) for each in tracks])),
        'arcs': len(residuals),
        'residual_px': float(np.mean(residuals)) if residuals else float('nan'),
        'residual_median_px': float(np.median(residuals)) if residuals else float('nan'),
        'speed_px': _mean_known(np.concatenate(steps)),
        'start_spread_px': float(np.sqrt(np.var(starts, axis=0).sum())) if starts else float('nan'),
        'flicker': frames.flicker(videos),
    }
    if train is not None:
        found['nearest_train'] = float(frames.nearest(videos, train)[0].mean())
    return found


def judge(found: dict[str, float], real: dict[str, float]) -> dict[str, bool]:
    """The demo's bar, one verdict a name: figures of samples beside those of held-out real clips, all with `train`."""

    def within(name: str, factor: float) -> bool:
        return bool(real[name] / factor <= found[name] <= real[name] * factor)

    return {
        'kept': bool(found['kept'] >= 0.8),
        'residual': bool(found['residual_px'] <= max(3 * real['residual_px'], 0.3)),
        'speed': bool(abs(found['speed_px'] - real['speed_px']) <= 0.3 * real['speed_px']),
        'start_spread': bool(abs(found['start_spread_px'] - real['start_spread_px']) <= 0.3 * real['start_spread_px']),
        'flicker': within('flicker', 2.0),
        'nearest_train': bool(found['nearest_train'] >= 0.5 * real['nearest_train']),
    }


def kept(tracks: Tracks, world: BouncingBalls) -> bool:
    """Whether every ball of a clip keeps its colour, and the count stays, through occlusion (see the module)."""
    count, seen = len(tracks.colours), tracks.seen
    if not world.balls[0] <= count <= world.balls[1]:
        return False
    if tracks.areas.max() > LARGEST or tracks.strays.max() > STRAYS:
        return False
    if not (seen[0].all() and seen[-1].all()):
        return False
    return all(_kept_in_sight(tracks, ball, world) for ball in range(count))


def _kept_in_sight(tracks, ball, world):
    """Whether ball number `ball` goes from sight to sight without a jump, and out of sight only where it may."""
    at, times = tracks.positions[:, ball], np.flatnonzero(tracks.seen[:, ball])
    for a, b in zip(times[:-1], times[1:], strict=True):
        if np.linalg.norm(at[b] - at[a]) > 1.5 * fastest(world) * (b - a) + 1:
            return False
        if b - a > 1 and not (_may_hide(tracks, ball, a, a + 1, world) and _may_hide(tracks, ball, b, b - 1, world)):
            return False
    return True


def _may_hide(tracks, ball, last, gone, world):
    """Whether a ball seen in frame `last` can be out of sight in its neighbour `gone`: behind the bar or a ball."""
    radius, at = world.radius * world.unit, tracks.positions[last, ball]
    if _gap_to_bar(tracks.bar, at[0]) <= max(radius, world.speed * world.unit) + 1:
        return True
    others = np.delete(tracks.positions[gone], ball, axis=0)
    return bool((np.linalg.norm(others - at, axis=-1) <= radius + fastest(world)).any())


def fastest(world: BouncingBalls) -> float:
    """The highest speed of any ball, in pixels per frame: a fall from the ceiling at full sideways speed."""
    return world.unit * float(np.sqrt(world.speed**2 + 2 * world.gravity * (world.floor - 2 * world.radius)))


def arc_residuals(tracks: Tracks, world: BouncingBalls, breaks: np.ndarray | None = None) -> list[float]:
    """The residual in pixels of each arc of at least MIN_ARC frames."""
    gravity = world.gravity * world.unit
    return [
        arc_residual(tracks.positions[begin:end, ball], gravity)
        for ball in range(len(tracks.colours))
        for begin, end in arcs(tracks, ball, world, breaks)
        if end - begin >= MIN_ARC
    ]


def arc_residual(positions: np.ndarray, gravity: float) -> float:
    """Root mean square distance of positions (T, 2) from the best ballistic flight, x linear, y with g fixed."""
    t = np.arange(len(positions))
    line = np.stack([np.ones_like(t), t], 1).astype(np.float64)
    straight = positions - 0.5 * gravity * np.stack([0 * t, t**2], 1)
    fit, *_ = np.linalg.lstsq(line, straight, rcond=None)
    return float(np.sqrt(np.square(straight - line @ fit).sum(1).mean()))


def arcs(tracks: Tracks, ball: int, world: BouncingBalls, breaks: np.ndarray | None = None) -> list[tuple[int, int]]:
    """Spans (begin, end) of frames in which a ball is in view, clear of the bar and of others, and does not bounce.

    breaks: bool (T - 1, N), where else than at a bounce the free flight of a ball ends between frame t and t + 1.
    """
    radius, at = world.radius * world.unit, tracks.positions[:, ball]
    free = tracks.seen[:, ball] & (_gap_to_bar(tracks.bar, at[:, 0]) > radius + 0.7)
    for other in range(len(tracks.colours)):
        if other != ball:
            free &= ~(np.linalg.norm(tracks.positions[:, other] - at, axis=-1) < 2 * radius + 1)
    spans, begin = [], None
    turns = bounces(at, world) if breaks is None else bounces(at, world) | breaks[:, ball]
    for t in range(len(at)):
        if begin is not None and (not free[t] or turns[t - 1]):
            spans.append((begin, t))
            begin = None
        if free[t] and begin is None:
            begin = t
    return spans if begin is None else [*spans, (begin, len(at))]


def bounces(positions: np.ndarray, world: BouncingBalls) -> np.ndarray:
    """Whether a track (T, 2), nan where unseen, bounces between frame t and t + 1: (T - 1,) bool.

    It does where free flight, going on from the two frames before or back from the two frames after, would be past
    the floor or a side wall, and the ball is inside instead: its velocity changed sign there.
    """
    side, radius = world.unit, world.radius * world.unit
    right, floor = world.width * side, world.floor * side
    x, y = positions.T
    turned = np.zeros(len(positions) - 1, bool)
    # Distance to each wall, and how free flight bends it.
    for room, bend in (x - radius, 0.0), (right - radius - x, 0.0), (floor - radius - y, -world.gravity * side):
        onward = 2 * room[1:-1] - room[:-2] + bend  # expected in frames 2 ..
        back = 2 * room[1:-1] - room[2:] + bend  # expected in frames .. T - 3
        past = np.zeros(len(positions) + 1)  # how far, for each pair of frames, between two zeros
        past[2:-1] = np.where(room[2:] > onward + TURN, -onward, 0)
        past[1:-2] = np.maximum(past[1:-2], np.where(room[:-2] > back + TURN, -back, 0))
        # A pair that itself spans the bounce may foretell another beside it, but never one farther past the wall.
        turned |= (past[1:-1] > TURN) & (past[1:-1] >= past[:-2]) & (past[1:-1] > past[2:])
    return turned


def _gap_to_bar(bar, x):
    """Distance in pixels from x to the bar, 0 behind it, inf without one."""
    if bar is None:
        return np.full(np.shape(x), np.inf)
    return np.maximum(0, np.maximum(bar[0] - x, x - bar[1]))


def _mean_known(values):
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float('nan')
