"""THE INDEX of distances between sets of features, by the name that a protocol calls them."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from vdm_jax.config.ranges import Between, Count, Ranged, Seed
from vdm_jax.errors import UserError
from vdm_jax.evals.distances import inception_score, kernel, neighbours
from vdm_jax.evals.distances.frechet import Root, frechet_distance
from vdm_jax.evals.distances.moments import Divisor
from vdm_jax.evals.distances.statistic import FrechetStatistic, FunctionStatistic, KernelStatistic, Statistic

Neighbour = Annotated[int, Between(1, 1000)]


@dataclass(frozen=True)
class Distance(Ranged, where='distance'):
    """One way of comparing two sets of features: a frozen dataclass whose fields are its own parameters.

    figures: Names of the numbers that `measure` gives.
    needs_real: Whether it looks at real clips; what does not takes None for them.
    """

    figures: ClassVar[tuple[str, ...]]
    needs_real: ClassVar[bool] = True

    @property
    @abstractmethod
    def num_needed(self) -> int:
        """How many clips of each set it needs, at least."""

    @property
    @abstractmethod
    def reason(self) -> str:
        """What it needs them for."""

    @abstractmethod
    def measure(self, real: np.ndarray | None, fake: np.ndarray) -> dict[str, float]:
        """Compute all figures by name.

        Args:
          real: (N, D) of any real type; None where the distance needs none.
          fake: (M, D).

        Raises:
          UserError: There are too few clips, rows are not finite, or widths differ.
        """

    @abstractmethod
    def statistics(self) -> dict[str, Statistic]:
        """Return the figures that an interval is of, by name."""


@dataclass(frozen=True)
class Frechet(Distance):
    """The Fréchet distance: FVD, FID.

    Attributes:
      divisor: Of the covariances: n-1 (tfgan, pytorch-fid) or n (StyleGAN-V).
      root: exact, or tfgan's, which differs where features hardly vary.
    """

    figures: ClassVar = ('frechet',)

    divisor: Divisor = 'n-1'
    root: Root = 'exact'

    @property
    def num_needed(self) -> int:
        return 2

    @property
    def reason(self) -> str:
        return 'a covariance'

    def measure(self, real: np.ndarray | None, fake: np.ndarray) -> dict[str, float]:
        return {'frechet': frechet_distance(_want_real(real), fake, self.divisor, self.root)}

    def statistics(self) -> dict[str, Statistic]:
        return {'frechet': FrechetStatistic(self.divisor, self.root)}


@dataclass(frozen=True)
class Kvd(Distance):
    """The kernel video distance, an unbiased discrepancy under (x.y/D + 1)^3, which may be below 0."""

    figures: ClassVar = ('kvd',)

    @property
    def num_needed(self) -> int:
        return 2

    @property
    def reason(self) -> str:
        return 'an unbiased discrepancy'

    def measure(self, real: np.ndarray | None, fake: np.ndarray) -> dict[str, float]:
        return {'kvd': kernel.kvd(_want_real(real), fake)}

    def statistics(self) -> dict[str, Statistic]:
        return {'kvd': KernelStatistic(kernel.KVD)}


@dataclass(frozen=True)
class Kid(Distance):
    """The kernel inception distance, KVD's discrepancy over random subsets.

    Attributes:
      subsets: How many.
      subset_size: Clips of each.
      seed: Of their draws, torch-fidelity's.
    """

    figures: ClassVar = ('kid', 'kid_std')

    subsets: Annotated[int, Between(1, 10**5)] = 100
    subset_size: Annotated[int, Between(2, 10**5)] = 1000
    seed: Seed = 2020

    @property
    def num_needed(self) -> int:
        return self.subset_size

    @property
    def reason(self) -> str:
        return f'a subset of {self.subset_size}'

    def measure(self, real: np.ndarray | None, fake: np.ndarray) -> dict[str, float]:
        mean, deviation = kernel.kid(
            _want_real(real), fake, subsets=self.subsets, subset_size=self.subset_size, seed=self.seed
        )
        return {'kid': mean, 'kid_std': deviation}

    def statistics(self) -> dict[str, Statistic]:
        """Return the discrepancy of all clips, which the mean over subsets is an estimate of."""
        return {'kid': KernelStatistic(kernel.KVD)}


@dataclass(frozen=True)
class Jedi(Distance):
    """JEDi's distance, 100 times the biased discrepancy under (x.y/D)^2."""

    figures: ClassVar = ('jedi',)

    @property
    def num_needed(self) -> int:
        return 1

    @property
    def reason(self) -> str:
        return 'a discrepancy'

    def measure(self, real: np.ndarray | None, fake: np.ndarray) -> dict[str, float]:
        return {'jedi': kernel.jedi(_want_real(real), fake)}

    def statistics(self) -> dict[str, Statistic]:
        return {'jedi': KernelStatistic(kernel.JEDI, unbiased=False, factor=100)}


