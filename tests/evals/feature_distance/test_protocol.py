"""Distances of features: what stands in a score, what it hangs on and what not, and what is refused."""

import dataclasses
import json
import tracemalloc

import jax
import numpy as np
import pytest

from tests.evals.feature_distance.small import CONFIG, PARAMS, draw_array, make_clips, open_clips, open_small, score
from tests.evals.features.small_network import Colours
from vdm_jax.data.clip_batches import read_videos
from vdm_jax.data.source import Reader, Source
from vdm_jax.data.video_set import VideoSetReader
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.errors import UserError
from vdm_jax.evals import runner
from vdm_jax.evals.distances.bootstrap import interval
from vdm_jax.evals.distances.frechet import frechet_distance
from vdm_jax.evals.distances.statistic import FrechetStatistic
from vdm_jax.evals.feature_distance import figures as figures_of
from vdm_jax.evals.feature_distance import real
from vdm_jax.evals.feature_distance.protocol import SAME, FeatureDistance
from vdm_jax.evals.features.inception import InceptionFID
from vdm_jax.evals.protocol import EvaluateConfig
from vdm_jax.parallel.mesh import MeshConfig, make_mesh

CONTROLS = ['frozen', 'shuffled', 'reversed', 'noise', 'copied']


@pytest.fixture
def reader(tmp_path):
    return open_clips(tmp_path / 'real.npy', make_clips(10, seed=1))


def features_of(clips):
    return np.asarray(Colours().apply(PARAMS, clips))


def test_a_score_has_samples_halves_and_controls(reader):
    videos = make_clips(12)
    result = score(FeatureDistance(), reader, videos)
    assert list(result.figures) == ['samples', 'real halves', *CONTROLS]
    expected = frechet_distance(features_of(read_videos(reader, range(10))), features_of(videos))
    figures = result.figures['samples']
    assert figures['frechet'] == pytest.approx(expected, rel=1e-4)
    assert figures['frechet_low'] < figures['frechet_high'] and figures['frechet_floor'] > 0
    assert result.figures['real halves']['clips'] == 5 and result.figures['copied']['frechet'] < 1e-9
    assert result.figures['frozen']['clips'] == 10
    assert 'frechet_low' not in result.figures['frozen']
    assert result.name == 'frechet_i3d12_9f' and result.passed and result.verdict == {}
    assert not result.settings['cautions']


def test_controls_are_of_some_of_all_clips_and_not_of_the_first(tmp_path):
    """The first ones would be clips of one video, and as far away as that is from the others."""
    seen = []

    class Watched(VideoSetReader):
        def __getitem__(self, i):
            seen.append(i)
            return super().__getitem__(i)

    reader = Watched(open_clips(tmp_path / 'real.npy', make_clips(40)).source)
    score(FeatureDistance(rounds=0, real=40), reader, make_clips(6), dataclasses.replace(CONFIG, samples=6))
    controls = seen[-6 * 5 :]
    assert len(set(controls)) > 6 and max(controls) > 20
    assert controls[:6] == controls[6:12] != list(range(6)) and len(set(controls[:6])) == 6


def test_no_two_clips_have_the_same_noise(tmp_path, monkeypatch):
    """A set of a few noises over and over would have less spread than noise has."""
    rows = {}
    compute = real.compute_features

    def watch(opened, batches, *options):
        clips = list(batches)
        rows[len(rows)] = np.concatenate(clips)
        return compute(opened, iter(clips), *options)

    monkeypatch.setattr(real, 'compute_features', watch)
    reader = open_clips(tmp_path / 'real.npy', make_clips(40))
    score(FeatureDistance(rounds=0), reader, make_clips(20), EvaluateConfig(samples=20, real=40))
    noise = rows[1 + CONTROLS.index('noise')]
    assert len(noise) == len({clip.tobytes() for clip in noise}) == 20 > real.BATCH


