"""Mean and scatter of features, exact however they are batched: what a Fréchet distance needs of a set of clips."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.evals.distances.checks import as_features, check_count, check_widths

Divisor = Literal['n', 'n-1']


@dataclass(frozen=True, eq=False)
class Moments:
    """First two moments of a set of features, centred, in float64.

    Sums of squares would lose all digits of features far from 0; these do not. Sets merge as in Chan, Golub & LeVeque
    1983, 'Algorithms for computing the sample variance', equation 1.5b, in any order and any batching.

    Attributes:
      count: Rows that they are of, 0 or more.
      mean: (D,).
      scatter: (D, D), the sum of the outer products of centred rows.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, name: str = 'features') -> 'Moments':
        """Compute the moments of features (N, D) of any real type; N may be 0.

        Raises:
          UserError: The features are not finite, or have another rank.
        """
        features = as_features(features, name)
        mean, centred = centre_rows(features)
        return cls(len(features), mean, centred.T @ centred)

    @property
    def width(self) -> int:
        """How many features a row has, D."""
        return len(self.mean)

    def merge(self, other: 'Moments') -> 'Moments':
        """Return the moments of both sets of rows as one set.

        Raises:
          UserError: The widths differ.
        """
        if self.width != other.width:
            raise UserError(f'features are {self.width} wide, further ones {other.width}: want those of one network')
        if not self.count or not other.count:
            return self if self.count else other

        count = self.count + other.count
        difference = other.mean - self.mean
        between = np.outer(difference, difference * (self.count * other.count / count))
        return Moments(
            count=count,
            mean=self.mean + difference * (other.count / count),
            scatter=self.scatter + other.scatter + between,
        )

    def covariance(self, divisor: Divisor) -> np.ndarray:
        """Return the covariance (D, D), the scatter over N or N - 1.

        Raises:
          UserError: There are fewer than 2 rows.
        """
        return self.scatter / divide_by(self.count, divisor)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the moments as arrays by name, for a file."""
        return {'count': np.asarray(self.count, np.int64), 'mean': self.mean, 'scatter': self.scatter}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], where: str = 'moments') -> 'Moments':
        """Return the moments that `to_arrays` made these arrays of.

        Args:
          arrays: Arrays by name.
          where: What messages call them, such as the path of their file.

        Raises:
          UserError: One is missing, has another shape, or holds what no set of features has.
        """
        names = ('count', 'mean', 'scatter')
        missing = [name for name in names if name not in arrays]
        if missing:
            raise UserError(f'{where}: no {", ".join(missing)} among {", ".join(sorted(arrays)) or "nothing"}')

        count = np.asarray(arrays['count'])
        mean = np.asarray(arrays['mean'])
        scatter = np.asarray(arrays['scatter'])
        if mean.ndim != 1 or scatter.shape != (len(mean), len(mean)) or count.size != 1:
            raise UserError(
                f'{where}: count {count.shape}, mean {mean.shape}, scatter {scatter.shape}; want (), (D,), (D, D)'
            )
        if count.dtype.kind not in 'iu' or int(count.item()) < 0:
            raise UserError(f'{where}: count is {count.item()}; want a whole number, 0 or more')

        mean = as_features(mean[np.newaxis], f'{where}: mean')[0]
        # Scatters are squares, which may well exceed what features may be.
        scatter = np.asarray(scatter, np.float64)
        if not np.isfinite(scatter).all():
            raise UserError(f'{where}: the scatter is not finite (nan or infinity): make the file anew')
        if not np.allclose(scatter, scatter.T, rtol=1e-6, atol=1e-6 * np.abs(scatter).max(initial=0)):
            raise UserError(f'{where}: the scatter is not symmetric: these are no moments')
        if (scatter.diagonal() < 0).any():
            raise UserError(f'{where}: the scatter has a negative diagonal: these are no moments')
        return cls(int(count.item()), mean, scatter)


def check_moments(real: Moments, fake: Moments) -> None:
    """Check that two sets of moments can be compared: both are of 2 rows or more, of one width.

    Raises:
      UserError: They cannot.
    """
    check_widths(real.width, fake.width)
    check_count(real.count, 2, 'a covariance', 'real features')
    check_count(fake.count, 2, 'a covariance', 'fake features')


def divide_by(count: int, divisor: Divisor) -> int:
    """Return what the scatter of this many rows is divided by.

    Raises:
      UserError: There are fewer than 2 rows.
    """
    check_count(count, 2, 'a covariance')
    return count if divisor == 'n' else count - 1


def centre_rows(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean row (D,) of float64 features (N, D), 0 where there is none, and the rows less their mean."""
    if not len(features):
        return np.zeros(features.shape[1]), features
    mean = features.mean(0)
    centred = features - mean
    # numpy adds rows one after the other; the mean of what is left takes the error of that away.
    correction = centred.mean(0)
    centred -= correction
    return mean + correction, centred


def mean_of_rows(features: np.ndarray) -> np.ndarray:
    """Return the mean row (D,) of float64 features (N, D), 0 where there is none, to the last digits."""
    return centre_rows(features)[0]
