"""phyworld_velocity_error: the floors of real clips, exact on made motion, and what a ball out of place costs."""

import dataclasses

import numpy as np
import pytest

from tests.evals.draws import draws
from vdm_jax.data.clip_batches import read_videos
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.data.worlds.phyworld import REGIMES, PhyWorld, Truth, draw_balls
from vdm_jax.errors import UserError
from vdm_jax.evals import runner
from vdm_jax.evals.protocol import EvaluateConfig
from vdm_jax.evals.worlds.phyworld import PhyWorldVelocityError
from vdm_jax.evals.worlds.phyworld_errors import measure_errors, read_positions
from vdm_jax.models.dit import VideoDiTConfig

ABOUT = {'step': 7, 'sampler': 'Euler(steps=2)'}
NETWORK = VideoDiTConfig()


def real_clips(world, clips):
    every = [dataclasses.replace(world, split='test', regime=regime) for regime in REGIMES]
    return np.concatenate([read_videos(each, range(clips)) for each in every])


def score(world, videos, clips, **fields):
    protocol = PhyWorldVelocityError(clips=clips, **fields)
    return runner.evaluate(protocol, draws(lambda _: videos), world, world.held_out(), EvaluateConfig(), ABOUT)


@pytest.mark.parametrize(
    ('world', 'convention', 'floor'),
    [
        # Computed by hand from the released code's formulas, at its size; the paper has 0.0099 and 0.0210.
        ('uniform', 'released', 0.0149),
        ('uniform', 'drawn', 0.0115),
        ('parabola', 'drawn', 0.0200),
    ],
)
def test_the_floor_at_the_paper_s_size_is_that_of_its_parser(world, convention, floor):
    source = PhyWorld(world=world, split='test')
    videos = read_videos(source, range(10))
    truths = [source.truth(i) for i in range(10)]
    errors = measure_errors(read_positions(videos, 1), truths, source, 3, convention)
    assert np.nanmean(errors.error) == pytest.approx(floor, rel=0.2)


def test_real_clips_score_their_floor_and_the_held_frame_does_not_pass():
    world = PhyWorld(pixels=32, frames=12)
    result = score(world, real_clips(world, 6), 6)
    assert result.passed and result.name == 'phyworld_velocity_error_uniform6_12f_32px'
    for regime in (*REGIMES, 'out'):
        assert result.figures[regime] == result.figures[f'real {regime}']
        assert result.figures[regime]['over_floor'] == 1
    assert {result.figures['in'][name] for name in ('over_in', 'over_in_low', 'over_in_high')} == {1}
    still = np.repeat(real_clips(world, 6)[:, 2:3], 12, axis=1)
    held = score(world, still, 6)
    assert not held.passed
    assert held.figures['in']['error'] == pytest.approx(held.figures['last frame in']['error'], rel=1e-6)
    # A ball that stands still is wrong by its whole speed.
    speeds = [dataclasses.replace(world, split='test').truth(i).velocities[0, 0, 0] for i in range(6)]
    assert held.figures['in']['bias'] == pytest.approx(np.mean(speeds), abs=0.02)


def test_a_ball_that_is_too_fast_is_wrong_by_as_much_as_it_is():
    frames = 20
    times = np.arange(frames) * 0.1
    true = np.stack([2 + 2.0 * times, np.full(frames, 5.0)], -1)[:, None]
    fast = np.stack([2 + 2.5 * times, np.full(frames, 5.0)], -1)[:, None]
    world = PhyWorld(frames=frames)
    truth = Truth(true, np.zeros_like(true), np.array([1.0]))
    videos = draw_balls(fast, truth.radii, 256, 256)[None]
    errors = measure_errors(read_positions(videos, 1), [truth], world, 3, 'drawn')
    assert errors.bias[0] == pytest.approx(0.5, abs=0.005) and errors.fine_error[0] == pytest.approx(0.5, abs=0.02)
    assert errors.error[0] == pytest.approx(0.5, abs=0.03) and errors.missing[0] == 0


def test_a_ball_that_vanishes_is_taken_to_be_at_the_edge():
    world = PhyWorld(frames=12, pixels=32)
    source = dataclasses.replace(world, split='test')
    videos = read_videos(source, [0])
    videos[:, 6:] = 255
    errors = measure_errors(read_positions(videos, 1), [source.truth(0)], source, 3, 'drawn')
    assert errors.missing[0] == pytest.approx(6 / 9) and errors.error[0] > 1 and np.isfinite(errors.fine_error[0])
    nothing = np.full_like(videos, 255)
    empty = measure_errors(read_positions(nothing, 1), [source.truth(0)], source, 3, 'drawn')
    speed = source.truth(0).velocities[0, 0, 0]
    assert empty.missing[0] == 1 and empty.error[0] == pytest.approx(speed)


def test_two_balls_are_told_apart_by_colour():
    world = PhyWorld(world='collision', pixels=64, frames=16)
    source = dataclasses.replace(world, split='test')
    positions = read_positions(read_videos(source, range(3)), 2)
    for i in range(3):
        truth = source.truth(i).positions[:4]
        x = (positions['fine_centres'][i, :4, :, 0] * 4 + 1.5) / 255 * 10
        np.testing.assert_allclose(x, truth[..., 0], atol=0.03)
    swapped = read_videos(source, range(3))[..., ::-1]
    result = measure_errors(read_positions(swapped, 2), [source.truth(i) for i in range(3)], source, 3, 'drawn')
    assert np.nanmean(result.error) > 1


def test_noise_and_empty_videos_are_scored_without_a_warning(recwarn):
    world = PhyWorld(world='collision', pixels=64, drawn=64, frames=12)
    noise = np.random.default_rng(0).integers(0, 256, (8, 12, 64, 64, 3), np.uint8)
    for videos in (noise, np.zeros_like(noise), np.full_like(noise, 255)):
        result = score(world, videos, 2)
        assert not result.passed and result.figures['in']['error'] is not None
    assert not recwarn.list


def test_it_scores_its_own_worlds_alone():
    protocol = PhyWorldVelocityError()
    assert protocol.is_usual_for(PhyWorld(), NETWORK)
    assert 'not of a BouncingBalls' in protocol.refusal(BouncingBalls(), NETWORK)


@pytest.mark.parametrize(('frames', 'context'), [(4, 2), (12, 11), (12, 40)])
def test_clips_in_which_no_velocity_can_be_scored_are_refused(frames, context):
    world = PhyWorld(pixels=32, frames=frames)
    judge = PhyWorldVelocityError(clips=2, context=context)
    least = max(3, context) + 2
    with pytest.raises(
        UserError, match=f'context={context}: .*found config.data.frames={frames}, want {least} or more'
    ):
        judge.open_judge(world, world.held_out(), EvaluateConfig())
    enough = dataclasses.replace(world, frames=least)
    assert len(judge.open_judge(enough, enough.held_out(), EvaluateConfig()).labels)
