"""The Fréchet distance that clips have from clips of the very same kind, for being few: the floor under a score.

A finite sample never has the moments of its distribution, and the Fréchet distance counts every difference as one, so
it is biased upwards; of 2,048 samples of a normal distribution in 400 dimensions by 39, of 256 by 302. The bias hangs
on the spectrum of the covariance, and is another one for every network, data set and number of clips.
"""

from dataclasses import dataclass

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.evals.distances.checks import as_features
from vdm_jax.evals.distances.moments import Divisor, divide_by


@dataclass(frozen=True)
class Floor:
    """What the Fréchet distance of two samples of one normal distribution is.

    Attributes:
      mean: Its expectation.
      standard_error: Of that mean, for being an average of few draws.
      first_order: The expectation to first order in 1/N, `first_order_floor`.
    """

    mean: float
    standard_error: float
    first_order: float


def sample_size_floor(
    eigenvalues: np.ndarray,
    num_real: int,
    num_fake: int,
    divisor: Divisor = 'n-1',
    rounds: int = 10,
    seed: int = 0,
) -> Floor:
    """Estimate the expected Fréchet distance of two samples of one normal distribution.

    Roots of the covariances are drawn instead of samples (Bartlett's decomposition of the Wishart distribution, where
    there are more samples than dimensions), and the term of the means, tr S (1/N + 1/M), is exact.

    Args:
      eigenvalues: (D,) of the covariance. Those of a measured one are wider spread than those of the distribution
        that its N clips are of, and where N is not far above D all but N - 1 are 0: a floor from them is rough there.
      num_real: N, 2 or more.
      num_fake: M, 2 or more.
      divisor: Of the covariances.
      rounds: Draws that are averaged, 1 or more; of one the standard error is nan.
      seed: Of the draws.

    Raises:
      UserError: An eigenvalue is negative beyond rounding or not finite, or there are too few samples or rounds.
    """
    values = _as_spectrum(eigenvalues)
    divide_by(num_real, divisor)
    divide_by(num_fake, divisor)
    if rounds < 1:
        raise UserError(f'rounds={rounds}: want 1 or more')

    rng = np.random.default_rng(seed)
    scales = np.sqrt(values)
    distances = np.empty(rounds)
    for index in range(rounds):
        real = _draw_root(rng, num_real, scales, divisor)
        fake = _draw_root(rng, num_fake, scales, divisor)
        # Drawn though their mean is known: they vary with the root, and the difference varies far less.
        traces = np.square(real).sum() + np.square(fake).sum()
        distances[index] = traces - 2 * nuclear_norm(real @ fake.T)

    spread = distances.std(ddof=1) / np.sqrt(rounds) if rounds > 1 else np.nan
    return Floor(
        mean=float(distances.mean() + _term_of_means(values, num_real, num_fake)),
        standard_error=float(spread),
        first_order=first_order_floor(values, num_real, num_fake),
    )


def first_order_floor(eigenvalues: np.ndarray, num_real: int, num_fake: int) -> float:
    """Compute the expected Fréchet distance of two samples of one normal distribution to first order in 1/N.

    The distance of covariances S and S + E is 1/2 sum_ij E_ij^2 / (l_i + l_j) to second order in E, in the basis of the
    eigenvectors (the Bures metric), and a sample covariance has E[E_ij^2] = (l_i l_j + [i = j] l_i^2) / (N - 1). With
    r = 1/(N - 1) + 1/(M - 1) this is

      tr S (1/N + 1/M)  +  r/2 sum_ij l_i l_j / (l_i + l_j)  +  r/4 tr S,

    for the identity and N = M that is 2 D / N + D^2 / (2 N) + D / (2 N). Divisors N and N - 1 are the same to this
    order. It is a check and no substitute for draws: within 1 per cent from N = M = 1.3 D on, within 7 at 0.64 D, far
    off where one set is smaller than that.
    """
    values = _as_spectrum(eigenvalues)
    # A direction without variance has no part in the sum, whose term would be 0/0.
    values = values[values > 0]
    shares = np.outer(values, values) / np.add.outer(values, values)
    rate = 1 / (num_real - 1) + 1 / (num_fake - 1)
    covariances = rate / 2 * shares.sum() + rate / 4 * values.sum()
    return float(_term_of_means(values, num_real, num_fake) + covariances)


def nuclear_norm(matrix: np.ndarray) -> float:
    """Compute the sum of singular values fast, each to 1e-8 of the largest: many times as fast as to all digits."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return float(np.sqrt(np.linalg.eigvalsh(wide @ wide.T).clip(0)).sum())


def _term_of_means(values: np.ndarray, num_real: int, num_fake: int) -> float:
    return float(values.sum() * (1 / num_real + 1 / num_fake))


def _draw_root(rng: np.random.Generator, count: int, scales: np.ndarray, divisor: Divisor) -> np.ndarray:
    """Draw R (K, D) with R' R distributed as the covariance of `count` samples, K at most D."""
    width = len(scales)
    freedom = count - 1
    if freedom < width:
        root = rng.standard_normal((freedom, width))
    else:
        # The R of a QR decomposition of that many rows, which need not be drawn.
        root = np.triu(rng.standard_normal((width, width)), 1)
        root[np.diag_indices(width)] = np.sqrt(rng.chisquare(freedom - np.arange(width)))
    scaled: np.ndarray = root * (scales / np.sqrt(divide_by(count, divisor)))
    return scaled


def _as_spectrum(eigenvalues: np.ndarray) -> np.ndarray:
    values = as_features(np.atleast_2d(eigenvalues), 'eigenvalues')[0]
    if values.min() < -1e-6 * values.max():
        raise UserError(f'eigenvalues are as low as {values.min():.3g}; want those of a covariance, 0 or more')
    return np.asarray(values.clip(0))
