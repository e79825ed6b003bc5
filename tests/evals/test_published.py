"""Published protocols: what each fixes, that nothing of it can be set, and what they want."""

import dataclasses

import numpy as np
import pytest

from tests.evals.feature_distance.small import draw_array, make_clips, open_clips, open_small
from vdm_jax.config.schema import to_dataclass
from vdm_jax.data.clip_batches import read_videos
from vdm_jax.errors import UserError
from vdm_jax.evals import runner
from vdm_jax.evals.feature_distance.protocol import FeatureProtocol
from vdm_jax.evals.feature_distance.settings import DistanceSettings
from vdm_jax.evals.protocol import EvaluateConfig, VideoCut
from vdm_jax.evals.published import PUBLISHED
from vdm_jax.experiment.registry import CHOICES, PROTOCOLS

RANDOM_TRAIN = {'split': 'train', 'clips': 'random', 'frames': 16}
SETTINGS = {
    'fvd2048_16f_styleganv': RANDOM_TRAIN | {'videos': 2048, 'real': 2048, 'resize': 'half_pixel', 'divisor': 'n'},
    'fvd2048_16f_tf': RANDOM_TRAIN | {'videos': 2048, 'real': 2048, 'resize': 'tf_legacy', 'root': 'tfgan'},
    'fvd2048_128f_subsample8f': RANDOM_TRAIN
    | {'videos': 2048, 'real': 2048, 'stride': 8, 'resize': 'half_pixel', 'divisor': 'n'},
    'kvd2048_16f': RANDOM_TRAIN | {'videos': 2048, 'real': 2048, 'distances': ('kvd',), 'resize': 'half_pixel'},
    'bair_100x256': {'real': 256, 'frames': 16, 'context': 1, 'per_clip': 100, 'resize': 'tf_legacy'},
    'k600_50k': {'real': 50_000, 'frames': 16, 'context': 5, 'resize': 'tf_legacy'},
    'is_ucf_10k': RANDOM_TRAIN | {'videos': 10_000, 'real': 2048, 'features': 'c3d', 'distances': ('inception_score',)},
    'fid50k_frames': RANDOM_TRAIN | {'videos': 3125, 'real': 3125, 'features': 'inception'},
    'mcvd_100x256': {
        'real': 256,
        'context': 5,
        'per_clip': 100,
        'by_trajectory': True,
        'pixels': True,
        'resize': 'half_pixel',
    },
}
DISTANCES = sorted(SETTINGS)
# How many videos each wants.
COUNTS = {
    'bair_100x256': 25_600, 'mcvd_100x256': 25_600, 'k600_50k': 50_000, 'is_ucf_10k': 10_000, 'fid50k_frames': 3125,
}  # fmt: skip
OPEN_KEYS = {'weights', 'controls', 'rounds'}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))


def test_every_published_name_is_a_protocol():
    assert set(PUBLISHED) <= set(PROTOCOLS) and set(PUBLISHED) == {*SETTINGS, 'openstl_mmnist'}


@pytest.mark.parametrize('name', DISTANCES)
def test_settings_are_the_published_ones(name):
    protocol = PUBLISHED[name]()
    assert isinstance(protocol, FeatureProtocol)
    assert protocol.settings == DistanceSettings(**SETTINGS[name]) and protocol.title == name
    assert protocol.settings.network.name == SETTINGS[name].get('features', 'i3d')


@pytest.mark.parametrize('name', PUBLISHED)
def test_none_of_its_settings_can_be_set(name):
    own = {field.name for field in dataclasses.fields(PUBLISHED[name])}
    # What differs by data set, and whether LPIPS stands beside SSIM.
    of_mcvd = {'context', 'lpips'} if name == 'mcvd_100x256' else set()
    assert own <= OPEN_KEYS | of_mcvd and of_mcvd <= own
    for key, value in (('resize', 'half_pixel'), ('divisor', 'n'), ('videos', 10), ('real', 10), ('seed', 1)):
        group = {'protocol': {'name': name, key: value}}
        with pytest.raises(UserError, match=rf'config\.evaluate\.protocol\.{key}: no such key'):
            to_dataclass(EvaluateConfig, group, CHOICES, 'config.evaluate')


