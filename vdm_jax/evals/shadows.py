"""Do shadows follow balls and light? Figures of clips for the world of shadowed balls, beside those of physics.py.

Balls are found with the grey taken away, shadows as runs of columns in which the ground is too dark, each at its centre
of darkness. One light a clip, at a height of the world's and moving sideways at constant speed, is fitted by least
squares: it should cast the shadows that were found from the balls that were found. Under it, every ball in view has a
shadow to be expected. Where that would touch the edge of the picture, another shadow, or a ball in front of the ground,
its centre cannot be told and it is left out.

shadows: how many are expected.
shadow: share of them that are there, within half a radius of where they are expected.
shadow_residual_px: distance from where one is expected to the nearest that there is in its frame, mean.
light_px: how fast the light moves sideways, left or right; pixels per frame, mean over the clips in which at least TOLD
shadows are there. (Where none moves, shadows may follow balls well and know nothing of the light.)
"""

import dataclasses

import numpy as np

from vdm_jax.data.shadowed_balls import GROUND, GROUND_GREY, LIGHT_HEIGHTS, LIGHT_PLACES, Lit, ShadowedBalls, cast
from vdm_jax.evals import physics
from vdm_jax.evals.balls import Tracks, find, is_grey, without_grey
from vdm_jax.evals.protocols import BallPhysics

DARK = 0.2  # of the ground's grey: a column that misses more than this is in shadow
NEAR = 0.5  # radii
TOLD = 8  # shadows that tell a light
STARTS, FITS = 4, 5  # lights to start from; rounds of matching shadows with balls and fitting the light


@dataclasses.dataclass(frozen=True)
class Unlit(ShadowedBalls):
    """A control: nothing casts a shadow."""

    def _shadows(self, positions, light):
        centres, widths = super()._shadows(positions, light)
        return centres - 9 * self.view[1], widths


@dataclasses.dataclass(frozen=True)
class Mirrored(ShadowedBalls):
    """A control: shadows lie where they would in a mirror."""

    def _shadows(self, positions, light):
        centres, widths = super()._shadows(positions, light)
        return self.view[1] - centres, widths


@dataclasses.dataclass(frozen=True)
class Late(ShadowedBalls):
    """A control: shadows are those of other frames, in an order of their own."""

    def _shadows(self, positions, light):
        order = np.random.default_rng(len(light)).permutation(len(light))
        centres, widths = super()._shadows(positions, light)
        return centres[order], widths[order]


@dataclasses.dataclass(frozen=True)
class Beneath(ShadowedBalls):
    """A control: every shadow lies straight beneath its ball and is as wide."""

    def _shadows(self, positions, light):
        return positions[..., 0], np.full(positions.shape[:-1], 2 * self.radius)


@dataclasses.dataclass(frozen=True)
class Resting(ShadowedBalls):
    """A control: one light at rest, the same in every clip."""

    def _settings(self, rng):
        height, width = self.view
        light = Lit(x=0.5 * width, y=-sum(LIGHT_HEIGHTS) / 2 * height, speed=0.0)
        return light, light


def figures(videos: np.ndarray, world: ShadowedBalls, train: np.ndarray | None = None) -> dict[str, float]:
    """physics.figures of clips, uint8 (N, T, H, W, 3), and those of their shadows; nan where there was none."""
    tracks = [find(without_grey(video), world) for video in videos]
    each = zip(videos, tracks, strict=True)
    lights = [_light_and_offsets(find_shadows(video, world), found, world) for video, found in each]
    near = NEAR * world.radius * world.unit
    told = np.abs([speed for speed, found in lights if (found <= near).sum() >= TOLD])
    offsets = np.concatenate([found for _, found in lights])
    there = offsets[np.isfinite(offsets)]
    return physics.figures(videos, world, train, tracks) | {
        'shadows': len(offsets),
        'shadow': float((offsets <= near).mean()) if len(offsets) else float('nan'),
        'shadow_residual_px': float(there.mean()) if len(there) else float('nan'),
        'light_px': float(told.mean()) if len(told) else float('nan'),
    }


def judge(found: dict[str, float], real: dict[str, float]) -> dict[str, bool]:
    """physics.judge, and a verdict on the shadows beside those of real clips."""
    return physics.judge(found, real) | {
        'shadow': bool(found['shadow'] >= 0.8),
        'shadow_residual': bool(found['shadow_residual_px'] <= max(3 * real['shadow_residual_px'], 0.1)),
        'light': bool(abs(found['light_px'] - real['light_px']) <= 0.3 * real['light_px']),
    }


def find_shadows(video: np.ndarray, world: ShadowedBalls) -> np.ndarray:
    """x of the centres of the shadows of a clip, uint8 (T, H, W, 3): pixels (T, S), inf behind the last of a frame."""
    ground = video[:, int(np.ceil((world.view[0] - GROUND) * world.unit)) :].astype(np.float32)
    grey, bare = ground.min(-1), is_grey(ground)
    missing = np.clip(1 - grey / GROUND_GREY, 0, 1) * bare
    darkness = missing.sum(1) / np.maximum(bare.sum(1), 1)  # of each column (T, W)
    found = [_runs(row) for row in darkness]
    most = max(1, *map(len, found))
    return np.array([row + [np.inf] * (most - len(row)) for row in found])


def _runs(darkness):
    """Centres of the runs of dark columns (W,): their fading edges belong to them as far as they fall."""
    dark = np.concatenate([[False], darkness > DARK, [False]])
    centres = []
    for begin, end in np.flatnonzero(dark[1:] != dark[:-1]).reshape(-1, 2):
        while begin > 0 and 0 < darkness[begin - 1] < darkness[begin]:
            begin -= 1
        while end < len(darkness) and 0 < darkness[end] < darkness[end - 1]:
            end += 1
        centres.append(np.average(np.arange(begin, end) + 0.5, weights=darkness[begin:end]))
    return centres


