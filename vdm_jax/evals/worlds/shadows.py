"""Do shadows follow balls and light? Figures of clips for the world of shadowed balls, beside those of physics.py.

Balls are tracked with the grey taken away, shadows are runs of columns in which the ground is too dark, each at its
centre of darkness. One light a clip, at a height of the world's and moving sideways at constant speed, is fitted by
least squares: it should cast the visible shadows from the visible balls. Under it, every ball in view has a shadow to
be expected. Where that would touch the edge of the picture, another shadow, or a ball in front of the ground, its
centre cannot be measured and it is left out.

shadows             how many are expected.
shadow              share of them that are there, within half a radius of where they are expected.
shadow_residual_px  distance from where one is expected to the nearest that there is in its frame, mean.
light_px            how fast the light moves sideways, left or right; pixels per frame, mean over the clips in which at
                    least ENOUGH shadows are there. (Where none moves, shadows may follow balls well and know nothing of
                    the light.)
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from vdm_jax.data.source import Source
from vdm_jax.data.worlds.shadowed_balls import (
    GROUND,
    GROUND_GREY,
    LIGHT_HEIGHTS,
    LIGHT_PLACES,
    Lit,
    ShadowedBalls,
    cast_shadows,
)
from vdm_jax.evals.verdicts import is_near, is_small
from vdm_jax.evals.worlds import physics
from vdm_jax.evals.worlds.ball_physics import BallPhysics
from vdm_jax.evals.worlds.ball_tracking import Tracks, is_grey, remove_grey, track_balls

DARK = 0.2  # of the ground's grey: a column that misses more than this is in shadow
NEAR = 0.5  # radii
ENOUGH = 8  # shadows to know a light by
STARTS = 4  # lights to start from
FITS = 5  # rounds of matching shadows with balls and fitting the light


@dataclasses.dataclass(frozen=True)
class Unlit(ShadowedBalls):
    """A control: nothing casts a shadow."""

    def _cast_shadows(self, positions: np.ndarray, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        centres, widths = super()._cast_shadows(positions, light)
        out_of_the_picture = centres - 9 * self.view[1]
        return out_of_the_picture, widths


@dataclasses.dataclass(frozen=True)
class Mirrored(ShadowedBalls):
    """A control: shadows lie where they would in a mirror."""

    def _cast_shadows(self, positions: np.ndarray, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        centres, widths = super()._cast_shadows(positions, light)
        return self.view[1] - centres, widths


@dataclasses.dataclass(frozen=True)
class ShuffledShadows(ShadowedBalls):
    """A control: shadows are those of other frames, in an order of their own."""

    def _cast_shadows(self, positions: np.ndarray, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng(len(light)).permutation(len(light))
        centres, widths = super()._cast_shadows(positions, light)
        return centres[order], widths[order]


@dataclasses.dataclass(frozen=True)
class Beneath(ShadowedBalls):
    """A control: every shadow lies straight beneath its ball and is as wide."""

    def _cast_shadows(self, positions: np.ndarray, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return positions[..., 0], np.full(positions.shape[:-1], 2 * self.radius)


@dataclasses.dataclass(frozen=True)
class Resting(ShadowedBalls):
    """A control: one light at rest, the same in every clip."""

    def _draw_settings(self, rng: np.random.Generator) -> tuple[Lit, Lit]:
        height, width = self.view
        light = Lit(x=0.5 * width, y=-sum(LIGHT_HEIGHTS) / 2 * height, speed=0.0)
        return light, light


def measure(videos: np.ndarray, world: ShadowedBalls, train: np.ndarray | None = None) -> dict[str, float]:
    """Return physics.measure of clips, uint8 (N, T, H, W, 3), and figures of their shadows; nan where none is."""
    tracks = [track_balls(remove_grey(video), world) for video in videos]
    near = NEAR * world.radius * world.unit
    offsets_by_clip = []
    speeds = []
    for video, tracks_of_clip in zip(videos, tracks, strict=True):
        speed, distances = fit_speed_and_offsets(find_shadows(video, world), tracks_of_clip, world)
        offsets_by_clip.append(distances)
        # A light that few shadows confirm may be any light: its speed would be noise in the mean.
        if (distances <= near).sum() >= ENOUGH:
            speeds.append(speed)

    offsets = np.concatenate(offsets_by_clip)
    finite = offsets[np.isfinite(offsets)]
    return physics.measure(videos, world, train, tracks) | {
        'shadows': len(offsets),
        'shadow': float((offsets <= near).mean()) if len(offsets) else float('nan'),
        'shadow_residual_px': float(finite.mean()) if len(finite) else float('nan'),
        'light_px': float(np.abs(speeds).mean()) if speeds else float('nan'),
    }


def judge(figures: dict[str, float], real: dict[str, float]) -> dict[str, bool]:
    """Judge as physics.judge does, and the shadows beside those of real clips."""
    return physics.judge(figures, real) | {
        'shadow': bool(figures['shadow'] >= 0.8),
        # Tighter than 0.3 px elsewhere: shadows straight beneath their balls, without any light, are off by 0.4 px on
        # average.
        'shadow_residual': is_small(figures['shadow_residual_px'], real['shadow_residual_px'], lenient=0.1),
        'light': is_near(figures['light_px'], real['light_px']),
    }


def find_shadows(video: np.ndarray, world: ShadowedBalls) -> np.ndarray:
    """Find the centres of the shadows of a clip, uint8 (T, H, W, 3): x in pixels (T, S), inf behind a frame's last."""
    ground = video[:, int(np.ceil((world.view[0] - GROUND) * world.unit)) :].astype(np.float32)
    # The least of the three values is grey alone: balls have none of one of them.
    grey = ground.min(-1)
    bare = is_grey(ground)
    missing = np.clip(1 - grey / GROUND_GREY, 0, 1) * bare
    darkness = missing.sum(1) / np.maximum(bare.sum(1), 1)  # of each column (T, W)

    centres = [_find_runs(row) for row in darkness]
    most = max(1, *map(len, centres))
    return np.array([row + [np.inf] * (most - len(row)) for row in centres])