def test_a_score_holds_all_that_it_hangs_on(reader):
    result = score(FeatureDistance(distances=('kvd', 'jedi'), seed=3), reader, make_clips(12))
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert values['distance']['seed'] == 3 and values['distance']['distances'] == ['kvd', 'jedi']
    assert values['distance']['divisor'] == 'n-1' and values['distance']['resize'] == 'half_pixel'
    assert values['network'] == {'name': 'colours', 'weights': 'small', 'sha256': '0' * 64} | dataclasses.asdict(
        Colours()
    )
    assert values['split'] == 'all' and values['real_clips'] == 10
    assert len(values['real_sha256']) == len(values['samples_sha256']) == len(values['real_features_sha256']) == 64
    assert {'kvd', 'kvd_low', 'kvd_high', 'kvd_unbiased', 'jedi'} <= set(values['figures']['samples'])


@pytest.mark.parametrize('distances', [('frechet', 'kvd'), ('inception_score',)])
@pytest.mark.parametrize('batch_size, drawn', [(1, 12), (3, 5), (64, 1)])
def test_batches_change_nothing(reader, batch_size, drawn, distances, monkeypatch):
    protocol = FeatureDistance(distances=distances, rounds=8)
    videos = make_clips(12)
    one = score(protocol, reader, videos)
    monkeypatch.setenv('XDG_CACHE_HOME', '')  # a cache would hold the real clips of the first
    monkeypatch.setenv('HOME', '')
    other = score(protocol, reader, videos, dataclasses.replace(CONFIG, batch_size=batch_size), drawn)
    assert other.settings['samples_sha256'] == one.settings['samples_sha256']
    assert other.settings['real_sha256'] == one.settings['real_sha256']
    for row, figures in one.figures.items():
        assert other.figures[row] == pytest.approx(figures, rel=1e-4, abs=1e-3), row


def test_controls_and_intervals_may_be_left_out(reader):
    result = score(FeatureDistance(controls=False, rounds=0), reader, make_clips(12))
    assert list(result.figures) == ['samples', 'real halves']
    assert list(result.figures['samples']) == ['clips', 'frechet', 'frechet_floor']


def test_real_clips_themselves_are_at_no_distance_and_the_score_says_so(reader):
    clips = read_videos(reader, range(10))
    result = score(FeatureDistance(), reader, clips, dataclasses.replace(CONFIG, samples=10))
    assert result.figures['samples']['frechet'] < 1e-9
    assert result.settings['cautions'] == [SAME] and SAME in runner.format_table(result)


def test_frames_of_a_network_of_frames_count_one_by_one(reader):
    protocol = FeatureDistance(features='inception')
    result = score(protocol, reader, make_clips(1), dataclasses.replace(CONFIG, samples=1, real=1))
    assert result.figures['samples']['clips'] == 1 and result.figures['samples']['frechet'] > 0


def test_intervals_of_frames_are_over_clips(reader):
    """Frames of a clip are alike: drawn one by one they would pass for as many clips."""
    clips = make_clips(10, seed=3)
    clips[:] = clips[:, :1]
    config = dataclasses.replace(CONFIG, samples=10)
    result = score(FeatureDistance(features='inception', divisor='n', controls=False), reader, clips, config)
    figures = result.figures['samples']
    assert any('frames of a clip' in caution for caution in result.settings['cautions'])
    opened = open_small(InceptionFID(), None)
    rows = [np.asarray(opened.network.apply(PARAMS, videos)) for videos in (read_videos(reader, range(10)), clips)]
    expected = interval(FrechetStatistic('n'), rows[0], rows[1][::9], 100)
    assert figures['frechet'] == pytest.approx(expected.score, rel=1e-4)
    assert figures['frechet_low'] == pytest.approx(expected.score_low, rel=1e-3)
    assert figures['frechet_high'] == pytest.approx(expected.score_high, rel=1e-3)


@pytest.mark.parametrize('count', [2, 3])
def test_two_or_three_real_clips_have_no_halves(tmp_path, count):
    few = open_clips(tmp_path / 'few.npy', make_clips(count))
    result = score(FeatureDistance(), few, make_clips(4, seed=2), dataclasses.replace(CONFIG, samples=4))
    assert 'real halves' not in result.figures and result.figures['samples']['frechet'] > 0
    assert any('no interval' in caution for caution in result.settings['cautions'])


