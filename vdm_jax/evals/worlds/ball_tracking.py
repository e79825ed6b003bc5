"""Track the balls of a clip by their colours: what the physics figures are measured on.

Made for samples of a small network as well as for real clips: colours may be pale, edges soft, the ground a little
noisy. A pixel belongs to the palette colour (or the bar's grey) whose direction in RGB is nearest, and counts with
its length along that direction, so the soft edge of a ball on black still adds up to the right area and centre.
"""

import dataclasses

import numpy as np

from vdm_jax.data.worlds.bouncing_balls import GREY, PALETTE, BouncingBalls

FAINT = 0.2  # of full colour: darker pixels are ground, until a ball is known to be around them
DARK = 0.04  # of full colour: darker pixels are ground even there
PRESENT = 0.5  # discs: a colour that reaches this area in some frame is a ball of the clip
COLOURED = 12  # of 255: pixels with more colour than this are no grey ground
SEEN = 0.25  # discs: a ball of the clip with this area in a frame is seen in it


@dataclasses.dataclass(frozen=True)
class Tracks:
    """The balls of one clip of T frames, of N colours. Pixels are the unit, pixel j's centre is j + 0.5.

    Attributes:
      colours: (N,) indices into PALETTE.
      positions: (T, N, 2) centres (x, y) of what is seen of each ball, nan where it is not seen.
      areas: (T, N) in discs of the world's radius.
      strays: (T, N) how much of that area lies away from the ball.
      bar: left and right of the bar, None where there is none.
    """

    colours: np.ndarray
    positions: np.ndarray
    areas: np.ndarray
    strays: np.ndarray
    bar: tuple[float, float] | None

    @property
    def seen(self) -> np.ndarray:
        """Whether each ball is seen in each frame, (T, N) bool."""
        seen: np.ndarray = ~np.isnan(self.positions[..., 0])
        return seen


def track_balls(video: np.ndarray, world: BouncingBalls) -> Tracks:
    """Track the balls of one clip, uint8 (T, H, W, 3)."""
    video = video.astype(np.float32) / 255
    radius = world.radius * min(video.shape[1:3])
    disc = np.pi * radius**2

    # First look: which colours are there. Pixels where two balls mix may look like a third, but never fill a disc.
    solid, _ = _weigh_colours(video, np.arange(world.colours))
    areas = solid.sum((1, 2)) / disc
    colours = np.flatnonzero((areas >= PRESENT).any(0))

    # Second look, with those alone.
    solid, soft = _weigh_colours(video, colours)
    areas = solid.sum((1, 2)) / disc
    positions = _find_centres(solid)
    near = _is_near(solid, positions, 1.5 * radius + 1)
    strays = (solid * ~near).sum((1, 2)) / disc

    # The soft edges of a ball lie around its centre, which they move a little.
    for _ in range(2):
        positions = _find_centres(soft * _is_near(soft, positions, radius + 1.5))
    # A sliver of a ball has its centre far from the ball's: it counts as not seen.
    positions[areas < SEEN] = np.nan
    return Tracks(colours, positions, areas, strays, find_bar(video, radius))


def remove_grey(video: np.ndarray) -> np.ndarray:
    """Return clips uint8 (..., 3) on black instead of grey ground of any pattern: `track_balls` sees the balls alone.

    What is taken away is the least of the three values of each pixel. Grey has nothing else, and every ball is least in
    the same one over its whole disc, so a mix of ball and ground becomes the same mix of ball and black.
    """
    colour: np.ndarray = video - video.min(-1, keepdims=True)
    return colour


def is_grey(video: np.ndarray) -> np.ndarray:
    """Return which pixels of uint8 or float (..., 3), 0 to 255, are of the ground, not of a ball: (...) bool."""
    grey: np.ndarray = np.ptp(video, axis=-1) <= COLOURED
    return grey


def find_bar(video: np.ndarray, radius: float) -> tuple[float, float] | None:
    """Find the widest upright bar that stays grey through the clip: (left, right) in pixels, None where there is none.

    Args:
      video: float (T, H, W, 3), 0 to 1.
      radius: Of a ball in pixels; a bar is no narrower.
    """
    # The median over time, since balls pass and a bar stays.
    still = np.median(video, axis=0)
    grey = (np.ptp(still, axis=-1) < 0.2) & (np.abs(still.mean(-1) - GREY / 255) < 0.2)
    # Framed by False, so that every run of columns has two edges.
    column = np.concatenate([[False], grey.mean(0) >= 0.7, [False]])
    edges = np.flatnonzero(column[1:] != column[:-1]).reshape(-1, 2)
    if not len(edges):
        return None

    left, right = max(edges, key=lambda edge: edge[1] - edge[0])
    return (float(left), float(right)) if right - left >= radius else None


def _weigh_colours(video: np.ndarray, colours: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of full colour at each pixel, (T, H, W, N): without faint pixels, and with those of no colour.

    The latter, which no colour claims, are there for every colour.
    """
    full = PALETTE[colours].astype(np.float32) / 255
    length = np.linalg.norm(full, axis=1)
    grey = np.full((1, 3), 3**-0.5, np.float32)
    # Grey competes with the colours, so that pixels of bar and ground are no ball's.
    along = video @ np.concatenate([full / length[:, None], grey]).T

    nearest = along.argmax(-1)[..., None] == np.arange(len(colours))
    share = np.clip(along[..., :-1] / length, 0, 1)
    dim = video.max(-1, keepdims=True) < FAINT
    return share * (nearest & (share >= FAINT)), share * ((nearest | dim) & (share >= DARK))


def _find_centres(weights: np.ndarray) -> np.ndarray:
    """Return weighted centres (x, y) of (T, H, W, N): (T, N, 2), nan where nothing weighs."""
    _, rows, columns, _ = weights.shape
    mass = weights.sum((1, 2))
    x = np.einsum('thwn,w->tn', weights, np.arange(columns) + 0.5)
    y = np.einsum('thwn,h->tn', weights, np.arange(rows) + 0.5)
    with np.errstate(invalid='ignore', divide='ignore'):
        centres: np.ndarray = np.stack([x, y], -1) / mass[..., None]
    return centres


def _is_near(weights: np.ndarray, positions: np.ndarray, reach: float) -> np.ndarray:
    """Return which pixels of (T, H, W, N) lie within `reach` of positions (T, N, 2)."""
    _, rows, columns, _ = weights.shape
    dx2 = (np.arange(columns)[:, None] + 0.5 - positions[:, None, None, :, 0]) ** 2
    dy2 = (np.arange(rows)[:, None, None] + 0.5 - positions[:, None, None, :, 1]) ** 2
    near: np.ndarray = dx2 + dy2 < reach**2
    return near
