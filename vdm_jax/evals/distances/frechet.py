"""Fréchet distance of features: |mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2), of Gaussians with these moments.

Dowson & Landau 1982; Heusel et al. 2017 (arXiv:1706.08500, FID); Unterthiner et al. 2018 (arXiv:1812.01717, FVD).

tr (S1 S2)^1/2 is the nuclear norm of R1 R2' for any roots S = R' R: the eigenvalues of S1 S2 are those of
(R1 R2')(R1 R2')'. It is computed so, without a matrix square root: sets of fewer clips than features, whose covariance
is singular, are as exact as others, and nothing is added to a diagonal. What is in use differs in

divisor  N - 1 (tfgan's original, pytorch-fid, FastVideo) or N (StyleGAN-V): of 16 clips 6 per cent of the covariances,
         of 2,048 0.05.
root     tfgan's takes no root of eigenvalues below 1e-10, neither of S1 nor of S1^1/2 S2 S1^1/2, and leaves them as
         they are. Where variances multiply to less it is another number, higher: by 2e-4 for 400 features whose
         variances fall from 1 to 2e-6, by a factor for features of size 1e-4. For zeros it is the same.
sqrtm    scipy's (StyleGAN-V, pytorch-fid) is the same to rounding for regular covariances, to 1e-7 for singular ones.
1e-6 I   on both diagonals (FastVideo always, pytorch-fid where sqrtm is not finite) is not offered: what it adds hangs
         on the scale of features.
"""

from typing import Literal

import numpy as np

from vdm_jax.evals.distances.checks import as_pair, check_count
from vdm_jax.evals.distances.moments import Divisor, Moments, centre_rows, check_moments, divide_by

Root = Literal['exact', 'tfgan']
LEAST_OF_TFGAN = 1e-10  # eigenvalues below have no root taken


def frechet_distance(real: np.ndarray, fake: np.ndarray, divisor: Divisor = 'n-1', root: Root = 'exact') -> float:
    """Compute the Fréchet distance of two sets of features.

    Args:
      real: (N, D) of any real type, N of 2 or more.
      fake: (M, D), M of 2 or more.
      divisor: What the covariances are divided by.
      root: tfgan's own square root, for the published number to its last digits, or the exact one.

    Returns:
      The distance, 0 or more.

    Raises:
      UserError: There are too few clips, rows are not finite, or widths differ.
    """
    real, fake = as_pair(real, fake)
    check_count(len(real), 2, 'a covariance', 'real features')
    check_count(len(fake), 2, 'a covariance', 'fake features')
    real_mean, real_centred = centre_rows(real)
    fake_mean, fake_centred = centre_rows(fake)
    # Roots of the rows themselves: a covariance is a square, and has half of their digits.
    real_root = root_of_rows(real_centred) / np.sqrt(divide_by(len(real), divisor))
    fake_root = root_of_rows(fake_centred) / np.sqrt(divide_by(len(fake), divisor))
    return combine(real_mean - fake_mean, real_root, fake_root, root)


def frechet_of_moments(real: Moments, fake: Moments, divisor: Divisor = 'n-1', root: Root = 'exact') -> float:
    """Compute the Fréchet distance of two sets of which the moments are known.

    Raises:
      UserError: There are too few clips, or widths differ.
    """
    check_moments(real, fake)
    real_root = root_of_moments(real) / np.sqrt(divide_by(real.count, divisor))
    fake_root = root_of_moments(fake) / np.sqrt(divide_by(fake.count, divisor))
    return combine(real.mean - fake.mean, real_root, fake_root, root)


def combine(difference: np.ndarray, real_root: np.ndarray, fake_root: np.ndarray, root: Root = 'exact') -> float:
    """Compute the Fréchet distance from the difference of means (D,) and roots of the covariances, S = R' R.

    Args:
      difference: (D,).
      real_root: (K, D) for any K.
      fake_root: (L, D) for any L.
      root: Of their product.
    """
    traces = np.square(real_root).sum() + np.square(fake_root).sum()
    if root == 'tfgan':
        _, values, vectors = np.linalg.svd(real_root, full_matrices=False)
        real_root = _leave_small(values)[:, np.newaxis] * vectors
    singular_values = np.linalg.svd(real_root @ fake_root.T, compute_uv=False)
    cross = (_leave_small(singular_values) if root == 'tfgan' else singular_values).sum()
    distance = difference @ difference + traces - 2 * cross
    # It is a squared metric: what is below 0 is the rounding of equal sets.
    return max(float(distance), 0.0)


def _leave_small(roots: np.ndarray) -> np.ndarray:
    """Return square roots with those of eigenvalues below LEAST_OF_TFGAN replaced by the eigenvalues."""
    values = np.square(roots)
    return np.where(values < LEAST_OF_TFGAN, values, roots)


def root_of_rows(centred: np.ndarray) -> np.ndarray:
    """Return R of centred rows X (N, D) with R' R = X' X, (min(N, D), D)."""
    if len(centred) <= centred.shape[1]:
        return centred
    return np.asarray(np.linalg.qr(centred, mode='r'))


def root_of_moments(moments: Moments) -> np.ndarray:
    """Return R with R' R = the scatter, (rank, D).

    Eigenvalues of rounding would each add their root to a nuclear norm, 1e-8 of the largest. The rank of a scatter is
    less than the number of clips, and nothing below D eps of the largest eigenvalue is known.
    """
    values, vectors = np.linalg.eigh(moments.scatter)
    least = values.max(initial=0) * moments.width * np.finfo(np.float64).eps
    rank = min(moments.count - 1, int((values > least).sum()))
    # In ascending order; -0 would take all.
    keep = slice(len(values) - rank, None)
    root: np.ndarray = (vectors[:, keep] * np.sqrt(values[keep])).T
    return root


def spectrum_of(moments: Moments, divisor: Divisor = 'n-1') -> np.ndarray:
    """Return the eigenvalues (D,) of the covariance, ascending, 0 or more."""
    values: np.ndarray = np.linalg.eigvalsh(moments.covariance(divisor)).clip(0)
    return values