@pytest.mark.parametrize('name', DISTANCES)
def test_of_videos_the_beginning_counts_where_their_number_is_published(name):
    protocol = PUBLISHED[name]()
    span = {'fvd2048_128f_subsample8f': 121}.get(name, 16)
    assert protocol.cut_videos() == VideoCut(span, 'first')
    assert protocol.count_videos(EvaluateConfig(), 10**6) == COUNTS.get(name, 2048)


@pytest.mark.parametrize('name', DISTANCES)
def test_too_few_real_clips_are_said_with_both_numbers(name, tmp_path):
    reader = open_clips(tmp_path / 'real.npy', make_clips(3, shape=(16, 8, 8, 3)))
    wanted = SETTINGS[name]['real']
    with pytest.raises(UserError, match=f'wants {wanted} real clips; found 3'):
        runner.evaluate(PUBLISHED[name](), draw_array(()), reader, reader, EvaluateConfig(), {})


def shrink(name, **fewer):
    """A published protocol of fewer clips, as thousands take minutes."""
    cls = PUBLISHED[name]

    class Small(cls):
        settings = dataclasses.replace(cls().settings, **fewer)

    return Small(rounds=0)


def make_moving(count, frames, seed=0):
    """Clips whose frame t is of value t."""
    clips = make_clips(count, seed, (frames, 8, 8, 3)) // 4
    return (clips + np.arange(frames).reshape(-1, 1, 1, 1)).astype(np.uint8)


@pytest.mark.parametrize('name', DISTANCES)
def test_a_score_bears_its_name_and_settings(name, tmp_path):
    settings = PUBLISHED[name]().settings
    small = {'real': 10} | ({'videos': 12} if settings.videos else {'per_clip': min(3, settings.per_clip)})
    reader = open_clips(tmp_path / 'real.npy', make_moving(10, max(settings.span, 16)))
    videos = make_moving(30, max(settings.span, 16), seed=1)
    options = {'partial': None, 'open_weights': open_small}
    protocol = shrink(name, **small)
    score = runner.evaluate(protocol, draw_array(videos), reader, reader, EvaluateConfig(), {}, **options)
    assert score.name == name
    stated = {key: tuple(each) if isinstance(each, list) else each for key, each in score.settings['distance'].items()}
    assert stated == dataclasses.asdict(protocol.settings)
    (distance,) = settings.distances
    assert np.isfinite(score.figures['samples'][distance])
    assert score.settings['samples'] == protocol.count_videos(EvaluateConfig(), 10)
    assert ('frechet_std' in score.figures['samples']) == ('best of 3' in score.figures) == (name == 'mcvd_100x256')


def test_subsampling_takes_every_eighth_frame(tmp_path):
    reader = open_clips(tmp_path / 'real.npy', make_moving(10, 128))
    protocol = shrink('fvd2048_128f_subsample8f', real=10, videos=10)
    judge = protocol.open_judge(reader, reader, EvaluateConfig(), open_small)
    videos = make_moving(10, 128)
    everything = judge.measure(np.arange(10), videos)
    changed = videos.copy()
    changed[:, np.arange(128) % 8 != 0] = 0
    changed[:, 121:] = 255
    np.testing.assert_array_equal(judge.measure(np.arange(10), changed)['features'], everything['features'])
    changed[:, 120] = 255
    assert (judge.measure(np.arange(10), changed)['features'] != everything['features']).all()


def test_samples_of_bair_go_on_from_the_first_frame_of_each_test_clip(tmp_path):
    reader = open_clips(tmp_path / 'real.npy', make_moving(5, 16))
    judge = shrink('bair_100x256', real=5, per_clip=3).open_judge(reader, reader, EvaluateConfig(), open_small)
    assert len(judge.labels) == 15
    frames = judge.conditions_of(np.arange(15))['frames']
    np.testing.assert_array_equal(frames, np.repeat(read_videos(reader, range(5)), 3, 0)[:, :1])
