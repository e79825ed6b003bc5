"""Real clips pass, controls fail, and each figure has the value that can be worked out by hand."""

import dataclasses

import numpy as np
import pytest

from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.evals.negative_controls import make_controls
from vdm_jax.evals.worlds import physics
from vdm_jax.evals.worlds.ball_tracking import track_balls
from vdm_jax.experiment.experiment import read_experiment

WORLD = BouncingBalls()
DEMO = read_experiment('experiments/bouncing_balls.py').data
SIDE = 16
RADIUS = WORLD.radius * 16
G = WORLD.gravity * 16
T = np.arange(8.0)
RED, GREEN, BLUE, YELLOW = range(4)
BAR = (6.0, 10.2)
FALL = np.stack([4 + 0.9 * T, 3 + 0.5 * G * T**2], -1)  # never touches floor or wall
PASSING = np.stack([3 + 1.4 * T, 8 + 0 * T], -1)  # behind the bar and out again


def videos(world, count):
    return np.stack([world[i]['video'] for i in range(count)])


@pytest.fixture(scope='module', params=[WORLD, DEMO], ids=['default', 'demo'])
def world(request):
    return request.param


@pytest.fixture(scope='module')
def real(world):
    return videos(dataclasses.replace(world, split='test'), 128)


@pytest.fixture(scope='module')
def train(world):
    return videos(world, 1000)


@pytest.fixture(scope='module')
def real_figures(world, real, train):
    return physics.measure(real, world, train)


def test_real_clips_pass_every_verdict(real_figures):
    assert real_figures['kept'] == 1.0 and real_figures['clips'] == 128
    assert real_figures['arcs'] > 60 and real_figures['residual_px'] < 0.05
    assert 1 < real_figures['speed_px'] < 2
    assert all(physics.judge(real_figures, real_figures).values())


def test_other_real_clips_pass_too(world, real_figures, train):
    other = videos(dataclasses.replace(world, seed=5), 128)
    assert all(physics.judge(physics.measure(other, world, train), real_figures).values())


@pytest.mark.parametrize(
    ('name', 'failed'),
    [
        ('noise', {'kept', 'residual', 'flicker'}),
        ('frozen', {'speed', 'residual', 'flicker'}),
        ('shuffled', {'kept', 'speed', 'residual'}),
        ('copied', {'nearest_train'}),
    ],
)
def test_every_control_fails(name, failed, world, real, train, real_figures):
    figures = physics.measure(make_controls(real, train)[name], world, train)
    verdict = physics.judge(figures, real_figures)
    assert failed <= {key for key, passed in verdict.items() if not passed}
    if name == 'copied':
        assert figures['nearest_train'] == 0 and sum(not passed for passed in verdict.values()) == 1


def test_slightly_spoilt_clips_are_kept(world, real, real_figures):
    soft = real.astype(np.float32)
    for axis in (2, 3):
        soft = 0.8 * soft + 0.1 * np.roll(soft, 1, axis) + 0.1 * np.roll(soft, -1, axis)
    noise = np.random.default_rng(0).normal(0, 8, soft.shape)
    figures = physics.measure(np.clip(soft + noise, 0, 255).round().astype(np.uint8), world)
    assert figures['kept'] >= 0.95
    assert figures['residual_px'] < 0.1
    verdict = physics.judge({**figures, 'nearest_train': real_figures['nearest_train']}, real_figures)
    assert all(verdict.values())


def test_larger_worlds_are_kept_as_well():
    world = BouncingBalls(frames=16, pixels=32, balls=(1, 3), bar=0.5, split='test')
    figures = physics.measure(videos(world, 64), world)
    assert figures['kept'] == 1.0 and figures['residual_px'] < 0.05


def test_residual_of_a_fall_with_half_as_much_gravity_again(paint):
    path = FALL.copy()
    path[:, 1] = 2.5 + 0.75 * G * T**2 * 0.7  # 1.05 g: stays in the picture for all eight frames
    excess = 0.025 * G
    # The residual of t^2 after a straight line over n frames is sqrt((n^2 - 1)(n^2 - 4) / 180).
    expected = excess * np.sqrt(63 * 60 / 180)
    assert physics.fit_arc(path, G) == pytest.approx(expected)
    path[:, 1] = 2.5 + 0.75 * G * T**2
    assert physics.fit_arc(path[:6], G) == pytest.approx(0.25 * G * np.sqrt(35 * 32 / 180))
    figures = physics.measure(paint(path[:6, None], [RED], RADIUS, SIDE)[None], dataclasses.replace(WORLD, frames=6))
    assert figures['arcs'] == 1
    assert figures['residual_px'] == pytest.approx(0.25 * G * np.sqrt(35 * 32 / 180), abs=0.03)


def test_residual_of_true_flight_is_nothing(paint):
    assert physics.fit_arc(FALL, G) < 1e-12
    figures = physics.measure(paint(FALL[:, None], [BLUE], RADIUS, SIDE)[None], WORLD)
    assert figures['kept'] == 1 and figures['arcs'] == 1 and figures['residual_px'] < 0.05


