"""Inception score: exp of the mean of KL(p(y|x) || p(y)), natural logarithm, over splits of the samples.

Salimans et al. 2016 (arXiv:1606.03498). For video p(y|x) is that of C3D on UCF-101 (Saito et al. 2020, TGANv2). 1 where
all samples are alike; the number of classes where each sample is of one class and all classes are as frequent.
"""

import numpy as np
import scipy.special

from vdm_jax.errors import UserError
from vdm_jax.evals.distances.checks import as_features, check_count

SPLITS = 10
SEED = 42


def score_of_logits(logits: np.ndarray, splits: int = SPLITS, seed: int | None = SEED) -> tuple[float, float]:
    """Compute the inception score of logits (N, C): mean and standard deviation over splits.

    Args:
      logits: (N, C) of any real type, N of `splits` or more.
      splits: How many, 1 or more.
      seed: Of numpy's RandomState, which shuffles the samples first, as they are often in order of their class; None
        for their own order, as StyleGAN-V's and Salimans' own code has it.

    Raises:
      UserError: There are fewer samples than splits, or rows are not finite.
    """
    logits = as_features(logits, 'logits')
    return _score(scipy.special.softmax(logits, axis=1), scipy.special.log_softmax(logits, axis=1), splits, seed)


def score_of_probabilities(
    probabilities: np.ndarray, splits: int = SPLITS, seed: int | None = SEED
) -> tuple[float, float]:
    """Compute the inception score of probabilities (N, C), as `score_of_logits`; 0 log 0 is 0.

    Raises:
      UserError: Also where rows are no distributions: negative, or with a sum that is not 1 to 1 per cent.
    """
    values = as_features(probabilities, 'probabilities')
    sums = values.sum(1)
    wrong = np.flatnonzero((values < 0).any(1) | (np.abs(sums - 1) > 0.01))
    if len(wrong):
        row = int(wrong[0])
        raise UserError(
            f'probabilities: {len(wrong)} of {len(values)} rows are no distribution; row {row} is '
            f'{values[row].min():.3g} or more, with a sum of {sums[row]:.6g}: want 0 or more and a sum of 1, '
            'or score them as logits'
        )
    # Half precision leaves sums at 1 +- 1e-3.
    values = values / sums[:, np.newaxis]
    with np.errstate(divide='ignore'):
        return _score(values, np.log(values), splits, seed)


def _score(values: np.ndarray, logs: np.ndarray, splits: int, seed: int | None) -> tuple[float, float]:
    if splits < 1:
        raise UserError(f'splits={splits}: want 1 or more')
    count = len(values)
    check_count(count, splits, f'a score over {splits} splits', 'class probabilities')

    # Samples are mostly in order of their class, and a split would have few of them.
    order = np.arange(count) if seed is None else np.random.RandomState(seed).permutation(count)
    scores = np.empty(splits)
    for index in range(splits):
        rows = order[index * count // splits : (index + 1) * count // splits]
        marginal = values[rows].mean(0)
        # A class that no sample can be adds nothing; its logarithm is not taken.
        is_possible = values[rows] > 0
        log_marginal = np.log(np.where(marginal > 0, marginal, 1))
        ratios = np.where(is_possible, logs[rows], 0) - np.where(is_possible, log_marginal, 0)
        scores[index] = np.exp((values[rows] * ratios).sum(1).mean())
    return float(scores.mean()), float(scores.std())
