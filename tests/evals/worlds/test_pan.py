"""Real pans pass; walls that stand, jump, or pan ever faster show by as much as they do."""

import dataclasses

import numpy as np
import pytest

from vdm_jax.data.clip_batches import read_videos
from vdm_jax.data.worlds.panned_balls import PannedBalls
from vdm_jax.evals.protocol import EvaluateConfig
from vdm_jax.evals.worlds import pan

WORLD = PannedBalls(size=64)
TEST = dataclasses.replace(WORLD, split='test')
SIDE = WORLD.pixels


@pytest.fixture(scope='module')
def score():
    unseen = dataclasses.replace(TEST, seed=1)
    config = EvaluateConfig(samples=16, real=24, train=64)
    return pan.PanPhysics().score(read_videos(unseen, range(16)), None, WORLD, TEST, config)


def missed_verdicts(score, row):
    return {name for name, good in pan.judge(score.figures[row], score.figures['real']).items() if not good}


def test_real_clips_pass(score):
    assert score.name == 'balls16_16f_pan' and all(score.verdict.values()) and not missed_verdicts(score, 'real')
    for row in ('samples', 'real'):
        figures = score.figures[row]
        assert figures['wall'] == 1 and figures['pan_residual_px'] < 0.03 and figures['kept'] == 1
        assert figures['residual_px'] < 0.05, 'in the room, flights are free'


def test_controls_miss(score):
    assert score.figures['wall_held']['pan_px'] < 0.01 and 'pan' in missed_verdicts(score, 'wall_held')
    assert {'pan_residual', 'residual', 'kept'} <= missed_verdicts(score, 'wall_shuffled')
    assert {'pan', 'speed'} <= missed_verdicts(score, 'frozen')
    assert {'pan_residual', 'kept'} <= missed_verdicts(score, 'shuffled')
    assert {'wall', 'kept'} <= missed_verdicts(score, 'noise')


def test_the_camera_is_found_where_it_is():
    for i in range(20):
        camera, correlation = pan.find_camera(TEST[i]['video'], TEST)
        np.testing.assert_allclose(camera, TEST.truth(i).camera, atol=0.05)
        assert correlation.min() > 0.99


class Faster(PannedBalls):
    """The wall pans with an acceleration of 0.03 px per frame^2, from the middle of the clip outwards."""

    def _draw_backdrop(self, positions, setting):
        t = np.arange(self.frames) - (self.frames - 1) / 2
        left = setting.path(self.frames) + 0.5 * 0.03 / self.pixels * (t**2 - 20)
        return self.back_wall(left)[:, None]


def test_a_camera_that_speeds_up_leaves_what_a_parabola_leaves_of_a_line():
    world = Faster(**vars(TEST))
    inside = [i for i in range(60) if 1 < TEST.truth(i).camera.min() and TEST.truth(i).camera.max() < 32 * 0.6 - 1]
    figures = pan.measure(read_videos(world, inside[:8]), TEST)
    # As in test_physics: the residual of t^2 after a straight line over n frames is sqrt((n^2 - 1)(n^2 - 4) / 180).
    assert figures['pan_residual_px'] == pytest.approx(0.015 * np.sqrt(255 * 252 / 180), abs=0.01)
    real = pan.measure(read_videos(TEST, inside[:8]), TEST)
    assert figures['pan_px'] == pytest.approx(real['pan_px'], abs=0.01)
    # The balls did not: in the room of that wall they swerve sideways.
    assert figures['residual_px'] > 5 * real['residual_px']


def test_paler_walls_are_found_and_none_is_not():
    video = TEST[3]['video']
    wall = np.ptp(video, axis=-1, keepdims=True) == 0
    pale = np.where(wall, (0.7 * video + 20).astype(np.uint8), video)
    np.testing.assert_allclose(pan.find_camera(pale, TEST)[0], TEST.truth(3).camera, atol=0.1)
    none = np.where(wall, 0, video).astype(np.uint8)
    camera, correlation = pan.find_camera(none, TEST)
    assert np.isnan(camera).all() or correlation.max() < pan.LIKE
    figures = pan.measure(np.zeros((2, *TEST.shape), np.uint8), TEST)
    assert figures['wall'] == 0 and np.isnan(figures['pan_px']) and np.isnan(figures['pan_residual_px'])
    verdict = pan.judge(figures | {'nearest_train': 0.0}, figures | {'nearest_train': 0.0, 'pan_px': 1.0})
    assert not any(verdict[name] for name in ('wall', 'pan', 'pan_residual'))
