"""Does a clip obey the world of bouncing balls? Figures for a set of clips, and the verdict beside real ones.

kept             share of clips in which every ball keeps its colour and the count stays, through occlusion. A ball may
                 be out of sight only between frames in which it is about to pass behind the bar (as found in the clip
                 itself) or behind another ball, and it must come back: the world ends every clip with every ball in
                 view. A ball that vanishes or appears elsewhere, jumps, changes colour or splits fails its clip, as
                 does a clip with too few balls or too many.
arcs             how many free flights of at least MIN_ARC frames there are: in view, clear of the bar and of other
                 balls, between bounces.
residual_px      each arc is fitted with position and velocity under the world's own gravity, by least squares; the root
                 mean square over its frames of the distance to the fit, averaged over arcs (and its median).
speed_px         mean distance a ball goes from one frame to the next.
start_spread_px  root of the summed variances of x and y of the balls' first positions.
flicker          that of evals/temporal/flicker.py, the mean absolute second difference in time.
nearest_train    that of evals/metrics.py.

A figure that nothing could be measured for is nan, and nan passes no verdict.
"""

from collections.abc import Sequence

import numpy as np

from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.evals.metrics import find_nearest
from vdm_jax.evals.temporal.flicker import compute_flicker
from vdm_jax.evals.verdicts import is_near, is_small
from vdm_jax.evals.worlds.ball_tracking import Tracks, track_balls

MIN_ARC = 5  # frames
LARGEST = 1.6  # discs: more colour than this is not one ball
STRAYS = 0.3  # discs: colour with more than this of it elsewhere is not one ball
TURN = 0.15  # px past the wall that free flight would be, for a bounce to be seen in a track
FIGURES = (
    'clips', 'kept', 'arcs', 'residual_px', 'residual_median_px', 'speed_px', 'start_spread_px', 'flicker',
    'nearest_train',
)  # fmt: skip


def measure(
    videos: np.ndarray,
    world: BouncingBalls,
    train: np.ndarray | None = None,
    tracks: list[Tracks] | None = None,
    breaks: list[np.ndarray] | None = None,
) -> dict[str, float]:
    """Measure all figures of clips in the world that they should belong to.

    A world in which more happens than falling and bouncing hands in its own tracks, and where they break off.

    Args:
      videos: uint8 (N, T, H, W, 3).
      world: Whose gravity, radius and speeds they should have.
      train: Training clips, uint8 (M, T, H, W, 3); with them there is also nearest_train.
      tracks: One a clip.
      breaks: One a clip, as `find_arcs` wants it.
    """
    if tracks is None:
        tracks = [track_balls(video, world) for video in videos]
    breaks_by_clip: Sequence[np.ndarray | None] = [None] * len(tracks) if breaks is None else breaks

    residuals = []
    steps = []
    starts = []
    for each, breaks_of_clip in zip(tracks, breaks_by_clip, strict=True):
        residuals += measure_residuals(each, world, breaks_of_clip)
        steps.append(np.linalg.norm(np.diff(each.positions, axis=0), axis=-1).ravel())
        starts += [each.positions[each.seen[:, ball].argmax(), ball] for ball in range(len(each.colours))]

    figures = {
        'clips': len(videos),
        'kept': float(np.mean([keeps_balls(each, world) for each in tracks])),
        'arcs': len(residuals),
        'residual_px': float(np.mean(residuals)) if residuals else float('nan'),
        'residual_median_px': float(np.median(residuals)) if residuals else float('nan'),
        'speed_px': _average_finite(np.concatenate(steps)),
        'start_spread_px': float(np.sqrt(np.var(starts, axis=0).sum())) if starts else float('nan'),
        'flicker': compute_flicker(videos),
    }
    if train is not None:
        errors, _ = find_nearest(videos, train)
        figures['nearest_train'] = float(errors.mean())
    return figures