@dataclass(frozen=True)
class InceptionScore(Distance):
    """The inception score of the fake clips' classes.

    Attributes:
      values: What the features are: logits, or the probabilities themselves.
      splits: Parts of the clips that are scored.
      seed: Of the shuffle before that; None for the order of the clips.
    """

    figures: ClassVar = ('inception_score', 'inception_score_std')
    needs_real: ClassVar[bool] = False

    values: Literal['logits', 'probabilities'] = 'logits'
    splits: Count = inception_score.SPLITS
    seed: Seed | None = inception_score.SEED

    @property
    def num_needed(self) -> int:
        return self.splits

    @property
    def reason(self) -> str:
        return f'a score over {self.splits} splits'

    def measure(self, real: np.ndarray | None, fake: np.ndarray) -> dict[str, float]:
        compute = {
            'logits': inception_score.score_of_logits,
            'probabilities': inception_score.score_of_probabilities,
        }[self.values]
        mean, deviation = compute(fake, self.splits, self.seed)
        return {'inception_score': mean, 'inception_score_std': deviation}

    def statistics(self) -> dict[str, Statistic]:
        return _pick_figures(self, ('inception_score',), least=1.0)


@dataclass(frozen=True)
class NeighbourDistance(Distance):
    """A distance of balls about clips, each of which reaches to a neighbour of its clip.

    Attributes:
      k: Which neighbour.
    """

    k: Neighbour = 3

    @property
    def num_needed(self) -> int:
        return self.k + 1

    @property
    def reason(self) -> str:
        return f'a neighbour number {self.k}'

    @abstractmethod
    def compare(self, real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
        """Return the two figures of features (N, D) and (M, D)."""

    def measure(self, real: np.ndarray | None, fake: np.ndarray) -> dict[str, float]:
        return dict(zip(self.figures, self.compare(_want_real(real), fake), strict=True))


@dataclass(frozen=True)
class PrecisionRecall(NeighbourDistance):
    """Improved precision and recall.

    Attributes:
      k: Which neighbour the balls reach to.
    """

    figures: ClassVar = ('precision', 'recall')

    k: Neighbour = 3

    def compare(self, real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
        return neighbours.precision_recall(real, fake, self.k)

    def statistics(self) -> dict[str, Statistic]:
        return _pick_figures(self, self.figures, least=0.0, greatest=1.0)


@dataclass(frozen=True)
class DensityCoverage(NeighbourDistance):
    """Density and coverage.

    Attributes:
      k: Which neighbour the balls reach to.
    """

    figures: ClassVar = ('density', 'coverage')

    k: Neighbour = 5

    def compare(self, real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
        return neighbours.density_coverage(real, fake, self.k)

    def statistics(self) -> dict[str, Statistic]:
        return _pick_figures(self, ('density',), least=0.0) | _pick_figures(
            self, ('coverage',), least=0.0, greatest=1.0
        )


DISTANCES: dict[str, type[Distance]] = {
    'frechet': Frechet,
    'kvd': Kvd,
    'kid': Kid,
    'jedi': Jedi,
    'inception_score': InceptionScore,
    'precision_recall': PrecisionRecall,
    'density_coverage': DensityCoverage,
}


def _want_real(real: np.ndarray | None) -> np.ndarray:
    if real is None:
        raise UserError('real features are not there; this distance compares fake clips with real ones')
    return real


def _pick_figures(
    distance: Distance, names: tuple[str, ...], least: float, greatest: float = np.inf
) -> dict[str, Statistic]:
    """Return a statistic for each of these figures of a distance."""

    def pick(name: str) -> Callable[[np.ndarray, np.ndarray], float]:
        return lambda real, fake: distance.measure(real, fake)[name]

    return {name: FunctionStatistic(pick(name), distance.num_needed, least, greatest) for name in names}
