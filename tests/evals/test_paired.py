"""Videos beside the true ones: equal ones are perfect, a held frame is the floor, LPIPS where its weights are."""

import numpy as np
import pytest

from tests.evals.draws import draws
from vdm_jax.codecs import lpips
from vdm_jax.codecs.video_vae import VideoVAEConfig
from vdm_jax.data.clip_batches import read_videos
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.errors import UserError
from vdm_jax.evals import runner
from vdm_jax.evals.features.opened import LPIPS, OpenNetwork
from vdm_jax.evals.metrics import FRAME_METRICS
from vdm_jax.evals.paired import Paired
from vdm_jax.evals.protocol import EvaluateConfig
from vdm_jax.models.dit import VideoDiTConfig

SOURCE = BouncingBalls(frames=6, pixels=32, size=40)
HELD_OUT = SOURCE.held_out()
CONFIG = EvaluateConfig(real=7)


def score(videos, open_weights=None, **fields):
    options = {'open_weights': open_weights} if open_weights else {}
    protocol = Paired(**fields)
    return runner.evaluate(protocol, draws(lambda _: videos, 3), SOURCE, HELD_OUT, CONFIG, {'step': 1}, **options)


def true_videos():
    numbers = HELD_OUT.order(7, shuffle=False).ids(0)
    return read_videos(HELD_OUT, numbers)


@pytest.mark.parametrize('context', [0, 2])
def test_the_truth_is_perfect_and_a_held_frame_is_the_floor(context):
    result = score(true_videos(), context=context)
    samples = result.figures['samples']
    assert result.passed and result.name == f'paired7_{6 - context}f'
    assert samples['mse'] == 0 and samples['ssim'] == pytest.approx(1)
    assert {samples[name] for name in ('psnr', 'psnr_low', 'psnr_high')} == {None}
    still = np.repeat(true_videos()[:, max(context - 1, 0) :][:, :1], 6, axis=1)
    held = score(still, context=context)
    assert not held.passed
    for name in ('mse', 'mae', 'ssim'):
        assert held.figures['samples'][name] == pytest.approx(held.figures['frozen'][name])


def test_figures_are_means_over_clips_with_their_intervals_and_curves():
    rng = np.random.default_rng(0)
    true = true_videos()
    videos = np.clip(true.astype(int) + rng.integers(-9, 10, true.shape), 0, 255).astype(np.uint8)
    result = score(videos, context=2)
    for name, metric in FRAME_METRICS.items():
        by_clip = metric(videos[:, 2:], true[:, 2:])
        figures = result.figures['samples']
        assert figures[name] == pytest.approx(by_clip.mean())
        assert figures[f'{name}_low'] <= figures[name] <= figures[f'{name}_high']
    curve = result.settings['curves']['samples']['psnr']
    assert curve['frames'] == [2, 3, 4, 5]
    assert np.mean(curve['mean']) == pytest.approx(result.figures['samples']['psnr'])


def test_batches_change_nothing():
    videos = true_videos()[::-1]
    one, other = (
        runner.evaluate(Paired(context=2), draws(lambda _: videos, size), SOURCE, HELD_OUT, CONFIG, {})
        for size in (2, 7)
    )
    assert other.figures == one.figures


def test_one_equal_clip_makes_the_mean_psnr_infinite_and_its_interval_too():
    videos = true_videos()
    videos[1:] //= 2
    samples = score(videos, context=2).figures['samples']
    assert {samples[name] for name in ('psnr', 'psnr_low', 'psnr_high')} == {None} and samples['mse_low'] > 0


def test_lpips_is_there_where_it_is_wanted():
    backbone = lpips.Backbone('narrow', (2, 2, 2, 2, 2), lpips.VGG16.levels, lpips.VGG16.pooled, 2, 16)
    shapes = lpips.abstract_weights(backbone)
    rng = np.random.default_rng(0)
    weights = {
        layer: {name: rng.random(leaf.shape).astype(np.float32) for name, leaf in leaves.items()}
        for layer, leaves in shapes.items()
    }

    def open_weights(network, name):
        assert isinstance(network, LPIPS) and name == 'mine'
        return OpenNetwork(LPIPS(backbone), weights, name, 'ab' * 32)

    same = score(true_videos(), open_weights, lpips='mine')
    assert (
        same.figures['samples']['lpips'] == pytest.approx(0, abs=1e-6) and same.settings['lpips']['sha256'] == 'ab' * 32
    )
    rows = same.figures
    assert 0 < rows['frozen']['lpips'] < rows['noise']['lpips']
    with pytest.raises(UserError, match='no weights of lpips .mine. are at hand'):
        score(true_videos(), lpips='mine')
    assert 'lpips' not in score(true_videos()).figures['samples']


def test_who_has_no_truth_is_refused():
    assert 'set context' in Paired().refusal(SOURCE, VideoDiTConfig())
    assert Paired().refusal(SOURCE, VideoVAEConfig()) is None
    assert Paired(context=2).refusal(SOURCE, VideoDiTConfig()) is None
    tiny = Synthetic(frames=6, pixels=6, size=40).open()
    with pytest.raises(UserError, match='SSIM wants frames of 7 pixels or more a side; found 6x6'):
        Paired(context=2).open_judge(tiny, tiny, CONFIG)
    with pytest.raises(UserError, match='context=6 leaves nothing to compare of 6 frames'):
        score(true_videos(), context=6)


def test_context_frames_are_those_of_the_clips():
    judge = Paired(context=3).open_judge(SOURCE, HELD_OUT, CONFIG)
    np.testing.assert_array_equal(judge.conditions_of(np.array([4, 1]))['frames'], true_videos()[[4, 1], :3])
    every = Paired().open_judge(SOURCE, HELD_OUT, CONFIG)
    np.testing.assert_array_equal(every.conditions_of(np.arange(2))['frames'], true_videos()[:2])


@pytest.mark.parametrize(('num_real', 'config', 'count'), [(9, 20, 9), (9, 4, 4), (1, 256, 1)])
def test_it_wants_one_video_of_each_real_clip(num_real, config, count):
    assert Paired().count_videos(EvaluateConfig(real=config), num_real) == count