def judge(figures: dict[str, float], real: dict[str, float]) -> dict[str, bool]:
    """Judge figures of samples beside those of held-out real clips, all with `train`: one verdict a name."""

    def is_within(name: str, factor: float) -> bool:
        return bool(real[name] / factor <= figures[name] <= real[name] * factor)

    return {
        'kept': bool(figures['kept'] >= 0.8),
        # 0.3 px is lenient: without gravity a ball leaves 0.27 px over 5 frames and 0.73 px over 8.
        'residual': is_small(figures['residual_px'], real['residual_px']),
        'speed': is_near(figures['speed_px'], real['speed_px']),
        'start_spread': is_near(figures['start_spread_px'], real['start_spread_px']),
        'flicker': is_within('flicker', 2.0),
        # Held-out clips show how far from training new ones are; at less than half of it samples are copies.
        'nearest_train': bool(figures['nearest_train'] >= 0.5 * real['nearest_train']),
    }


def keeps_balls(tracks: Tracks, world: BouncingBalls) -> bool:
    """Return whether every ball of a clip keeps its colour, and the count stays, through occlusion (see the module)."""
    count = len(tracks.colours)
    if not world.balls[0] <= count <= world.balls[1]:
        return False
    if tracks.areas.max() > LARGEST or tracks.strays.max() > STRAYS:
        return False
    if not (tracks.seen[0].all() and tracks.seen[-1].all()):
        return False
    return all(_moves_in_sight(tracks, ball, world) for ball in range(count))


def _moves_in_sight(tracks: Tracks, ball: int, world: BouncingBalls) -> bool:
    """Return whether a ball goes from sight to sight without a jump, and out of sight only where it may."""
    positions = tracks.positions[:, ball]
    times = np.flatnonzero(tracks.seen[:, ball])
    for a, b in zip(times[:-1], times[1:], strict=True):
        # With slack, since what is seen of a half hidden ball has its centre elsewhere.
        if np.linalg.norm(positions[b] - positions[a]) > 1.5 * find_top_speed(world) * (b - a) + 1:
            return False
        if b - a > 1 and not (_may_hide(tracks, ball, a, a + 1, world) and _may_hide(tracks, ball, b, b - 1, world)):
            return False
    return True


def _may_hide(tracks: Tracks, ball: int, last: int, unseen: int, world: BouncingBalls) -> bool:
    """Return whether a ball seen in frame `last` can be behind the bar or a ball in its neighbour `unseen`."""
    radius = world.radius * world.unit
    position = tracks.positions[last, ball]
    if _measure_gap_to_bar(tracks.bar, position[0]) <= max(radius, world.speed * world.unit) + 1:
        return True
    others = np.delete(tracks.positions[unseen], ball, axis=0)
    return bool((np.linalg.norm(others - position, axis=-1) <= radius + find_top_speed(world)).any())


def find_top_speed(world: BouncingBalls) -> float:
    """Return the highest speed of any ball, in pixels per frame: a fall from the ceiling at full sideways speed."""
    return world.unit * float(np.sqrt(world.speed**2 + 2 * world.gravity * (world.floor - 2 * world.radius)))


def measure_residuals(tracks: Tracks, world: BouncingBalls, breaks: np.ndarray | None = None) -> list[float]:
    """Return the residual in pixels of each arc of at least MIN_ARC frames; breaks as in `find_arcs`."""
    gravity = world.gravity * world.unit
    return [
        fit_arc(tracks.positions[begin:end, ball], gravity)
        for ball in range(len(tracks.colours))
        for begin, end in find_arcs(tracks, ball, world, breaks)
        if end - begin >= MIN_ARC
    ]


