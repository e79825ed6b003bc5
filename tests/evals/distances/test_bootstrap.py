"""Intervals about a distance hold the true one as often as they say."""

import numpy as np
import pytest

from vdm_jax.errors import UserError
from vdm_jax.evals.distances.bootstrap import interval
from vdm_jax.evals.distances.frechet import combine, frechet_distance
from vdm_jax.evals.distances.kernel import JEDI, KVD, mmd
from vdm_jax.evals.distances.statistic import FrechetStatistic, KernelStatistic, Statistic

RESAMPLE = pytest.mark.parametrize('resample', ['fake', 'both'])


class Normals:
    """Two normal distributions, whose distance is known."""

    def __init__(self, width, shift, scale):
        self.scales = np.exp(-2 * np.arange(width) / width)
        self.shift = shift
        self.scale = scale

    def draw(self, rng, count):
        width = len(self.scales)
        real = rng.normal(size=(count, width)) * self.scales
        fake = (self.shift + self.scale * rng.normal(size=(count, width))) * self.scales
        return real, fake

    def distance(self, real=None):
        """Fréchet distance of the distributions, or of these real clips from the distribution of the fake ones."""
        fake_root = np.diag(self.scale * self.scales)
        if real is None:
            return combine(self.shift * self.scales, np.diag(self.scales), fake_root)
        root = (real - real.mean(0)) / np.sqrt(len(real) - 1)
        return combine(real.mean(0) - self.shift * self.scales, root, fake_root)


def cover(normals, count, resample, trials, rounds):
    """Share of intervals that hold the true distance."""
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(trials):
        real, fake = normals.draw(rng, count)
        truth = normals.distance(None if resample == 'both' else real)
        result = interval(FrechetStatistic(), real, fake, rounds, seed=seed, resample=resample)
        hits += result.low <= truth <= result.high
    return hits / trials


