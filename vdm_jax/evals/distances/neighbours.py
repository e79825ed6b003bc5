"""Precision and recall, density and coverage: how far two sets of features lie within each other.

A ball about each clip reaches to its k-th nearest neighbour in its own set, itself not counted.

precision  share of fake clips in a ball of a real one       (Kynkäänniemi et al. 2019, arXiv:1904.06991, k = 3)
recall     share of real clips in a ball of a fake one
density    balls of real clips that a fake one is in, over k  (Naeem et al. 2020, arXiv:2002.09797, k = 5)
coverage   share of real clips with a fake one in their ball

Precision and recall count the surface of a ball, density and coverage do not, as in the code of each paper: so equal
sets have 1 in all four. The centre is always in, so that copies of a clip, whose ball may be a point, leave precision,
recall and coverage at 1; of copies density may be more.
"""

from collections.abc import Iterator

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.evals.distances.checks import as_pair, check_count
from vdm_jax.evals.distances.moments import mean_of_rows

BLOCK = 2**23  # distances that are in memory at once: 64 MiB
GATHER = 2**22  # numbers of rows that are subtracted at once


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3, block: int = BLOCK) -> tuple[float, float]:
    """Compute improved precision and recall.

    Args:
      real: (N, D) of any real type, N above k.
      fake: (M, D), M above k.
      k: Which neighbour a ball reaches to, 1 or more.
      block: Distances that are in memory at once.

    Raises:
      UserError: There are too few clips, rows are not finite, or widths differ.
    """
    real, fake = _check(real, fake, k)
    real_radii = compute_radii(real, k, block)
    fake_radii = compute_radii(fake, k, block)

    is_precise = np.zeros(len(fake), bool)
    is_recalled = np.zeros(len(real), bool)
    for rows, squares in _iterate_squares(fake, real, (fake_radii, real_radii), block):
        is_precise[rows] = (squares <= real_radii).any(1)
        is_recalled |= (squares <= fake_radii[rows, np.newaxis]).any(0)
    return float(is_precise.mean()), float(is_recalled.mean())


def density_coverage(real: np.ndarray, fake: np.ndarray, k: int = 5, block: int = BLOCK) -> tuple[float, float]:
    """Compute density, which may be above 1, and coverage.

    Args:
      real: (N, D) of any real type, N above k.
      fake: (M, D), M above k.
      k: Which neighbour a ball reaches to, 1 or more.
      block: Distances that are in memory at once.

    Raises:
      UserError: There are too few clips, rows are not finite, or widths differ.
    """
    real, fake = _check(real, fake, k)
    radii = compute_radii(real, k, block)

    balls = 0
    is_covered = np.zeros(len(real), bool)
    for _, squares in _iterate_squares(fake, real, (None, radii), block):
        is_inside = (squares < radii) | (squares == 0)
        balls += int(is_inside.sum())
        is_covered |= is_inside.any(0)
    return balls / (k * len(fake)), float(is_covered.mean())


def compute_radii(features: np.ndarray, k: int, block: int = BLOCK) -> np.ndarray:
    """Compute the squared distance (N,) of each row of float64 (N, D) to its k-th nearest other row."""
    centred = features - mean_of_rows(features)
    radii = np.empty(len(features))
    chunk = max(1, block // len(features))
    for begin in range(0, len(features), chunk):
        rows = slice(begin, begin + chunk)
        squares, errors = _estimate_squares(centred[rows], centred)
        # Itself is the nearest of all, as number 0. What may be nearer than the k-th is measured.
        kth = np.partition(squares, k, axis=1)[:, k]
        is_candidate = squares <= (kth + 2 * errors)[:, np.newaxis]
        exact = np.full_like(squares, np.inf)
        _measure(exact, is_candidate, features[rows], features)
        radii[rows] = np.partition(exact, k, axis=1)[:, k]
    return radii


def _check(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    real, fake = as_pair(real, fake)
    if k < 1:
        raise UserError(f'k={k}: want 1 or more')
    check_count(len(real), k + 1, f'a neighbour number {k}', 'real features')
    check_count(len(fake), k + 1, f'a neighbour number {k}', 'fake features')
    return real, fake


def _iterate_squares(
    rows: np.ndarray, columns: np.ndarray, radii: tuple[np.ndarray | None, np.ndarray], block: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield squared distances of some rows to all columns, exact wherever rounding might cross a radius or 0.

    Args:
      rows: (M, D).
      columns: (N, D).
      radii: Of the rows and of the columns, squared; None where they have none.
      block: Distances at once.
    """
    # Between the two sets: the bound of errors goes with the distance from it.
    centre = (mean_of_rows(rows) + mean_of_rows(columns)) / 2
    centred = columns - centre
    chunk = max(1, block // len(columns))
    for begin in range(0, len(rows), chunk):
        part = slice(begin, begin + chunk)
        squares, errors = _estimate_squares(rows[part] - centre, centred)
        margin = errors[:, np.newaxis]
        is_doubtful = (squares <= margin) | (np.abs(squares - radii[1]) <= margin)
        if radii[0] is not None:
            is_doubtful |= np.abs(squares - radii[0][part, np.newaxis]) <= margin
        _measure(squares, is_doubtful, rows[part], columns)
        yield part, squares


def _estimate_squares(rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return squared distances (M, N) by a product of matrices, and a bound (M,) of their rounding errors."""
    row_squares = np.square(rows).sum(1)
    column_squares = np.square(columns).sum(1)
    squares = row_squares[:, np.newaxis] + column_squares - 2 * (rows @ columns.T)
    # Higham 2002, section 3.1: a product of D numbers is off by D eps |x| |y| at most, whatever the order of its sum,
    # and a difference by eps of itself.
    largest = np.square(np.sqrt(row_squares) + np.sqrt(column_squares.max(initial=0)))
    errors = (rows.shape[1] + 8) * np.finfo(np.float64).eps * largest
    return squares, errors


def _measure(squares: np.ndarray, mask: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
    """Replace squared distances where the mask is true by sums of squared differences, which cancel nowhere."""
    # Of copies all pairs may be in doubt: their differences would not fit into memory.
    i, j = np.nonzero(mask)
    step = max(1, GATHER // rows.shape[1])
    for begin in range(0, len(i), step):
        part = slice(begin, begin + step)
        squares[i[part], j[part]] = np.square(rows[i[part]] - columns[j[part]]).sum(1)
