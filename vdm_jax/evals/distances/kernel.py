"""Maximum mean discrepancy of features under a polynomial kernel k(x, y) = (gamma x.y + coef0)^degree.

Gretton et al. 2012, JMLR 13; Bińkowski et al. 2018 (arXiv:1801.01401, KID). With gamma = 1/D:

kvd   degree 3, coef0 1, unbiased, all clips (Unterthiner et al. 2018; SongweiGe/TATS)
kid   the same kernel, mean and deviation over subsets of the clips (torch-fidelity: 100 of 1,000 without replacement)
jedi  100 x degree 2, coef0 0, biased (Luo et al. 2024, arXiv:2410.05203)

The kernel is computed about the mean of both sets. With x = m + x', t = gamma (m.x' + m.y' + x'.y') and
c = gamma m.m + coef0 it is (c + t)^degree, in which c^degree and the terms of x alone and of y alone drop out of a
discrepancy. Left out, what remains keeps its digits where features lie far from 0, and is the same number.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from vdm_jax.config.ranges import Above0, Between, Ranged
from vdm_jax.errors import UserError
from vdm_jax.evals.distances.checks import as_pair, check_count
from vdm_jax.evals.distances.moments import mean_of_rows

BLOCK = 512  # rows and columns of a kernel matrix at once: 2 MiB, which a cache holds


@dataclass(frozen=True)
class Kernel(Ranged, where='kernel'):
    """A polynomial kernel.

    Attributes:
      degree: Of the polynomial.
      gamma: Factor of the product, None for 1/D.
      coef0: What is added to the product.
    """

    degree: Annotated[int, Between(1, 10)] = 3
    gamma: Annotated[float, Above0()] | None = None
    coef0: Annotated[float, Between(-1e6, 1e6)] = 1.0


KVD = Kernel()
JEDI = Kernel(degree=2, coef0=0.0)


def mmd(real: np.ndarray, fake: np.ndarray, kernel: Kernel = KVD, unbiased: bool = True, block: int = BLOCK) -> float:
    """Compute the squared maximum mean discrepancy of two sets of features.

    Args:
      real: (N, D) of any real type.
      fake: (M, D).
      kernel: Which kernel.
      unbiased: Leave out the products of each clip with itself; the result may then be below 0.
      block: Rows and columns of a kernel matrix that are in memory at once.

    Raises:
      UserError: There are fewer than 2 clips (1 where biased), rows are not finite, or widths differ.
    """
    real, fake = as_pair(real, fake)
    needed = 2 if unbiased else 1
    reason = 'an unbiased discrepancy' if unbiased else 'a discrepancy'
    check_count(len(real), needed, reason, 'real features')
    check_count(len(fake), needed, reason, 'fake features')

    centred_kernel, real_rows, fake_rows = _centre(real, fake, kernel)
    within_real = _mean_within(centred_kernel, real_rows, unbiased, block)
    within_fake = _mean_within(centred_kernel, fake_rows, unbiased, block)
    between = _sum_between(centred_kernel, real_rows, fake_rows, block) / (len(real) * len(fake))
    return _want_finite(within_real + within_fake - 2 * between)


class KernelSums:
    """The kernel of all pairs of clips, of which discrepancies of many subsets are computed.

    It takes (N + M)^2 float64.
    """

    def __init__(self, real: np.ndarray, fake: np.ndarray, kernel: Kernel, unbiased: bool):
        """Compute the kernel of float64 features (N, D) and (M, D)."""
        centred_kernel, real_rows, fake_rows = _centre(real, fake, kernel)
        self._within = [centred_kernel.compute(rows, rows) for rows in (real_rows, fake_rows)]
        self._between = centred_kernel.compute(real_rows, fake_rows)
        self._unbiased = unbiased
        if unbiased:
            for matrix in self._within:
                np.fill_diagonal(matrix, 0)

    def mmd(self, real_rows: np.ndarray | None, fake_rows: np.ndarray) -> float:
        """Compute the discrepancy of some rows, no row twice; None for all real ones."""
        if real_rows is None:
            real_rows = np.arange(len(self._between))
        # Products with weights instead of submatrices: nothing is copied.
        weights = [
            np.bincount(rows, minlength=size) / len(rows)
            for rows, size in zip((real_rows, fake_rows), self._between.shape, strict=True)
        ]
        real_mean, fake_mean = (w @ matrix @ w for w, matrix in zip(weights, self._within, strict=True))
        if self._unbiased:
            real_mean *= len(real_rows) / (len(real_rows) - 1)
            fake_mean *= len(fake_rows) / (len(fake_rows) - 1)
        return _want_finite(real_mean + fake_mean - 2 * (weights[0] @ self._between @ weights[1]))


def kvd(real: np.ndarray, fake: np.ndarray) -> float:
    """Compute the kernel video distance, the unbiased discrepancy of all clips under (x.y/D + 1)^3."""
    return mmd(real, fake, KVD)


def jedi(real: np.ndarray, fake: np.ndarray) -> float:
    """Compute JEDi's distance, 100 times the biased discrepancy under (x.y/D)^2."""
    return 100 * mmd(real, fake, JEDI, unbiased=False)


