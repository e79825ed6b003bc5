"""Numbers of two sets of features as an interval wants them: of many samples of their rows, sharing what they can."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import numpy as np

from vdm_jax.evals.distances.frechet import Root, frechet_distance, root_of_rows
from vdm_jax.evals.distances.kernel import Kernel, KernelSums, mmd
from vdm_jax.evals.distances.moments import Divisor, divide_by, mean_of_rows
from vdm_jax.evals.distances.sample_size import nuclear_norm

Resample = Literal['fake', 'both']
Method = Literal['bootstrap', 'halves']
OfRows = Callable[[np.ndarray | None, np.ndarray], float]

MATRIX = 2**25  # numbers of a kernel matrix that is kept: 256 MiB


class Statistic(ABC):
    """A number of two sets of features.

    Attributes:
      least: The least that it can be, where an interval ends.
      greatest: The greatest.
      num_needed: Clips of each set that it wants, at least.
      method_of_fake: How fake clips are sampled where the real ones stay: the bootstrap is for statistics that no
        repeated clip misleads.
    """

    least: float = -np.inf
    greatest: float = np.inf
    num_needed: int = 1
    method_of_fake: Method = 'halves'

    def caution(self, num_real: int, num_fake: int, width: int, resample: Resample) -> str:
        """Return why an interval of this many clips and features is not to be trusted, '' where it is."""
        return ''

    @abstractmethod
    def __call__(self, real: np.ndarray, fake: np.ndarray) -> float:
        """Return the number of features (N, D) and (M, D)."""

    def of_rows(self, real: np.ndarray, fake: np.ndarray) -> OfRows:
        """Return a function of the indices of some rows of each, None for all real ones; a subclass shares work."""

        def compute(real_rows: np.ndarray | None, fake_rows: np.ndarray) -> float:
            return self(real if real_rows is None else real[real_rows], fake[fake_rows])

        return compute


class FunctionStatistic(Statistic):
    """Any function of two sets of features.

    Attributes:
      function: Returns the number of features (N, D) and (M, D).
    """

    def __init__(
        self,
        function: Callable[[np.ndarray, np.ndarray], float],
        num_needed: int = 1,
        least: float = -np.inf,
        greatest: float = np.inf,
    ):
        self.function = function
        self.num_needed = num_needed
        self.least = least
        self.greatest = greatest

    def __call__(self, real: np.ndarray, fake: np.ndarray) -> float:
        return self.function(real, fake)


class FrechetStatistic(Statistic):
    """The Fréchet distance; against all real clips their root is computed once.

    Attributes:
      divisor: Of the covariances.
      root: Of their product; tfgan's shares no work.
    """

    least = 0.0
    num_needed = 2
    method_of_fake: Method = 'bootstrap'

    def __init__(self, divisor: Divisor = 'n-1', root: Root = 'exact'):
        self.divisor: Divisor = divisor
        self.root: Root = root

    def caution(self, num_real: int, num_fake: int, width: int, resample: Resample) -> str:
        fewest = min(num_real, num_fake)
        if resample == 'fake' or fewest >= 2 * width:
            return ''
        return (
            f'{fewest} clips, {width} features: below {2 * width} clips the bias does not halve with twice as many, '
            'and the interval lies above the true distance'
        )

    def __call__(self, real: np.ndarray, fake: np.ndarray) -> float:
        return frechet_distance(real, fake, self.divisor, self.root)

    def of_rows(self, real: np.ndarray, fake: np.ndarray) -> OfRows:
        if self.root != 'exact':
            return super().of_rows(real, fake)
        real_mean = mean_of_rows(real)
        root = root_of_rows(real - real_mean) / np.sqrt(divide_by(len(real), self.divisor))
        real_trace = np.square(root).sum()
        about_real = fake - real_mean
        projected = about_real @ root.T

        def compute(real_rows: np.ndarray | None, fake_rows: np.ndarray) -> float:
            if real_rows is not None:
                return self(real[real_rows], fake[fake_rows])
            # A third of a bootstrap sample are repeats: weights are faster than rows.
            rows, counts = np.unique(fake_rows, return_counts=True)
            weights = counts / len(fake_rows)
            mean = weights @ about_real[rows]
            scales = np.sqrt(counts / divide_by(len(fake_rows), self.divisor))[:, np.newaxis]
            fake_trace = np.square((about_real[rows] - mean) * scales).sum()
            cross = nuclear_norm((projected[rows] - root @ mean) * scales)
            return max(float(mean @ mean + real_trace + fake_trace - 2 * cross), 0.0)

        return compute


class KernelStatistic(Statistic):
    """A maximum mean discrepancy; kernels of all pairs are computed once, where they fit into memory.

    Attributes:
      kernel: Which kernel.
      unbiased: Whether products of clips with themselves are left out.
      factor: What the discrepancy is multiplied by.
    """

    def __init__(self, kernel: Kernel, unbiased: bool = True, factor: float = 1.0):
        self.kernel = kernel
        self.unbiased = unbiased
        self.factor = factor
        self.num_needed = 2 if unbiased else 1
        # A biased one is a squared distance of means.
        self.least = -np.inf if unbiased else 0.0

    def __call__(self, real: np.ndarray, fake: np.ndarray) -> float:
        return self.factor * mmd(real, fake, self.kernel, self.unbiased)

    def of_rows(self, real: np.ndarray, fake: np.ndarray) -> OfRows:
        if (len(real) + len(fake)) ** 2 > MATRIX:
            return super().of_rows(real, fake)
        sums = KernelSums(real, fake, self.kernel, self.unbiased)

        def compute(real_rows: np.ndarray | None, fake_rows: np.ndarray) -> float:
            return self.factor * sums.mmd(real_rows, fake_rows)

        return compute
