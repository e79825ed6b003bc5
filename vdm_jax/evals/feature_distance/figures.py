"""Figures of a set of clips beside real ones, by their features: each with an interval, and with what is its floor."""

from __future__ import annotations

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.evals.distances.bootstrap import interval
from vdm_jax.evals.distances.frechet import spectrum_of
from vdm_jax.evals.distances.moments import Moments, centre_rows
from vdm_jax.evals.distances.sample_size import sample_size_floor
from vdm_jax.evals.distances.table import Distance
from vdm_jax.evals.feature_distance.real import Features
from vdm_jax.evals.feature_distance.settings import KEY, DistanceSettings

WIDE = 1000  # features, beyond which a round of the bootstrap takes a second
ROUNDS_OF_WIDE = 20
INTERVAL_PARTS = ('low', 'high', 'unbiased')


def rows_of(distance: Distance, features: Features) -> np.ndarray:
    """Return what a distance looks at, a row for each clip or frame: features, or probabilities of classes.

    Raises:
      UserError: They are of others, who computed no probabilities.
    """
    values = features.features if distance.needs_real else features.probabilities
    if values is None:
        raise UserError(f'{KEY}.distances=inception_score: wants probabilities of classes; found features alone')
    return values.reshape(-1, values.shape[-1])


def list_figures(settings: DistanceSettings, rounds: int) -> tuple[str, ...]:
    """Return the names of all figures that `measure_set`, or `measure_trajectories`, may give of samples."""
    names = ['clips']
    for name, distance in settings.make_distances().items():
        names += distance.figures
        for figure in distance.statistics():
            names += [f'{figure}_{part}' for part in INTERVAL_PARTS if rounds]
            names += [f'{figure}_std'] if settings.by_trajectory else []
        names += ['frechet_floor'] if name == 'frechet' else []
    return tuple(dict.fromkeys(names))


def measure_set(
    real: Features,
    features: Features,
    settings: DistanceSettings,
    rounds: int,
    cautions: list[str],
    with_floor: bool = True,
) -> dict[str, float]:
    """Return the figures of a set of clips.

    Args:
      real: The clips that it is held against.
      features: The set.
      settings: Which distances.
      rounds: Of the bootstrap; 0 for no interval.
      cautions: To which is added why an interval is not to be trusted.
      with_floor: Whether there is frechet_floor, which is the same for all sets of as many clips.

    Returns:
      'clips', and of each distance its figures, NAME_low and NAME_high of what as many clips score, NAME_unbiased
      without the bias of their number, and frechet_floor.

    Raises:
      UserError: There are too few clips.
    """
    figures: dict[str, float] = {'clips': len(features.features)}
    for name, distance in settings.make_distances().items():
        real_rows = rows_of(distance, real) if distance.needs_real else None
        rows = rows_of(distance, features)
        check_enough(name, distance, len(rows), 'samples')
        if real_rows is not None:
            check_enough(name, distance, len(real_rows), 'real clips')
        figures |= distance.measure(real_rows, rows)
        if rounds:
            # Frames of a clip are alike: clips are what is drawn by chance.
            per_clip = features.features.shape[1]
            figures |= measure_intervals(distance, real_rows, rows, rounds, settings.seed, cautions, per_clip)
            if name == 'frechet' and per_clip > 1:
                cautions.append(
                    f'frechet_floor: takes the {per_clip} frames of a clip for clips; the true one is higher'
                )
        if with_floor and name == 'frechet' and real_rows is not None:
            figures['frechet_floor'] = measure_floor(real_rows, len(rows), settings)
    return figures


def check_enough(name: str, distance: Distance, count: int, called: str) -> None:
    """Check that there are enough clips, or frames.

    Raises:
      UserError: There are too few; says how many are needed.
    """
    if count < distance.num_needed:
        wanted = f'{distance.num_needed} {called} or more, for {distance.reason}'
        raise UserError(f'{KEY}.distances={name}: wants {wanted}; found {count}')


def measure_intervals(
    distance: Distance,
    real: np.ndarray | None,
    rows: np.ndarray,
    rounds: int,
    seed: int,
    cautions: list[str],
    rows_per_clip: int,
) -> dict[str, float]:
    """Return the ends of the intervals of the figures of a distance, and the figures without their bias."""
    figures: dict[str, float] = {}
    if rows.shape[1] > WIDE:
        rounds = min(rounds, ROUNDS_OF_WIDE)
    for name, statistic in distance.statistics().items():
        try:
            estimate = interval(statistic, real, rows, rounds, seed=seed, rows_per_clip=rows_per_clip)
        except UserError as error:
            # So few clips have a distance and no interval.
            cautions.append(f'{name}: no interval ({error})')
            continue
        figures |= {f'{name}_low': estimate.score_low, f'{name}_high': estimate.score_high}
        figures[f'{name}_unbiased'] = estimate.score - estimate.bias
        if estimate.caution:
            cautions.append(f'{name}: {estimate.caution}')
    return figures


def measure_floor(real: np.ndarray, count: int, settings: DistanceSettings) -> float:
    """Return the Fréchet distance that as many clips of the very same kind have on average."""
    spectrum = spectrum_of_rows(real)
    return sample_size_floor(spectrum, len(real), count, settings.divisor, seed=settings.seed).mean


def spectrum_of_rows(rows: np.ndarray) -> np.ndarray:
    """Return the eigenvalues of the covariance of rows (N, D); those that are 0 for N < D left out."""
    count, width = rows.shape
    if count > width:
        return spectrum_of(Moments.of(rows))
    # The same ones as of D x D numbers, which of frames or of tokens would be more than fit in memory.
    _, centred = centre_rows(np.asarray(rows, np.float64))
    values: np.ndarray = np.linalg.eigvalsh(centred @ centred.T / (count - 1))[1:].clip(0)
    return values


def measure_halves(real: Features, settings: DistanceSettings, rounds: int) -> dict[str, float]:
    """Return the figures of one half of the real clips beside the other, by a fixed shuffle; {} of too few clips."""
    order = np.random.default_rng(settings.seed).permutation(len(real.features))
    half = len(order) // 2
    try:
        return measure_set(real.take(order[:half]), real.take(order[half : 2 * half]), settings, rounds, [])
    except UserError:
        return {}


def measure_trajectories(
    real: Features, features: Features, settings: DistanceSettings, rounds: int, cautions: list[str]
) -> dict[str, float]:
    """Return the means of the figures of sets with one sample of every clip, and the spread of the distances.

    Args:
      real: One clip each.
      features: The samples of a clip lie next to each other.
      settings: How many there are.
      rounds: Of the bootstrap, of the first set.
      cautions: As `measure_set` has it.
    """
    every = []
    for number in range(settings.per_clip):
        one = features.take(slice(number, None, settings.per_clip))
        is_first = number == 0
        every.append(measure_set(real, one, settings, rounds if is_first else 0, cautions, with_floor=is_first))
    figures = dict(every[0])
    for name in every[-1]:
        figures[name] = float(np.mean([each[name] for each in every]))
    for distance in settings.make_distances().values():
        for name in distance.statistics():
            figures[f'{name}_std'] = float(np.std([each[name] for each in every]))
            # The interval of the first set moves with it to the mean of all.
            shift = figures[name] - every[0][name]
            for part in INTERVAL_PARTS:
                if f'{name}_{part}' in figures:
                    figures[f'{name}_{part}'] = every[0][f'{name}_{part}'] + shift
    return figures