@pytest.mark.parametrize('keys, config, message', [
    ({}, {'samples': 1}, 'distances=frechet: wants 2 samples or more, for a covariance; found 1'),
    ({}, {'real': 1}, 'distances=frechet: wants 2 real clips or more, for a covariance; found 1'),
    ({'distances': ('frechet', 'kid')}, {}, 'distances=kid: wants 1000 samples or more, for .*; found 12'),
    ({'distances': ('precision_recall',)}, {'real': 3}, 'distances=precision_recall: wants 4 real clips or more'),
    ({'distances': ('inception_score',)}, {'samples': 9}, 'distances=inception_score: wants 10 samples or more'),
    ({'real': 11}, {}, 'wants 11 real clips; found 10'),
    ({'frames': 10}, {}, 'config.data.frames=9: want 10, 10 of a video'),
    ({'frames': 5, 'stride': 3}, {}, 'config.data.frames=9: want 5 at stride 3, 13 of a video'),
])  # fmt: skip
def test_too_little_is_said_with_both_numbers_before_a_network_runs(reader, keys, config, message, monkeypatch):
    def never(*args, **options):
        raise AssertionError('features were computed')

    monkeypatch.setattr('vdm_jax.evals.feature_distance.real.extract_features', never)
    with pytest.raises(UserError, match=message) as caught:
        score(FeatureDistance(**keys), reader, make_clips(12), dataclasses.replace(CONFIG, **config))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('keys, message', [
    ({'per_clip': 3}, r'context=0: several samples of a clip'),
    ({'pixels': True}, r'context=0'),
    ({'by_trajectory': True}, r'context=0'),
    ({'context': 4, 'frames': 4}, r'frames=4: want more than the 4'),
    ({'context': 4, 'stride': 2}, r'stride=2: where .*context is not 0 want stride=1'),
    ({'context': 4, 'clips': 'random'}, r'clips=random'),
    ({'rounds': 3}, r'rounds=3: want 4 or more, or 0'),
    ({'distances': ('fvd',)}, r'distances=fvd: fvd is among them; want one of frechet'),
])  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(keys, message):
    with pytest.raises(UserError, match=message):
        FeatureDistance(**keys)


def test_weights_are_asked_for_by_the_network_s_own_name_or_the_user_s(reader):
    names_of_weights = []

    def open_weights(network, weights):
        names_of_weights.append((network.name, network.resize, weights))
        return open_small(network, weights)

    score(FeatureDistance(resize='tf_legacy'), reader, make_clips(12), open_weights=open_weights)
    score(FeatureDistance(weights='my.safetensors'), reader, make_clips(12), open_weights=open_weights)
    assert names_of_weights == [('i3d', 'tf_legacy', None), ('i3d', 'half_pixel', 'my.safetensors')]
    with pytest.raises(UserError, match=r'no weights of i3d \(i3d\) are at hand here'):
        runner.evaluate(FeatureDistance(), draw_array(make_clips(12)), reader, reader, CONFIG, {})


def test_random_clips_begin_at_random_frames_always_the_same(tmp_path):
    long = open_clips(tmp_path / 'long.npy', make_clips(10, shape=(30, 6, 8, 3)), frames=9)
    hashes = []
    for seed in (0, 0, 1):
        result = score(FeatureDistance(clips='random', seed=seed, rounds=0), long, make_clips(12))
        hashes.append(result.settings['real_sha256'])
    assert hashes[0] == hashes[1] != hashes[2]
    assert score(FeatureDistance(rounds=0), long, make_clips(12)).settings['real_sha256'] not in hashes


def test_samples_of_classes_go_through_all_of_them(tmp_path):
    source = BouncingBalls(frames=9, pixels=16, size=20)
    reader = source.open()
    seen = []

    def draw(labels, conditions_of, first):
        seen.extend(labels)
        yield read_videos(reader, range(12))

    runner.evaluate(FeatureDistance(rounds=0), draw, reader, reader.held_out(), CONFIG, {}, open_weights=open_small)
    assert seen == [i % reader.num_classes for i in range(12)]


