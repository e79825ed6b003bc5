"""Real shadows pass; shadows that are missing, mirrored, shuffled or shaky show by as much as they are."""

import dataclasses

import numpy as np
import pytest

from vdm_jax.data.clip_batches import read_videos
from vdm_jax.data.worlds.shadowed_balls import ShadowedBalls
from vdm_jax.evals.protocol import EvaluateConfig
from vdm_jax.evals.worlds import shadows
from vdm_jax.evals.worlds.ball_tracking import Tracks, remove_grey, track_balls

WORLD = ShadowedBalls(size=64)
TEST = dataclasses.replace(WORLD, split='test')


@pytest.fixture(scope='module')
def score():
    unseen = dataclasses.replace(TEST, seed=1)
    config = EvaluateConfig(samples=16, real=24, train=64)
    return shadows.ShadowPhysics().score(read_videos(unseen, range(16)), None, WORLD, TEST, config)


def missed_verdicts(score, row):
    return {name for name, good in shadows.judge(score.figures[row], score.figures['real']).items() if not good}


def test_real_clips_pass(score):
    assert score.name == 'balls16_16f_shadow' and all(score.verdict.values()) and not missed_verdicts(score, 'real')
    for row in ('samples', 'real'):
        figures = score.figures[row]
        assert figures['shadows'] > 100 and figures['shadow'] > 0.97 and figures['shadow_residual_px'] < 0.15
        assert figures['light_px'] == pytest.approx(0.65 * WORLD.light * WORLD.pixels, rel=0.2)
        assert figures['residual_px'] < 0.05, 'the ground does not disturb the balls'


def test_controls_miss(score):
    assert score.figures['unlit']['shadow'] == 0
    for row in ('unlit', 'mirrored', 'shadows_shuffled'):
        assert {'shadow', 'shadow_residual'} <= missed_verdicts(score, row) <= {'shadow', 'shadow_residual', 'light'}
    assert 'shadow_residual' in missed_verdicts(score, 'beneath'), 'shadows that follow the balls alone'
    assert missed_verdicts(score, 'resting') == {'light'} and score.figures['resting']['light_px'] < 0.1
    assert 'speed' in missed_verdicts(score, 'frozen') and {'kept', 'residual'} <= missed_verdicts(score, 'shuffled')
    assert {'kept', 'shadow', 'shadow_residual'} <= missed_verdicts(score, 'noise')


def exact(truth):
    """Tracks and shadows as they truly are."""
    ones = np.ones(truth.positions.shape[:2])
    return truth.shadows, Tracks(truth.colours, truth.positions, ones, 0 * ones, None)


OTHERS = {'still': {'light': 0.0, 'balls': (2, 2)}, 'wide': {'pixels': '24x40'}, 'high': {'pixels': '40x24'}}


@pytest.mark.parametrize('world', [dataclasses.replace(TEST, **OTHERS.get(each, {})) for each in ('moving', *OTHERS)])
def test_the_light_is_found_from_balls_and_shadows(world):
    judged = 0
    for i in range(20):
        truth = world.truth(i)
        seen, tracks = exact(truth)
        _, offsets = shadows.fit_speed_and_offsets(seen, tracks, world)
        if len(offsets) < 8:  # where shadows overlap through most of a clip, little is known of its light
            continue
        judged += 1
        assert offsets.max() < 0.01
        x, y, speed = shadows.fit_light(seen, tracks, world)
        path = np.stack([x + speed * np.arange(world.frames), np.full(world.frames, y)], -1)
        np.testing.assert_allclose(path, truth.light, atol=0.1)
    assert judged > 12


def test_shadows_are_found_where_they_are():
    errors = []
    for i in range(15):
        truth = TEST.truth(i)
        video = TEST[i]['video']
        tracks = track_balls(remove_grey(video), TEST)
        detected = shadows.find_shadows(video, TEST)
        clear = shadows.find_clear_shadows(truth.shadows, truth.widths, tracks, TEST) if len(truth.colours) == 1 else []
        errors += [np.abs(detected[t] - truth.shadows[t, n]).min() for t, n in np.argwhere(clear)]
    assert len(errors) > 50 and max(errors) < 0.1


class Shaky(ShadowedBalls):
    def _cast_shadows(self, positions, light):
        centres, widths = super()._cast_shadows(positions, light)
        shake = np.where(np.arange(len(centres)) % 2, 1, -1) / self.pixels
        return centres + shake[:, None], widths


class EverySecond(ShadowedBalls):
    def _cast_shadows(self, positions, light):
        centres, widths = super()._cast_shadows(positions, light)
        return np.where(np.arange(len(centres))[:, None] % 2, centres, -9), widths


def test_shadows_that_shake_by_a_pixel_leave_a_pixel():
    world = Shaky(**vars(dataclasses.replace(TEST, balls=(1, 1))))
    figures = shadows.measure(read_videos(world, range(16)), TEST)
    assert figures['shadow_residual_px'] == pytest.approx(1, abs=0.1) and figures['shadow'] > 0.9


def test_half_of_the_shadows_are_half():
    world = EverySecond(**vars(dataclasses.replace(TEST, balls=(1, 1))))
    figures = shadows.measure(read_videos(world, range(16)), TEST)
    assert figures['shadow'] == pytest.approx(0.5, abs=0.05) and figures['shadow_residual_px'] < 0.1
