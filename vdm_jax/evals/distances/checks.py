"""What every distance wants of its features: finite numbers (N, D), of one width, and enough rows."""

import numpy as np

from vdm_jax.errors import UserError, format_ranges

# The cube of a product of two such numbers is still a float64.
LARGEST = 1e40


def as_features(features: np.ndarray, name: str = 'features') -> np.ndarray:
    """Return features as float64 (N, D), checked.

    Args:
      features: (N, D) of any real type, N may be 0.
      name: What messages call them, such as 'real features'.

    Raises:
      UserError: They have another rank, no width or another type, or rows are not finite or beyond LARGEST.
    """
    array = np.asarray(features)
    # Masks, objects and complex numbers would convert, to something else than was meant.
    if array.dtype.kind not in 'fiu':
        raise UserError(f'{name} are {array.dtype}; want floats or whole numbers')
    if array.ndim != 2 or array.shape[1] == 0:
        raise UserError(f'{name} have the shape {array.shape}; want (N, D): one row a clip, D of 1 or more')

    array = np.asarray(array, np.float64)
    # By row: a clip that is not finite is to be looked at, and its number says which.
    is_bad = ~np.isfinite(array).all(1)
    if is_bad.any():
        rows = format_ranges(np.flatnonzero(is_bad).tolist())
        raise UserError(f'{name}: {is_bad.sum()} of {len(array)} rows are not finite (nan or infinity): number {rows}')

    largest = max(array.max(initial=0), -array.min(initial=0))
    if largest > LARGEST:
        raise UserError(f'{name} are up to {largest:.3g}; want {LARGEST:.0e} or less, as products of them overflow')
    return array


def as_pair(real: np.ndarray, fake: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two sets of features as float64, checked.

    Raises:
      UserError: As in `as_features`, or their widths differ.
    """
    real = as_features(real, 'real features')
    fake = as_features(fake, 'fake features')
    check_widths(real.shape[1], fake.shape[1])
    return real, fake


def check_widths(real: int, fake: int) -> None:
    """Check that real and fake features have the same width.

    Raises:
      UserError: They do not.
    """
    if real != fake:
        raise UserError(f'real features are {real} wide, fake ones {fake}: want those of one network')


def check_count(count: int, needed: int, reason: str, name: str = 'features') -> None:
    """Check that there are enough rows.

    Args:
      count: Rows that there are.
      needed: Rows that there should be, at least.
      reason: What they are needed for, such as 'a covariance'.
      name: What the message calls them.

    Raises:
      UserError: There are fewer.
    """
    if count < needed:
        raise UserError(f'{name}: {count} clips; {reason} needs {needed} or more')