def cover_with_percentiles(normals, count, trials, rounds):
    """The same of the percentile interval, which is what is usually printed."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(trials):
        real, fake = normals.draw(rng, count)
        samples = rng.integers(0, count, (rounds, count))
        ends = np.quantile([frechet_distance(real, fake[rows]) for rows in samples], [0.025, 0.975])
        hits += ends[0] <= normals.distance(real) <= ends[1]
    return hits / trials


@RESAMPLE
def test_it_holds_the_true_distance(resample):
    assert cover(Normals(8, 0.3, 1.2), 64, resample, trials=60, rounds=40) >= 0.85


@pytest.mark.slow
@RESAMPLE
@pytest.mark.parametrize('width, count', [(8, 64), (8, 512), (32, 64), (64, 128), (64, 256)])
@pytest.mark.parametrize('shift, scale', [(0, 1), (0.1, 1.1), (0.5, 1.4)])
def test_coverage_is_near_its_level(width, count, shift, scale, resample):
    assert cover(Normals(width, shift, scale), count, resample, trials=100, rounds=50) >= 0.88


@pytest.mark.slow
def test_fewer_clips_than_features_are_covered_where_the_real_ones_stay():
    assert cover(Normals(64, 0.1, 1.1), 40, 'fake', trials=100, rounds=50) >= 0.88


def test_the_percentile_interval_would_not_hold_it():
    assert cover_with_percentiles(Normals(16, 0.1, 1.1), 64, trials=30, rounds=40) < 0.2


@pytest.mark.parametrize('resample, low, high', [('fake', 0.6, 1.0), ('both', 0.85, 1.15)])
def test_its_bias_is_that_of_the_score(resample, low, high):
    normals = Normals(16, 0.3, 1.2)
    rng = np.random.default_rng(0)
    biases, errors = [], []
    for _ in range(60):
        real, fake = normals.draw(rng, 100)
        result = interval(FrechetStatistic(), real, fake, 10, resample=resample)
        biases.append(result.bias)
        errors.append(result.score - normals.distance(None if resample == 'both' else real))
    # A bootstrap sees about three quarters of it, and its interval is wide enough for the rest.
    assert low < np.mean(biases) / np.mean(errors) < high


@pytest.mark.parametrize('count', [50, 51])
def test_halves_give_the_standard_error_of_a_mean(count):
    def difference(real, fake):
        return float(fake.mean() - real.mean())

    real = np.zeros((7, 1))
    fake = np.random.default_rng(0).normal(size=(count, 1))
    result = interval(difference, real, fake, rounds=2000)
    assert result.method == 'halves'
    assert result.standard_error == pytest.approx(fake.std(ddof=1) / count**0.5, rel=0.05)
    assert result.bias == pytest.approx(0, abs=0.01 if count % 2 else 1e-12)
    assert (result.low + result.high) / 2 == pytest.approx(result.score - result.bias)
    both = interval(difference, fake + 1, fake, rounds=2000, resample='both')
    assert both.standard_error == pytest.approx((2 / count) ** 0.5 * fake.std(ddof=1), rel=0.05)


@pytest.mark.parametrize('level', [0.5, 0.9, 0.99])
def test_higher_levels_are_wider(level):
    real, fake = Normals(4, 0.5, 1.5).draw(np.random.default_rng(0), 60)
    narrow = interval(frechet_distance, real, fake, 20, level=level - 0.1)
    wide = interval(frechet_distance, real, fake, 20, level=level)
    assert wide.high - wide.low > narrow.high - narrow.low
    assert wide.level == level
    assert wide.standard_error == narrow.standard_error


@RESAMPLE
def test_it_is_repeatable_and_has_the_score_itself(resample):
    real, fake = Normals(6, 0.5, 1.5).draw(np.random.default_rng(0), 30)
    result = interval(FrechetStatistic('n'), real, fake, 10, seed=1, resample=resample)
    assert result == interval(FrechetStatistic('n'), real, fake, 10, seed=1, resample=resample)
    assert result.low != interval(FrechetStatistic('n'), real, fake, 10, seed=2, resample=resample).low
    assert result.score == pytest.approx(frechet_distance(real, fake, 'n'), rel=1e-7)
    assert result.score_high - result.score_low == pytest.approx(result.high - result.low)
    assert result.score_low <= result.score <= result.score_high


@pytest.mark.parametrize('count, width', [(40, 6), (9, 30)])
@pytest.mark.parametrize('statistic', [
    FrechetStatistic(),
    FrechetStatistic('n'),
    FrechetStatistic(root='tfgan'),
    KernelStatistic(KVD),
    KernelStatistic(JEDI, unbiased=False, factor=100),
], ids=['n-1', 'n', 'tfgan', 'kvd', 'jedi'])  # fmt: skip
def test_shared_work_changes_no_number(statistic, count, width):
    rng = np.random.default_rng(0)
    real, fake = Normals(width, 0.5, 1.5).draw(rng, count)
    real, fake = real + 5, fake + 5
    of_rows = statistic.of_rows(real, fake)
    rows = [(None, rng.permutation(count)[: count // 2]), (rng.permutation(count)[:7], rng.permutation(count)[:5])]
    if statistic.method_of_fake == 'bootstrap':
        rows.append((None, rng.integers(0, count, count)))
    for real_rows, fake_rows in rows:
        expected = Statistic.of_rows(statistic, real, fake)(real_rows, fake_rows)
        assert of_rows(real_rows, fake_rows) == pytest.approx(expected, rel=1e-6)


def test_unbiased_distances_have_no_bias():
    real, fake = Normals(4, 0.5, 1.5).draw(np.random.default_rng(0), 100)
    result = interval(KernelStatistic(KVD), real, fake, 200)
    assert abs(result.bias) < 0.1 * result.standard_error
    plain = interval(lambda a, b: mmd(a, b), real, fake, 200)
    assert plain.high == pytest.approx(result.high)


def test_ends_are_where_a_distance_can_be():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 50, 8))
    result = interval(FrechetStatistic(), *features, 20, resample='both')
    assert result.low == 0
    assert result.high >= 0


def test_a_sample_too_small_for_its_interval_says_so():
    real, fake = Normals(32, 0.5, 1.5).draw(np.random.default_rng(0), 63)
    statistic = FrechetStatistic()
    assert '63 clips, 32 features: below 64' in interval(statistic, real, fake, 4, resample='both').caution
    assert interval(statistic, real, fake, 4).caution == ''
    assert interval(statistic, np.tile(real, (2, 1)), np.tile(fake, (2, 1)), 4, resample='both').caution == ''


@pytest.mark.parametrize('arguments, message', [
    ((FrechetStatistic(), 9, 4), 'fake features: 4 clips; an interval by bootstrap needs 5 or more'),
    ((FrechetStatistic(), 1, 9), 'real features: 1 clips; an interval by bootstrap needs 2 or more'),
    ((FrechetStatistic(), 9, 3, 4, 0.9, 0, 'both'), 'fake features: 3 clips; an interval by halves needs 4 or more'),
    ((KernelStatistic(KVD), 9, 3), 'fake features: 3 clips; an interval by halves needs 4 or more'),
    ((FrechetStatistic(), 9, 9, 3), 'rounds=3, .* want 4 rounds or more'),
    ((FrechetStatistic(), 9, 9, 9, 1.0), 'level=1.0: want .* between 0 and 1'),
])  # fmt: skip
def test_what_has_no_interval_is_refused(arguments, message):
    statistic, num_real, num_fake, *rest = arguments
    with pytest.raises(UserError, match=message):
        interval(statistic, np.ones((num_real, 3)), np.ones((num_fake, 3)), *rest)


@pytest.mark.slow
def test_a_real_size_takes_seconds():
    import time

    real, fake = Normals(400, 0.1, 1.1).draw(np.random.default_rng(0), 2048)
    begin = time.perf_counter()
    interval(FrechetStatistic(), real, fake, 100)
    assert time.perf_counter() - begin < 60


@RESAMPLE
@pytest.mark.parametrize('statistic', [FrechetStatistic('n'), KernelStatistic(JEDI, unbiased=False)], ids=['f', 'jedi'])
def test_equal_frames_of_a_clip_count_as_one_clip(statistic, resample):
    """What they say of a distance is what one of them says, and the interval is no narrower."""
    real, fake = Normals(4, 0.5, 1.2).draw(np.random.default_rng(0), 40)
    one = interval(statistic, real, fake, 20, resample=resample)
    frames = [np.repeat(rows, 8, axis=0) for rows in (real, fake)]
    by_clip = interval(statistic, *frames, 20, resample=resample, rows_per_clip=8)
    for name in ('score', 'low', 'high', 'bias', 'standard_error'):
        assert getattr(by_clip, name) == pytest.approx(getattr(one, name), rel=1e-6, abs=1e-9), name
    by_frame = interval(statistic, *frames, 20, resample=resample)
    assert by_frame.standard_error < 0.8 * by_clip.standard_error


def test_frames_are_counted_by_their_clips():
    rows = np.random.default_rng(0).normal(size=(24, 3))
    with pytest.raises(UserError, match='fake features: 4 clips; an interval by bootstrap needs 5 or more'):
        interval(FrechetStatistic(), rows, rows, rows_per_clip=6)
    with pytest.raises(UserError, match='rows_per_clip=7: 24 rows are not those of whole clips'):
        interval(FrechetStatistic(), rows, rows, rows_per_clip=7)
