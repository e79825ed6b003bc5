"""Physics-IQ on our own worlds: who sees the future scores 100, floors do not, and two takes differ in detail alone."""

import json

import numpy as np
import pytest

from tests.evals.draws import draws
from vdm_jax.codecs.video_vae import VideoVAEConfig
from vdm_jax.data.clip_batches import read_videos
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.errors import UserError
from vdm_jax.evals import runner
from vdm_jax.evals.physics_iq.protocol import PhysicsIQ
from vdm_jax.evals.physics_iq.takes import enlarge, make_second_take
from vdm_jax.evals.protocol import EvaluateConfig

SOURCE = BouncingBalls(frames=8, pixels=16, size=100)
CONFIG = EvaluateConfig(real=6)
PROTOCOL = PhysicsIQ(per_clip=2, side=64)
ABOUT = {'step': 7, 'sampler': 'Euler(steps=2)'}
ROWS = ['samples', 'take 2', 'copy last frame', 'shuffled', 'noise']


@pytest.fixture(scope='module')
def future():
    return np.repeat(read_videos(SOURCE.open().held_out(), range(6)), 2, axis=0)


def score(draw, protocol=PROTOCOL):
    reader = SOURCE.open()
    return runner.evaluate(protocol, draws(draw), reader, reader.held_out(), CONFIG, ABOUT)


@pytest.fixture(scope='module')
def result(future):
    return score(lambda conditions: future)


def test_the_true_future_is_perfect(result):
    assert result.passed and list(result.figures) == ROWS
    assert result.name == 'physics_iq_released_e457754_3to5_n2_6'
    assert result.figures['samples'] == {'spatial': 1, 'spatiotemporal': 1, 'weighted': 1, 'mse': 0, 'score': 100}


def test_the_second_take_is_the_ceiling_and_floors_lie_below(result):
    rows = result.figures
    assert rows['take 2']['score'] == 100
    assert all(0.5 < rows['take 2'][name] < 0.99 for name in ('spatial', 'spatiotemporal', 'weighted'))
    assert rows['take 2']['score'] > rows['shuffled']['score'] > rows['copy last frame']['score']
    assert rows['noise']['score'] < 20 and rows['copy last frame']['spatial'] == 0
    assert rows['shuffled']['spatial'] > 0.9, 'where things move is seen, and not when'
    assert rows['shuffled']['spatiotemporal'] < rows['take 2']['spatiotemporal']


def test_a_score_holds_its_settings_and_curves(result):
    values = result.to_json()
    json.dumps(values, allow_nan=False)
    assert values['second_take'] == {'shift_px': 0.5, 'noise': 2, 'seed': 0}
    assert values['mask_frames'] == [64, 64] and values['real_changing'] > 0.02
    curve = values['curves']['take 2']['spatiotemporal']
    assert curve['frames'] == [2, 3, 4, 5, 6, 7] and curve['mean'][0] == 1
    assert set(values['curves']['samples']) == {'spatiotemporal', 'mse'}
    assert values['curves']['samples']['mse']['clips'] == 12


@pytest.mark.parametrize('wrong', ['copy', 'shuffle', 'noise'])
def test_floors_do_not_pass(wrong, future):
    def draw(conditions):
        frames = conditions['frames']
        assert frames.shape[1] == 3
        rest = {
            'copy': np.repeat(frames[:, -1:], 5, axis=1),
            'shuffle': future[:, [5, 7, 3, 6, 4]],
            'noise': np.random.default_rng(3).integers(0, 256, (12, 5, 16, 16, 3), np.uint8),
        }[wrong]
        return np.concatenate([frames, rest], axis=1)

    assert not score(draw).passed


def test_samples_of_a_clip_are_held_against_their_own(future):
    swapped = score(lambda _: future[::-1])
    assert swapped.figures['samples']['score'] < 40


def test_takes_differ_in_detail_that_is_seeded(future):
    take = make_second_take(future, seed=1)
    assert take.shape == future.shape and take.dtype == np.uint8
    np.testing.assert_array_equal(take, make_second_take(future, seed=1))
    assert not np.array_equal(take, make_second_take(future, seed=2))
    np.testing.assert_array_equal(make_second_take(future, shift=0, noise=0), future)
    grey = np.full((2, 4, 24, 24, 3), 128, np.uint8)
    assert make_second_take(grey, noise=2).std() == pytest.approx(2, abs=0.1)


def test_the_camera_is_moved_by_the_same_in_all_frames():
    x = np.arange(40, dtype=np.float64)
    ramp = np.broadcast_to((4 * x)[None, None, None, :, None], (3, 5, 40, 40, 1)).astype(np.uint8)
    moved = make_second_take(ramp, seed=0, shift=3, noise=0).astype(float)
    shift = (ramp - moved)[:, :, :, 5:-5].mean((2, 3, 4)) / 4
    assert (np.abs(shift) <= 3.2).all() and len(set(shift[:, 0])) == 3
    np.testing.assert_allclose(shift, shift[:, :1].repeat(5, 1))


def test_small_frames_are_enlarged_by_a_whole_factor():
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, 10, 14, 3), np.uint8)
    large = enlarge(clips, 25)
    assert large.shape == (2, 3, 30, 42, 3)
    np.testing.assert_array_equal(large[:, :, ::3, 1::3], clips)
    assert enlarge(clips, 10) is clips and enlarge(clips, 1) is clips


def test_what_cannot_be_scored_is_refused_in_a_line():
    reader = SOURCE.open()
    with pytest.raises(
        UserError, match=r'^config\.evaluate\.protocol\.context=8 leaves nothing to predict of 8 frames'
    ):
        PhysicsIQ(context=8).make_conditions(reader, reader.held_out(), CONFIG)
    with pytest.raises(UserError, match=r'^config\.evaluate\.protocol\.noise='):
        PhysicsIQ(noise=-1)
    assert PROTOCOL.refusal(reader, VideoVAEConfig())
