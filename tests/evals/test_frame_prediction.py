"""Frames to predict: who sees the future is perfect, who holds the last frame is the floor, and names say the task."""

import dataclasses
import gzip
import json
import struct

import numpy as np
import pytest

from vdm_jax.build import PROTOCOLS, experiment_from
from vdm_jax.data.bouncing_balls import BouncingBalls
from vdm_jax.data.clips import stack
from vdm_jax.data.mixture import Mixture
from vdm_jax.data.moving_mnist import MovingMNIST
from vdm_jax.data.synthetic import Synthetic
from vdm_jax.errors import UserError
from vdm_jax.evals import runner
from vdm_jax.evals.protocols import EvaluateConfig
from vdm_jax.run import Run

CONFIG = EvaluateConfig(real=6, per_clip=3, context=4)
ABOUT = {'step': 7, 'sampler': 'Euler(steps=2)'}


@pytest.fixture
def source(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    content = struct.pack('>4I', 2051, *images.shape) + images.tobytes()
    (tmp_path / 't10k-images-idx3-ubyte.gz').write_bytes(gzip.compress(content))
    return MovingMNIST(str(tmp_path), pixels=40, frames=10, size=50, test_size=30).open()


def score(source, draw, config=CONFIG):
    held_out = source.held_out()
    return runner.evaluate(PROTOCOLS['frame_prediction'], draw, source, held_out, config, ABOUT)[0]


def future(source):
    """The truth, each clip as often as it is asked for."""
    return np.repeat(stack(source.held_out(), range(6)), 3, axis=0)


def test_the_first_frames_of_held_out_clips_are_given_and_only_those(source):
    asks = PROTOCOLS['frame_prediction'].asks(source, source.held_out(), CONFIG)
    assert set(asks) == {'label', 'frames'} and asks['label'].tolist() == [0] * 18 and asks['label'].dtype == np.int32
    np.testing.assert_array_equal(asks['frames'], future(source)[:, :4])
    assert asks['frames'].dtype == np.uint8


def test_who_sees_the_future_is_perfect(source):
    found = score(source, lambda asks: future(source))
    assert found['passed'] and found['name'] == 'mmnist-t10k-16-4-40px_4to6_n3_6'
    assert list(found['figures']) == ['one sample', 'mean of 3', 'best of 3', 'copy last frame', 'mean picture']
    for row in ('one sample', 'mean of 3', 'best of 3'):
        assert found['figures'][row] == {'mse': 0.0, 'mae': 0.0, 'ssim': pytest.approx(1.0), 'psnr': None}
    json.dumps(found, allow_nan=False)
    assert 'beats_copy ok  beats_mean ok' in runner.table(found)
    assert (found['split'], found['context'], found['per_clip'], found['real_clips']) == ('test', 4, 3, 6)


def test_holding_the_last_known_frame_is_the_floor_and_does_not_pass(source):
    def held(asks):
        return np.concatenate([asks['frames'], np.repeat(asks['frames'][:, -1:], 6, axis=1)], axis=1)

    found = score(source, held)
    assert found['figures']['one sample'] == pytest.approx(found['figures']['copy last frame'])
    assert not found['passed']


def test_a_black_screen_does_not_pass(tmp_path):
    """Where little is lit, black is nearer to the truth than the last known frame is."""
    images = np.zeros((20, 28, 28), np.uint8)
    images[:, 10:18, 12:16] = 255
    content = struct.pack('>4I', 2051, *images.shape) + images.tobytes()
    (tmp_path / 't10k-images-idx3-ubyte').write_bytes(content)
    found = score(
        MovingMNIST(str(tmp_path), frames=10, test_size=30).open(), lambda asks: np.zeros((18, 10, 64, 64, 1), np.uint8)
    )
    assert found['verdict'] == {'beats_copy': True, 'beats_mean': False}


def test_the_mean_picture_with_a_little_of_the_last_frame_does_not_pass(source):
    def blend(asks):
        mean, last = asks['frames'].mean((0, 1)), asks['frames'][:, -1:]
        ahead = np.rint(0.9 * mean + 0.1 * np.repeat(last, 6, axis=1)).astype(np.uint8)
        return np.concatenate([asks['frames'], ahead], axis=1)

    found = score(source, blend)
    floors = [found['figures'][row]['mse'] for row in ('copy last frame', 'mean picture')]
    assert found['figures']['one sample']['mse'] < min(floors), 'nearer than both, without a network'
    assert found['verdict'] == {'beats_copy': True, 'beats_mean': False}


def test_clips_of_a_mixture_are_those_of_its_sources_in_their_shares():
    balls = BouncingBalls(frames=6, pixels=16, size=40)
    mixed = Mixture((balls, dataclasses.replace(balls, seed=1)), (1, 2)).open()
    held_out = mixed.held_out()
    config = EvaluateConfig(real=30, per_clip=1, context=2)
    asks = PROTOCOLS['frame_prediction'].asks(mixed, held_out, config)
    known = {held_out[i]['video'][:2].tobytes(): i for i in range(len(held_out))}
    ids = np.array([known[clip.tobytes()] for clip in asks['frames']])
    first = (ids < len(held_out.readers[0])).sum()
    assert len(set(ids)) == 30 and 4 <= first <= 16
    clips = stack(held_out, ids)
    found = runner.evaluate(PROTOCOLS['frame_prediction'], lambda _: clips, mixed, held_out, config, ABOUT)[0]
    assert found['passed'] and found['name'] == 'mixture_2to4_n1_30' and found['split'] == 'test'


def test_a_score_on_clips_of_training_says_so():
    for source in (noise := Synthetic(frames=4, pixels=8, size=5), Mixture((noise, noise))):
        clips = source.open()
        held_out, config = clips.held_out(), EvaluateConfig(real=5, per_clip=1, context=2)

        def draw(asks):
            return np.zeros((5, *noise.shape), np.uint8)

        found = runner.evaluate(PROTOCOLS['frame_prediction'], draw, clips, held_out, config, ABOUT)[0]
        assert found['name'] == f'{type(source).__name__.lower()}-train_2to2_n1_5' and found['split'] == 'all'


def test_one_right_guess_of_three_is_found_by_best_of_three_alone(source):
    guesses = future(source)
    guesses[0::3, 4:] = 0
    guesses[1::3, 4:] = 255
    figures = score(source, lambda asks: guesses)['figures']
    assert figures['best of 3']['mse'] == 0 < figures['mean of 3']['mse'] < figures['one sample']['mse']


def test_known_frames_are_not_scored(source):
    spoilt = future(source)
    spoilt[:, :4] = 0
    assert score(source, lambda asks: spoilt)['figures']['one sample']['mse'] == 0


def test_the_name_says_which_motion(source):
    found = score(dataclasses.replace(source.source, motion='stochastic').open(), lambda asks: future(source))
    assert found['name'] == 'smmnist-t10k-16-4-40px_4to6_n3_6'


def test_it_is_moving_mnist_s_usual_protocol_and_needs_frames_to_predict(source):
    run = Run(experiment_from({'data': {'source': 'moving_mnist', 'path': source.source.path}}))
    assert run.protocol() is PROTOCOLS['frame_prediction']
    with pytest.raises(UserError, match='config.evaluate.context=10'):
        score(source, lambda asks: future(source), dataclasses.replace(CONFIG, context=10))