def shadow_offsets(shadows: np.ndarray, tracks: Tracks, world: ShadowedBalls) -> np.ndarray:
    """Distance in pixels from each expected shadow of a clip to the nearest found in its frame, inf where none is."""
    return _light_and_offsets(shadows, tracks, world)[1]


def _light_and_offsets(shadows, tracks, world):
    """Speed of the fitted light, and shadow_offsets."""
    if not tracks.seen.any():
        return np.nan, np.empty(0)
    light = fit_light(shadows, tracks, world)
    centres, widths = _cast(light, tracks.positions, world)
    return light[2], _nearest(shadows, centres)[_clear(centres, widths, tracks, world)]


def fit_light(shadows: np.ndarray, tracks: Tracks, world: ShadowedBalls) -> np.ndarray:
    """The light that best casts the found shadows from the found balls: (3,) x at frame 0, y, speed; pixels, frames.

    With w = 1 / (height of the light above the floor) and u = w * (its place) a ball at (x, h above the floor) casts
    its shadow at s, where s - x = h (w s - u): linear in w and in the two numbers of u. Which shadow is whose is
    decided by the light of the round before; the first ones are the best STARTS of a grid.
    """
    side, span, (high, wide) = world.unit, world.frames - 1, world.view
    grid = [
        (side * (place * wide - speed * span / 2), -side * height * high, side * speed)
        for place in np.linspace(*LIGHT_PLACES, 5)
        for height in np.linspace(*LIGHT_HEIGHTS, 3)
        for speed in np.linspace(-world.light, world.light, 5)
    ]
    reach = 2 * world.radius * side

    def misfit(light):
        # Over all balls: which shadows are clear depends on the light, and no light may choose what it is judged by.
        offsets = _nearest(shadows, _cast(light, tracks.positions, world)[0])
        return np.minimum(offsets[tracks.seen], reach).mean()

    lights = [np.array(light) for light in sorted(grid, key=misfit)[:STARTS]]
    for _ in range(FITS):
        lights = [_refit(light, shadows, tracks, world, reach) for light in lights]
    return min(lights, key=misfit)


def _refit(light, shadows, tracks, world, reach):
    """One round: every ball takes the nearest shadow within reach, and the light is fitted to them."""
    side, floor = world.unit, world.floor * world.unit
    centres, widths = _cast(light, tracks.positions, world)
    usable = _clear(centres, widths, tracks, world) & (_nearest(shadows, centres) <= reach)
    if usable.sum() < 4:
        return light
    nearest = np.abs(shadows[:, :, None] - centres[:, None]).argmin(1)
    found = np.take_along_axis(shadows, nearest, axis=1)[usable]
    x, y = tracks.positions[usable].T
    h, t = floor - y, np.nonzero(usable)[0].astype(np.float64)
    weight = 1 / (1 - h / (floor - light[1]))  # from the equation's error to that of s, as the last light has it
    columns = np.stack([h * found, -h, -h * t], 1) * weight[:, None]
    w, *_ = np.linalg.lstsq(columns, (found - x) * weight, rcond=None)[0]
    lowest, highest = (height * world.view[0] * side for height in LIGHT_HEIGHTS)
    w = np.clip(w, 1 / (floor + highest), 1 / (floor + lowest))
    u = np.linalg.lstsq(columns[:, 1:], (found - x) * weight - columns[:, 0] * w, rcond=None)[0]
    return np.array([u[0] / w, floor - 1 / w, u[1] / w])


def _cast(light, positions, world):
    """Centres and widths (T, N) in pixels of the shadows of balls at (T, N, 2) in pixels."""
    x, y, speed = light
    path = np.stack([x + speed * np.arange(len(positions)), np.full(len(positions), y)], -1)
    return cast(positions, path, world.radius * world.unit, world.floor * world.unit)


def _clear(centres, widths, tracks, world):
    """Which shadows (T, N) lie whole in the picture, apart from others, and with no ball before them."""
    side, radius = world.unit, world.radius * world.unit
    half = widths / 2
    clear = tracks.seen & (centres - half > 0) & (centres + half < world.shape[2])
    low = tracks.positions[..., 1] + radius > (world.view[0] - GROUND) * side - 1
    for other in range(len(tracks.colours)):
        covered = low[:, other, None] & (np.abs(tracks.positions[:, other, None, 0] - centres) < half + radius + 1)
        # A shadow that ought to be out of the picture may still show its edge.
        overlapped = np.abs(centres[:, other, None] - centres) < half + half[:, other, None] + 2
        overlapped[:, other] = False
        clear &= ~covered & ~overlapped
    return clear & tracks.seen.all(1, keepdims=True)


def _nearest(shadows, centres):
    """Distance (T, N) from centres (T, N) to the nearest shadow of the same frame, inf where none is."""
    return np.abs(shadows[:, :, None] - centres[:, None]).min(1)


@dataclasses.dataclass(frozen=True)
class ShadowPhysics(BallPhysics):
    """BallPhysics, and where the shadows are."""

    sources = (ShadowedBalls,)
    world = '_shadow'
    figures = staticmethod(figures)
    judge = staticmethod(judge)
    wrong = {'unlit': Unlit, 'mirrored': Mirrored, 'shadows_shuffled': Late, 'beneath': Beneath, 'resting': Resting}