def test_conditions_are_context_frames_and_labels_of_the_clips_that_samples_go_on_from(tmp_path):
    reader = BouncingBalls(frames=9, pixels=16, size=20).open()
    protocol = FeatureDistance(context=4, per_clip=2, real=5)
    judge = protocol.open_judge(reader, reader.held_out(), CONFIG, open_small)
    held_out = reader.held_out()
    numbers = held_out.order(5, shuffle=False).ids(0)
    assert judge.labels.tolist() == [int(held_out[int(i)]['label']) for i in numbers for _ in range(2)]
    frames = judge.conditions_of(np.array([0, 3, 9]))['frames']
    expected = read_videos(held_out, [numbers[0], numbers[1], numbers[4]])[:, :4]
    np.testing.assert_array_equal(frames, expected)


def test_labels_are_read_without_all_clips_in_memory():
    @dataclasses.dataclass(frozen=True)
    class Large(Source):
        @property
        def shape(self):
            return 9, 64, 64, 3

        def open(self):
            return LargeReader(self)

    class LargeReader(Reader):
        num_classes = 3

        def __len__(self):
            return 400

        def draw(self, i, rng):
            return self[i]

        def __getitem__(self, i):
            return {'video': np.full(self.source.shape, i % 256, np.uint8), 'label': np.int32(i % 3)}

        @property
        def shape(self):
            return self.source.shape

        def identity(self):
            return 'large'

    reader = Large().open()
    protocol = FeatureDistance(context=4, controls=False)
    tracemalloc.start()
    protocol.open_judge(reader, reader, EvaluateConfig(real=400, batch_size=4), open_small)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 400 clips are 44 MB; sixteen are read at once, and two batches of them are alive.
    assert peak < 12e6


def test_frames_smaller_than_ssim_s_window_are_one_line(reader):
    with pytest.raises(UserError, match='SSIM wants frames of 7 pixels or more a side; found 6x8'):
        score(FeatureDistance(context=4, per_clip=3, real=4, pixels=True), reader, make_clips(12))


def test_best_of_samples_and_the_mean_over_trajectories(tmp_path):
    truth = make_clips(4, seed=5, shape=(9, 8, 8, 3))
    reader = open_clips(tmp_path / 'truth.npy', truth)
    errors = np.array([[8, 2, 4], [1, 3, 9], [5, 5, 0], [2, 7, 6]])
    videos = np.repeat(truth, 3, 0).astype(int)
    videos[:, 4:] += errors.reshape(-1, 1, 1, 1, 1)
    videos = videos.clip(0, 255).astype(np.uint8)
    protocol = FeatureDistance(context=4, per_clip=3, real=4, by_trajectory=True, pixels=True, rounds=0)
    result = score(protocol, reader, videos)

    each = [frechet_distance(features_of(truth), features_of(videos[number::3])) for number in range(3)]
    figures = result.figures['samples']
    assert figures['frechet'] == pytest.approx(np.mean(each), rel=1e-3)
    assert figures['frechet_std'] == pytest.approx(np.std(each), rel=1e-2)

    # A whole clip of one error has its square as mean squared error; OpenSTL adds over the pixels of a frame.
    pixels = 8 * 8 * 3
    best = np.array([2, 1, 0, 2]) / 255
    assert result.figures['best of 3']['mse'] == pytest.approx(pixels * np.mean(best**2), rel=1e-3)
    assert result.figures['best of 3']['mae'] == pytest.approx(pixels * np.mean(best), rel=1e-3)
    assert result.figures['best of 3']['psnr'] is None or result.figures['best of 3']['psnr'] > 40