def kid(
    real: np.ndarray,
    fake: np.ndarray,
    kernel: Kernel = KVD,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
) -> tuple[float, float]:
    """Compute the kernel inception distance: mean and standard deviation over subsets without replacement.

    Subsets are drawn as torch-fidelity draws them, whose seed is the default.

    Args:
      real: (N, D) of any real type, N of `subset_size` or more.
      fake: (M, D), M of `subset_size` or more.
      kernel: Which kernel.
      subsets: How many, 1 or more.
      subset_size: Clips of each, 2 or more.
      seed: Of the draws.

    Raises:
      UserError: There are fewer clips than in a subset, rows are not finite, or widths differ.
    """
    real, fake = as_pair(real, fake)
    if subsets < 1:
        raise UserError(f'subsets={subsets}: want 1 or more')
    check_count(len(real), subset_size, f'a subset of {subset_size}', 'real features')
    check_count(len(fake), subset_size, f'a subset of {subset_size}', 'fake features')

    rng = np.random.RandomState(seed)
    distances = np.empty(subsets)
    for index in range(subsets):
        # Generated clips are torch-fidelity's first input, and drawn first.
        fake_rows = rng.choice(len(fake), subset_size, replace=False)
        real_rows = rng.choice(len(real), subset_size, replace=False)
        distances[index] = mmd(real[real_rows], fake[fake_rows], kernel)
    return float(distances.mean()), float(distances.std())


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of features about a centre.

    Attributes:
      scaled: (N, D), times the root of gamma.
      products: (N,), gamma times the product of each with the centre.
    """

    scaled: np.ndarray
    products: np.ndarray

    @classmethod
    def about(cls, centre: np.ndarray, features: np.ndarray, gamma: float) -> '_Rows':
        """Return features (N, D) about a centre (D,)."""
        scaled = (features - centre) * math.sqrt(gamma)
        return cls(scaled, scaled @ (centre * math.sqrt(gamma)))

    def __len__(self) -> int:
        return len(self.products)

    def part(self, begin: int, end: int) -> '_Rows':
        """Return some of the rows."""
        return _Rows(self.scaled[begin:end], self.products[begin:end])


@dataclass(frozen=True)
class _CentredKernel:
    """What of (c + t)^p does not drop out of a discrepancy: p c^(p-1) x'.y' + sum over k >= 2 of C(p, k) c^(p-k) t^k.

    Attributes:
      degree: p.
      constant: c.
    """

    degree: int
    constant: float

    def compute(self, left: _Rows, right: _Rows) -> np.ndarray:
        """Return the kernel (N, M) of all pairs of rows of two sets."""
        product = left.scaled @ right.scaled.T
        return self._evaluate(product, left.products[:, np.newaxis] + right.products + product)

    def compute_own(self, rows: _Rows) -> np.ndarray:
        """Return the kernel (N,) of each row with itself."""
        product = np.square(rows.scaled).sum(1)
        return self._evaluate(product, 2 * rows.products + product)

    def _evaluate(self, product: np.ndarray, t: np.ndarray) -> np.ndarray:
        if self.degree == 1:
            return product
        # Horner's scheme, from t^p down to t^2. What overflows is refused in the end.
        with np.errstate(over='ignore', invalid='ignore'):
            value = np.ones_like(t)
            for k in range(self.degree - 1, 1, -1):
                value = value * t + self._coefficient(k)
            return np.asarray(self._coefficient(1) * product + value * t * t)

    def _coefficient(self, k: int) -> float:
        # In numpy, whose powers overflow to infinity; Python's raise.
        return float(math.comb(self.degree, k) * np.float64(self.constant) ** (self.degree - k))


def _want_finite(discrepancy: float) -> float:
    if not math.isfinite(discrepancy):
        raise UserError('features are too large for a kernel of this degree: its values overflow; scale them down')
    return float(discrepancy)


def _centre(real: np.ndarray, fake: np.ndarray, kernel: Kernel) -> tuple[_CentredKernel, _Rows, _Rows]:
    """Return the kernel about the mean of both sets, and both about it."""
    centre = (mean_of_rows(real) + mean_of_rows(fake)) / 2
    gamma = 1 / real.shape[1] if kernel.gamma is None else kernel.gamma
    centred_kernel = _CentredKernel(kernel.degree, gamma * float(centre @ centre) + kernel.coef0)
    return centred_kernel, _Rows.about(centre, real, gamma), _Rows.about(centre, fake, gamma)


def _mean_within(kernel: _CentredKernel, rows: _Rows, unbiased: bool, block: int) -> float:
    """Return the mean of the kernel over all pairs of a set, or over those of two different rows."""
    count = len(rows)
    total = 0.0
    for begin in range(0, count, block):
        end = min(begin + block, count)
        left = rows.part(begin, end)
        own = kernel.compute(left, left)
        # The diagonal, large beside the rest, is added where it is wanted, and never taken off.
        np.fill_diagonal(own, 0)
        total += own.sum() + 2 * _sum_between(kernel, left, rows.part(end, count), block)
    if unbiased:
        return total / (count * (count - 1))
    return float(total + kernel.compute_own(rows).sum()) / count**2


def _sum_between(kernel: _CentredKernel, left: _Rows, right: _Rows, block: int) -> float:
    """Return the sum of the kernel over all pairs of two sets."""
    total = 0.0
    for i in range(0, len(left), block):
        for j in range(0, len(right), block):
            total += kernel.compute(left.part(i, i + block), right.part(j, j + block)).sum()
    return float(total)