def _find_runs(darkness: np.ndarray) -> list[float]:
    """Return the centres of the runs of dark columns (W,): their fading edges are theirs as far as they fall."""
    dark = np.concatenate([[False], darkness > DARK, [False]])
    centres: list[float] = []
    for begin, end in np.flatnonzero(dark[1:] != dark[:-1]).reshape(-1, 2):
        while begin > 0 and 0 < darkness[begin - 1] < darkness[begin]:
            begin -= 1
        while end < len(darkness) and 0 < darkness[end] < darkness[end - 1]:
            end += 1
        centres.append(np.average(np.arange(begin, end) + 0.5, weights=darkness[begin:end]))
    return centres


def fit_speed_and_offsets(shadows: np.ndarray, tracks: Tracks, world: ShadowedBalls) -> tuple[float, np.ndarray]:
    """Fit the light of a clip, and measure how far its shadows are from where that light casts them.

    Returns:
      The speed of the light, and the distance in pixels from each expected shadow to the nearest in its frame, inf
      where there is none.
    """
    if not tracks.seen.any():
        return np.nan, np.empty(0)
    light = fit_light(shadows, tracks, world)
    centres, widths = _cast_shadows(light, tracks.positions, world)
    expected = find_clear_shadows(centres, widths, tracks, world)
    return light[2], _measure_distances(shadows, centres)[expected]


def fit_light(shadows: np.ndarray, tracks: Tracks, world: ShadowedBalls) -> np.ndarray:
    """Fit the light that best casts these shadows from these balls: (3,) x at frame 0, y, speed; pixels, frames.

    With w = 1 / (height of the light above the floor) and u = w * (its x) a ball at (x, h above the floor) casts
    its shadow at s, where s - x = h (w s - u): linear in w and in the two numbers of u. Which shadow is whose is
    decided by the light of the round before; the first ones are the best STARTS of a grid.

    Args:
      shadows: As `find_shadows` returns them.
      tracks: Of the balls.
      world: Whose lights they may be.
    """
    side = world.unit
    span = world.frames - 1
    high, wide = world.view
    grid = [
        np.array([side * (x * wide - speed * span / 2), -side * height * high, side * speed])
        for x in np.linspace(*LIGHT_PLACES, 5)
        for height in np.linspace(*LIGHT_HEIGHTS, 3)
        for speed in np.linspace(-world.light, world.light, 5)
    ]
    reach = 2 * world.radius * side

    def measure_misfit(light: np.ndarray) -> float:
        # Over all balls: which shadows are clear depends on the light, and no light may choose what it is judged by.
        centres, _ = _cast_shadows(light, tracks.positions, world)
        offsets = _measure_distances(shadows, centres)
        # Bounded, so that a shadow that is missing altogether does not outweigh all that fit.
        return float(np.minimum(offsets[tracks.seen], reach).mean())

    lights = sorted(grid, key=measure_misfit)[:STARTS]
    for _ in range(FITS):
        # From several starts, as matching each ball with its nearest shadow finds local optima only.
        lights = [_refit_light(light, shadows, tracks, world, reach) for light in lights]
    return min(lights, key=measure_misfit)


