"""Where the balls of PhyWorld are in videos, and how wrong their velocities are: see evals/worlds/phyworld.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from vdm_jax.data.worlds.phyworld import FRAME_TIME, WORLD, PhyWorld, Truth
from vdm_jax.evals.judge import Rows

HALF = 127  # of 255
FAINT = 0.05  # of a ball's colour, less than which is taken for noise of the ground where centres are weighted
FIRST = 3  # the released code scores from this frame on
RED, GREEN, BLUE = range(3)
OWN = (RED, BLUE)  # channel of each ball


@dataclass(frozen=True)
class Errors:
    """Errors of clips, (N,) each, in units of length per unit of time; nan where no two frames can be scored.

    Attributes:
      error: Of velocities, by the released parser.
      fine_error: The same of centres weighted by colour.
      bias: |mean velocity - true mean velocity| by those centres: what is left when jitter averages out.
      missing: Share of scored frames without a ball.
      radius_change: Largest less smallest radius over the scored frames, of the area that the parser sees, in units.
    """

    error: np.ndarray
    fine_error: np.ndarray
    bias: np.ndarray
    missing: np.ndarray
    radius_change: np.ndarray

    @property
    def count(self) -> int:
        """Clips that could be scored."""
        return int(np.isfinite(self.error).sum())

    @classmethod
    def join(cls, parts: Sequence[Errors]) -> Errors:
        """Return the errors of the clips of all parts."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def read_positions(videos: np.ndarray, balls: int) -> Rows:
    """Return where balls are in videos, uint8 (n, T, H, W, 3).

    Returns:
      centres: (n, T, balls, 2) of the released parser, (column, row) in pixels; nan where there is none.
      fine_centres: The same, weighted by colour.
      areas: (n, T, balls) in pixels, of the released parser.
    """
    centres = []
    fine_centres = []
    areas = []
    for ball in range(balls):
        own = videos[..., OWN[ball]]
        others = [videos[..., channel] for channel in range(3) if channel != OWN[ball]]
        mask = (own > HALF) & (others[0] < HALF) & (others[1] < HALF)
        centres.append(find_centres(mask.astype(np.float32)))
        areas.append(mask.sum((-2, -1)))

        # On white a ball of full colour takes green away, and shows its own channel.
        share = (np.minimum(own, 255 - videos[..., GREEN]) / np.float32(255)).astype(np.float32)
        weights = np.where(share >= FAINT, share, 0) * (own > others[1 if ball == 0 else 0])
        fine_centres.append(find_centres(weights))
    return {
        'centres': np.stack(centres, -2),
        'fine_centres': np.stack(fine_centres, -2),
        'areas': np.stack(areas, -1),
    }


def find_centres(weights: np.ndarray) -> np.ndarray:
    """Return centres (column, row) of weights (n, T, H, W): (n, T, 2) float64, nan where nothing weighs."""
    _, _, height, width = weights.shape
    by_column = weights.sum(-2).astype(np.float64)
    by_row = weights.sum(-1).astype(np.float64)
    mass = by_column.sum(-1)
    columns = by_column @ np.arange(width)
    rows = by_row @ np.arange(height)
    with np.errstate(invalid='ignore', divide='ignore'):
        centres: np.ndarray = np.stack([columns, rows], -1) / mass[..., None]
    return centres


def to_units(centres: np.ndarray, world: PhyWorld, convention: str) -> np.ndarray:
    """Return centres (T, N, 2) of pixels, columns and rows, as positions x and y in units of the world; y runs up."""
    if convention == 'released':
        places = centres / world.pixels * WORLD
    else:
        # A pixel of a frame is the mean of a block of those that are drawn.
        block = world.drawn // world.pixels
        places = (centres * block + (block - 1) / 2) / (world.drawn - 1) * WORLD
    return np.stack([places[..., 0], WORLD - places[..., 1]], -1)


def fill_missing(positions: np.ndarray, is_missing: np.ndarray) -> np.ndarray:
    """Return positions (T, N, 2) with a ball at the edge that it goes to where it is missing (T, N), as last high."""
    filled = positions.copy()
    balls = positions.shape[1]
    for ball in range(balls):
        edge = 0.0 if balls == 2 and ball == 0 else WORLD
        for frame in np.flatnonzero(is_missing[:, ball] | np.isnan(positions[:, ball, 0])):
            height = filled[frame - 1, ball, 1] if frame else WORLD / 2
            filled[frame, ball] = edge, height
    return filled


def measure_errors(rows: Rows, truths: Sequence[Truth], world: PhyWorld, context: int, convention: str) -> Errors:
    """Return the errors of clips whose positions in pixels are `rows`.

    Args:
      rows: As `read_positions` returns them.
      truths: Of the same clips.
      world: Of which they are.
      context: Frames that are given, of which none is scored.
      convention: 'drawn' or 'released', as `to_units` has it.
    """
    first = max(FIRST, context)
    # Of a ball that falls both directions say how fast it goes; the others keep their height.
    axes = slice(0, 2) if world.world == 'parabola' else slice(0, 1)
    results = []
    for i, truth in enumerate(truths):
        scored = find_scored_frames(truth, first)
        true = truth.positions[scored][..., axes]
        is_missing = np.isnan(rows['centres'][i][..., 0])
        coarse = to_units(rows['centres'][i], world, convention)
        fine = to_units(rows['fine_centres'][i], world, convention)
        coarse, fine = (fill_missing(positions, is_missing)[scored][..., axes] for positions in (coarse, fine))

        radii = np.sqrt(rows['areas'][i][scored] / np.pi) * WORLD / world.pixels
        results.append(
            (
                measure_velocity_error(coarse, true),
                measure_velocity_error(fine, true),
                measure_bias(fine, true),
                is_missing[scored].mean() if len(scored) else np.nan,
                np.ptp(radii, axis=0).max() if len(scored) else np.nan,
            )
        )
    return Errors(*np.array(results).T)


def find_scored_frames(truth: Truth, first: int) -> np.ndarray:
    """Return the numbers of the frames from `first` on in which all of every ball is in the picture."""
    radii = truth.radii[:, None]
    inside = (truth.positions >= radii) & (truth.positions <= WORLD - radii)
    frames = np.flatnonzero(inside.all((1, 2)))
    return frames[frames >= first]


def measure_velocity_error(positions: np.ndarray, true: np.ndarray) -> float:
    """Return the mean error of velocities of positions (F, N, A) of A axes; nan of fewer than two frames."""
    if len(true) < 2:
        return np.nan
    error = (np.diff(positions, axis=0) - np.diff(true, axis=0)) / FRAME_TIME
    return float(np.linalg.norm(error, axis=-1).mean())


def measure_bias(positions: np.ndarray, true: np.ndarray) -> float:
    """Return the error of the mean velocity over all of these frames, mean over balls; nan of fewer than two frames."""
    if len(true) < 2:
        return np.nan
    drift = (positions[-1] - positions[0]) - (true[-1] - true[0])
    return float(np.linalg.norm(drift, axis=-1).mean() / (FRAME_TIME * (len(true) - 1)))