@pytest.mark.multidevice
def test_eight_devices_give_what_one_gives(reader, monkeypatch):
    protocol = FeatureDistance(distances=('frechet', 'kvd'), rounds=0)
    one = score(protocol, reader, make_clips(12))
    monkeypatch.setenv('XDG_CACHE_HOME', '')
    monkeypatch.setenv('HOME', '')
    with jax.set_mesh(make_mesh(MeshConfig())):
        eight = score(protocol, reader, make_clips(12))
    for row, figures in one.figures.items():
        assert eight.figures[row] == pytest.approx(figures, rel=1e-4, abs=1e-3), row
    assert eight.settings['real_sha256'] == one.settings['real_sha256']


def peak_of(count, tmp_path):
    """The most memory while `count` videos of 39 kB are scored, as seen by Python's allocator."""
    shape = (9, 40, 36, 3)
    reader = open_clips(tmp_path / 'real.npy', make_clips(8, shape=shape))

    def draw(labels, conditions_of, first):
        for begin in range(first, len(labels), 16):
            yield np.full((16, *shape), begin % 256, np.uint8)

    config = EvaluateConfig(samples=count, batch_size=16)
    protocol = FeatureDistance(controls=False, rounds=0)
    tracemalloc.start()
    runner.evaluate(protocol, draw, reader, reader, config, {}, open_weights=open_small, partial=tmp_path / 'out')
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_scoring_2048_videos_takes_the_memory_of_64(tmp_path):
    peak_of(16, tmp_path)  # what compiles
    few = peak_of(64, tmp_path)
    many = peak_of(2048, tmp_path)
    # All videos are 80 MB, features and hashes of all a quarter of one.
    assert many < few + 1.5e6


@pytest.mark.parametrize(
    'keys',
    [
        {},
        {'rounds': 0},
        {'distances': ('frechet', 'kvd', 'jedi', 'precision_recall', 'density_coverage', 'inception_score')},
        {'distances': ('frechet', 'precision_recall'), 'context': 2, 'per_clip': 2, 'by_trajectory': True},
    ],
    ids=str,
)
def test_the_figures_of_a_score_are_those_that_the_protocol_declares(tmp_path, keys):
    reader = open_clips(tmp_path / 'real.npy', make_clips(24, seed=1))
    protocol = FeatureDistance(controls=False, **{'rounds': 8} | keys)
    result = score(protocol, reader, make_clips(48), EvaluateConfig(samples=48, real=24))
    assert {*result.figures['samples']} == {*protocol.figures}


def test_intervals_over_trajectories_lie_about_the_mean_of_all(tmp_path):
    reader = open_clips(tmp_path / 'real.npy', make_clips(24, seed=1))
    keys = {'distances': ('frechet', 'density_coverage'), 'context': 2, 'per_clip': 3}
    protocol = FeatureDistance(controls=False, rounds=20, by_trajectory=True, **keys)
    videos = make_clips(72)
    figures = score(protocol, reader, videos, EvaluateConfig(real=24)).figures['samples']
    first = FeatureDistance(controls=False, rounds=20, distances=protocol.distances, split='train')
    of_first = score(first, reader, videos[::3], EvaluateConfig(samples=24, real=24)).figures['samples']
    for name in ('frechet', 'density', 'coverage'):
        shift = figures[name] - of_first[name]
        assert figures[f'{name}_low'] == pytest.approx(of_first[f'{name}_low'] + shift), name
        assert figures[f'{name}_unbiased'] == pytest.approx(of_first[f'{name}_unbiased'] + shift), name


def test_the_floor_of_trajectories_is_computed_once(tmp_path, monkeypatch):
    """It hangs on the real clips and on how many samples there are, which is the same for all of them."""
    counts = []
    measure = figures_of.measure_floor

    def watch(rows, count, settings):
        counts.append(count)
        return measure(rows, count, settings)

    monkeypatch.setattr(figures_of, 'measure_floor', watch)
    reader = open_clips(tmp_path / 'real.npy', make_clips(10, seed=1))
    protocol = FeatureDistance(controls=False, rounds=0, context=2, per_clip=4, by_trajectory=True)
    result = score(protocol, reader, make_clips(40), EvaluateConfig(real=10))
    assert counts == [10, 5] and result.figures['samples']['frechet_floor'] > 0