def _refit_light(
    light: np.ndarray, shadows: np.ndarray, tracks: Tracks, world: ShadowedBalls, reach: float
) -> np.ndarray:
    """Run one round: every ball takes the nearest shadow within reach, and the light is fitted to them."""
    side = world.unit
    floor = world.floor * side
    centres, widths = _cast_shadows(light, tracks.positions, world)
    usable = find_clear_shadows(centres, widths, tracks, world) & (_measure_distances(shadows, centres) <= reach)
    # Three unknowns: with as many shadows any light would fit.
    if usable.sum() < 4:
        return light

    nearest = np.abs(shadows[:, :, None] - centres[:, None]).argmin(1)
    s = np.take_along_axis(shadows, nearest, axis=1)[usable]
    x, y = tracks.positions[usable].T
    h = floor - y
    t = np.nonzero(usable)[0].astype(np.float64)

    # First w, kept to the heights that there are, then u with it.
    # The weight turns the equation's error into that of s, as the last light has it.
    weight = 1 / (1 - h / (floor - light[1]))
    columns = np.stack([h * s, -h, -h * t], 1) * weight[:, None]
    w, *_ = np.linalg.lstsq(columns, (s - x) * weight, rcond=None)[0]
    lowest, highest = (height * world.view[0] * side for height in LIGHT_HEIGHTS)
    w = np.clip(w, 1 / (floor + highest), 1 / (floor + lowest))
    u = np.linalg.lstsq(columns[:, 1:], (s - x) * weight - columns[:, 0] * w, rcond=None)[0]
    return np.array([u[0] / w, floor - 1 / w, u[1] / w])


def _cast_shadows(light: np.ndarray, positions: np.ndarray, world: ShadowedBalls) -> tuple[np.ndarray, np.ndarray]:
    """Return centres and widths (T, N) in pixels of the shadows of balls at (T, N, 2) in pixels."""
    x, y, speed = light
    path = np.stack([x + speed * np.arange(len(positions)), np.full(len(positions), y)], -1)
    return cast_shadows(positions, path, world.radius * world.unit, world.floor * world.unit)


def find_clear_shadows(centres: np.ndarray, widths: np.ndarray, tracks: Tracks, world: ShadowedBalls) -> np.ndarray:
    """Return which shadows lie in the picture from edge to edge, apart from others, with no ball before them.

    Args:
      centres: (T, N) in pixels.
      widths: The same.
      tracks: Of the balls that cast them.
      world: Whose picture it is.

    Returns:
      bool (T, N).
    """
    side = world.unit
    radius = world.radius * side
    half = widths / 2
    clear = tracks.seen & (centres - half > 0) & (centres + half < world.shape[2])
    low = tracks.positions[..., 1] + radius > (world.view[0] - GROUND) * side - 1

    for other in range(len(tracks.colours)):
        covered = low[:, other, None] & (np.abs(tracks.positions[:, other, None, 0] - centres) < half + radius + 1)
        # A shadow that ought to be out of the picture may still show its edge.
        overlapped = np.abs(centres[:, other, None] - centres) < half + half[:, other, None] + 2
        overlapped[:, other] = False
        clear &= ~covered & ~overlapped
    # A ball that is out of sight may cast its shadow over any other's.
    return clear & tracks.seen.all(1, keepdims=True)


def _measure_distances(shadows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the distance (T, N) from centres (T, N) to the nearest shadow of the same frame, inf where none is."""
    distances: np.ndarray = np.abs(shadows[:, :, None] - centres[:, None]).min(1)
    return distances


@dataclasses.dataclass(frozen=True)
class ShadowPhysics(BallPhysics[ShadowedBalls]):
    """BallPhysics, and where the shadows are."""

    usual_sources: ClassVar = (ShadowedBalls,)
    suffix: ClassVar[str] = '_shadow'
    wrong_worlds: ClassVar[dict[str, Callable[..., Source]]] = {
        'unlit': Unlit,
        'mirrored': Mirrored,
        'shadows_shuffled': ShuffledShadows,
        'beneath': Beneath,
        'resting': Resting,
    }
    further_figures: ClassVar = ('shadows', 'shadow', 'shadow_residual_px', 'light_px')

    def measure(self, videos: np.ndarray, world: ShadowedBalls, train: np.ndarray | None = None) -> dict[str, float]:
        """Return the figures of this module."""
        return measure(videos, world, train)

    def judge(self, figures: dict[str, float], real: dict[str, float]) -> dict[str, bool]:
        """Return the verdicts of this module on figures of samples, beside those of real clips."""
        return judge(figures, real)