def test_speed_and_start_spread_of_known_clips(paint):
    paths = [np.stack([start + 0.8 * T, 8 + 0 * T], -1)[:, None] for start in (3.0, 5.0)]
    figures = physics.measure(np.stack([paint(path, [GREEN], RADIUS, SIDE) for path in paths]), WORLD)
    assert figures['speed_px'] == pytest.approx(0.8, abs=0.01)
    assert figures['start_spread_px'] == pytest.approx(1.0, abs=0.02)


def test_bounces_part_the_true_arcs():
    world = dataclasses.replace(WORLD, bar=0.0, split='test')
    for i in range(150):
        truth = world.truth(i)
        for ball in range(len(truth.colours)):
            turned = physics.find_bounces(truth.positions[:, ball], world)
            change = np.abs(np.diff(truth.velocities[:, ball], axis=0) - [0, G]).max(1)
            edges = np.abs(truth.positions[:, ball, 0] - SIDE / 2) - (SIDE / 2 - RADIUS)
            touching = (edges > -0.2) | (truth.positions[:, ball, 1] > SIDE - RADIUS - 0.2)
            # A bounce within 0.2 px of a frame may be counted on either of its sides: both fit.
            clear = ~(touching[1:] | touching[:-1])
            np.testing.assert_array_equal(turned[clear], change[clear] > 1e-6)
    for path in (FALL, FALL[::-1]):
        assert not physics.find_bounces(path, WORLD).any()


def clip_is_kept(video):
    return physics.keeps_balls(track_balls(video, WORLD), WORLD)


def test_a_ball_that_passes_behind_the_bar_is_kept(paint):
    video = paint(PASSING[:, None], [RED], RADIUS, SIDE, BAR)
    assert not track_balls(video, WORLD).seen.all(), 'the bar should hide it'
    assert clip_is_kept(video)


def test_a_ball_that_stays_behind_the_bar_is_lost(paint):
    path = PASSING.copy()
    path[4:, 0] = 8.1
    assert not clip_is_kept(paint(path[:, None], [RED], RADIUS, SIDE, BAR))


def test_a_ball_that_changes_colour_behind_the_bar_is_not_kept(paint):
    before = PASSING.copy()
    after = PASSING.copy()
    before[4:] = np.nan
    after[:4] = np.nan
    assert not clip_is_kept(paint(np.stack([before, after], 1), [RED, GREEN], RADIUS, SIDE, BAR))


def test_a_colour_change_in_mid_flight_is_not_kept(paint):
    video = paint(FALL[:, None], [RED], RADIUS, SIDE)
    assert clip_is_kept(video)
    video[4:] = paint(FALL[:, None], [YELLOW], RADIUS, SIDE)[4:]
    assert not clip_is_kept(video)


def test_balls_may_cross(paint):
    back = PASSING[::-1] + [0, 0.5]
    video = paint(np.stack([PASSING, back], 1), [RED, BLUE], RADIUS, SIDE)
    assert clip_is_kept(video)


@pytest.mark.parametrize('missing_frames', [slice(3, 4), slice(3, 5), slice(0, 2), slice(6, 8)])
def test_a_ball_that_vanishes_in_the_open_is_not_kept(paint, missing_frames):
    path = FALL.copy()
    path[missing_frames] = np.nan
    assert not clip_is_kept(paint(path[:, None], [GREEN], RADIUS, SIDE))


def test_a_ball_that_jumps_is_not_kept(paint):
    path = FALL.copy()
    path[4:] = [13, 3]
    assert not clip_is_kept(paint(path[:, None], [GREEN], RADIUS, SIDE))


def test_a_ball_that_splits_is_not_kept(paint):
    other = FALL.copy()
    other[:4] = np.nan
    other[4:] = [3, 13]
    assert not clip_is_kept(paint(np.stack([FALL, other], 1), [GREEN, GREEN], RADIUS, SIDE))


def test_no_ball_and_too_many_balls_are_not_kept(paint):
    paths = np.stack([0 * FALL + [3, 3], 0 * FALL + [12, 3], 0 * FALL + [8, 12]], 1)
    assert clip_is_kept(paint(paths[:, :2], [RED, GREEN], RADIUS, SIDE))
    assert not clip_is_kept(paint(paths, [RED, GREEN, BLUE], RADIUS, SIDE))
    assert not clip_is_kept(np.zeros(WORLD.shape, np.uint8))


def test_what_could_not_be_measured_passes_no_verdict(real_figures):
    figures = physics.measure(np.zeros((3, *WORLD.shape), np.uint8), WORLD)
    assert figures['arcs'] == 0 and np.isnan(figures['residual_px']) and np.isnan(figures['speed_px'])
    verdict = physics.judge({**figures, 'nearest_train': float('nan')}, real_figures)
    assert not any(verdict.values())