def fit_arc(positions: np.ndarray, gravity: float) -> float:
    """Return the root mean square distance of positions (T, 2) from the best ballistic flight.

    x is linear in time, y falls with `gravity`, in pixels per frame^2.
    """
    t = np.arange(len(positions))
    line = np.stack([np.ones_like(t), t], 1).astype(np.float64)
    # Less the fall, which is known, it is linear in position and velocity.
    straight = positions - 0.5 * gravity * np.stack([0 * t, t**2], 1)
    fit, *_ = np.linalg.lstsq(line, straight, rcond=None)
    return float(np.sqrt(np.square(straight - line @ fit).sum(1).mean()))


def find_arcs(
    tracks: Tracks, ball: int, world: BouncingBalls, breaks: np.ndarray | None = None
) -> list[tuple[int, int]]:
    """Find the spans of frames in which a ball is in view, clear of the bar and of others, and does not bounce.

    Args:
      tracks: Of all balls of the clip.
      ball: Number of the ball.
      world: Whose radius and gravity it has.
      breaks: bool (T - 1, N), where else than at a bounce the free flight of a ball ends between frame t and t + 1.

    Returns:
      (begin, end) of each span.
    """
    radius = world.radius * world.unit
    positions = tracks.positions[:, ball]
    # A ball that is cut by the bar or by another has its centre of what is seen off its own.
    free = tracks.seen[:, ball] & (_measure_gap_to_bar(tracks.bar, positions[:, 0]) > radius + 0.7)
    for other in range(len(tracks.colours)):
        if other != ball:
            free &= ~(np.linalg.norm(tracks.positions[:, other] - positions, axis=-1) < 2 * radius + 1)

    turns = find_bounces(positions, world)
    if breaks is not None:
        turns = turns | breaks[:, ball]

    spans = []
    begin = None
    for t in range(len(positions)):
        if begin is not None and (not free[t] or turns[t - 1]):
            spans.append((begin, t))
            begin = None
        if free[t] and begin is None:
            begin = t
    return spans if begin is None else [*spans, (begin, len(positions))]


def find_bounces(positions: np.ndarray, world: BouncingBalls) -> np.ndarray:
    """Return whether a track (T, 2), nan where unseen, bounces between frame t and t + 1: (T - 1,) bool.

    It does where free flight, going on from the two frames before or back from the two frames after, would be past
    the floor or a side wall, and the ball is inside instead: its velocity changed sign there.
    """
    side = world.unit
    radius = world.radius * side
    x, y = positions.T
    # Distance to each wall, and how free flight bends it.
    walls = (
        (x - radius, 0.0),
        (world.width * side - radius - x, 0.0),
        (world.floor * side - radius - y, -world.gravity * side),
    )

    turned = np.zeros(len(positions) - 1, bool)
    for room, bend in walls:
        # Under constant acceleration x[t+1] = 2 x[t] - x[t-1] + a, and the same backwards.
        onward = 2 * room[1:-1] - room[:-2] + bend  # expected in frames 2 ..
        back = 2 * room[1:-1] - room[2:] + bend  # expected in frames .. T - 3
        past = np.zeros(len(positions) + 1)  # how far, for each pair of frames, between two zeros
        past[2:-1] = np.where(room[2:] > onward + TURN, -onward, 0)
        past[1:-2] = np.maximum(past[1:-2], np.where(room[:-2] > back + TURN, -back, 0))
        # A pair that itself spans the bounce may foretell another beside it, but never one farther past the wall.
        turned |= (past[1:-1] > TURN) & (past[1:-1] >= past[:-2]) & (past[1:-1] > past[2:])
    return turned


def _measure_gap_to_bar(bar: tuple[float, float] | None, x: np.ndarray) -> np.ndarray:
    """Return the distance in pixels from x to the bar, 0 behind it, inf without one."""
    if bar is None:
        return np.full(np.shape(x), np.inf)
    return np.maximum(0, np.maximum(bar[0] - x, x - bar[1]))


def _average_finite(values: np.ndarray) -> float:
    finite = values[~np.isnan(values)]
    return float(finite.mean()) if len(finite) else float('nan')
