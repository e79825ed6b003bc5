"""Frames to predict: who sees the future is perfect, who holds the last frame is the floor, and names say the task."""

import dataclasses
import gzip
import json
import struct

import numpy as np
import pytest

from tests.evals.draws import draws
from vdm_jax.data.clip_batches import read_videos
from vdm_jax.data.mixture import Mixture
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.data.worlds.moving_mnist import MovingMNIST
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.errors import UserError
from vdm_jax.evals import runner
from vdm_jax.evals.frame_prediction import FramePrediction, measure_floors, measure_samples
from vdm_jax.evals.protocol import EvaluateConfig
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run

CONFIG = EvaluateConfig(real=6)
PROTOCOL = FramePrediction(context=4, per_clip=3)
ABOUT = {'step': 7, 'sampler': 'Euler(steps=2)'}


@pytest.fixture
def source(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    content = struct.pack('>4I', 2051, *images.shape) + images.tobytes()
    (tmp_path / 't10k-images-idx3-ubyte.gz').write_bytes(gzip.compress(content))
    return MovingMNIST(str(tmp_path), pixels=40, frames=10, size=50, test_size=30).open()


def score(source, draw, protocol=PROTOCOL):
    held_out = source.held_out()
    return runner.evaluate(protocol, draws(draw), source, held_out, CONFIG, ABOUT)


def future(source):
    """The truth, each clip as often as it is sampled."""
    return np.repeat(read_videos(source.held_out(), range(6)), 3, axis=0)


def test_the_first_frames_of_held_out_clips_are_known_and_only_those(source):
    conditions = PROTOCOL.make_conditions(source, source.held_out(), CONFIG)
    assert set(conditions) == {'label', 'frames'}
    assert conditions['label'].tolist() == [0] * 18 and conditions['label'].dtype == np.int32
    np.testing.assert_array_equal(conditions['frames'], future(source)[:, :4])
    assert conditions['frames'].dtype == np.uint8


def test_the_true_future_has_a_perfect_score(source):
    result = score(source, lambda _: future(source))
    assert result.passed and result.name == 'mmnist-t10k-16-4-40px_4to6_n3_6'
    assert list(result.figures) == ['one sample', 'mean of 3', 'best of 3', 'copy last frame', 'mean picture']
    for row in ('one sample', 'mean of 3', 'best of 3'):
        assert result.figures[row] == {'mse': 0.0, 'mae': 0.0, 'ssim': pytest.approx(1.0), 'psnr': None}
    values = result.to_json()
    json.dumps(values, allow_nan=False)
    assert 'beats_copy ok  beats_mean ok' in runner.format_table(result)
    assert (values['split'], values['context'], values['per_clip'], values['real_clips']) == ('test', 4, 3, 6)


def test_holding_the_last_known_frame_is_the_floor_and_does_not_pass(source):
    def hold(conditions):
        return np.concatenate([conditions['frames'], np.repeat(conditions['frames'][:, -1:], 6, axis=1)], axis=1)

    result = score(source, hold)
    assert result.figures['one sample'] == pytest.approx(result.figures['copy last frame'])
    assert not result.passed


def test_a_black_screen_does_not_pass(tmp_path):
    """Where little is lit, black is nearer to the truth than the last known frame is."""
    images = np.zeros((20, 28, 28), np.uint8)
    images[:, 10:18, 12:16] = 255
    content = struct.pack('>4I', 2051, *images.shape) + images.tobytes()
    (tmp_path / 't10k-images-idx3-ubyte').write_bytes(content)
    result = score(
        MovingMNIST(str(tmp_path), frames=10, test_size=30).open(), lambda _: np.zeros((18, 10, 64, 64, 1), np.uint8)
    )
    assert result.verdict == {'beats_copy': True, 'beats_mean': False}


def test_the_mean_picture_with_a_little_of_the_last_frame_does_not_pass(source):
    def blend(conditions):
        mean = conditions['frames'].mean((0, 1))
        last = conditions['frames'][:, -1:]
        ahead = np.rint(0.9 * mean + 0.1 * np.repeat(last, 6, axis=1)).astype(np.uint8)
        return np.concatenate([conditions['frames'], ahead], axis=1)

    result = score(source, blend)
    floors = [result.figures[row]['mse'] for row in ('copy last frame', 'mean picture')]
    assert result.figures['one sample']['mse'] < min(floors), 'nearer than both, without a network'
    assert result.verdict == {'beats_copy': True, 'beats_mean': False}


def test_clips_of_a_mixture_are_those_of_its_sources_in_their_shares():
    balls = BouncingBalls(frames=6, pixels=16, size=40)
    mixed = Mixture((balls, dataclasses.replace(balls, seed=1)), (1, 2)).open()
    held_out = mixed.held_out()
    config = EvaluateConfig(real=30)
    protocol = FramePrediction(context=2, per_clip=1)
    conditions = protocol.make_conditions(mixed, held_out, config)
    known = {held_out[i]['video'][:2].tobytes(): i for i in range(len(held_out))}
    ids = np.array([known[clip.tobytes()] for clip in conditions['frames']])
    first = (ids < len(held_out.readers[0])).sum()
    assert len(set(ids)) == 30 and 4 <= first <= 16
    clips = read_videos(held_out, ids)
    result = runner.evaluate(protocol, draws(lambda _: clips), mixed, held_out, config, ABOUT)
    assert result.passed and result.name == 'mixture_2to4_n1_30' and result.settings['split'] == 'test'


def test_a_score_on_clips_of_training_is_named_so():
    for source in (noise := Synthetic(frames=4, pixels=8, size=5), Mixture((noise, noise))):
        protocol = FramePrediction(context=2, per_clip=1)

        def draw(_):
            return np.zeros((5, *noise.shape), np.uint8)

        clips = source.open()
        result = runner.evaluate(protocol, draws(draw), clips, clips.held_out(), EvaluateConfig(real=5), ABOUT)
        assert result.name == f'{type(source).__name__.lower()}-train_2to2_n1_5' and result.settings['split'] == 'all'


def test_only_best_of_three_counts_one_right_sample_of_three(source):
    guesses = future(source)
    guesses[0::3, 4:] = 0
    guesses[1::3, 4:] = 255
    figures = score(source, lambda _: guesses).figures
    assert figures['best of 3']['mse'] == 0 < figures['mean of 3']['mse'] < figures['one sample']['mse']


def test_known_frames_are_not_scored(source):
    spoilt = future(source)
    spoilt[:, :4] = 0
    assert score(source, lambda _: spoilt).figures['one sample']['mse'] == 0


def test_the_name_holds_the_motion(source):
    result = score(dataclasses.replace(source.source, motion='stochastic').open(), lambda _: future(source))
    assert result.name == 'smmnist-t10k-16-4-40px_4to6_n3_6'


def test_it_is_moving_mnist_s_usual_protocol_and_needs_frames_to_predict(source):
    run = Run(experiment_from({'data': {'source': 'moving_mnist', 'path': source.source.path}}))
    assert run.protocol == FramePrediction()
    with pytest.raises(UserError, match='config.evaluate.protocol.context=10 leaves nothing to predict of 10 frames'):
        score(source, lambda _: future(source), dataclasses.replace(PROTOCOL, context=10))


def test_the_bar_decides_what_beats_the_floors(source):
    guesses = future(source)
    guesses[0, 4:] = 0
    figures = score(source, lambda _: guesses).figures
    share = figures['one sample']['mse'] / figures['copy last frame']['mse']

    for bar, beats in ((1.01 * share, True), (0.99 * share, False)):
        protocol = dataclasses.replace(PROTOCOL, bar=bar)
        assert score(source, lambda _: guesses, protocol).verdict['beats_copy'] == beats


def test_one_sample_the_mean_and_the_best():
    true = np.full((2, 3, 8, 8, 1), 100, np.uint8)
    samples = np.repeat(true[:, None], 2, axis=1)
    samples[:, 0] += 51
    samples[:, 1] -= 51
    samples[1, 1] = 100 - 25  # the second clip has a better sample
    figures = measure_samples(samples, true)
    assert list(figures) == ['one sample', 'mean of 2', 'best of 2']
    wrong = 64 * 0.04
    less = 64 * (25 / 255) ** 2
    assert figures['one sample']['mse'] == pytest.approx((wrong + (wrong + less) / 2) / 2)
    assert figures['mean of 2']['mse'] == pytest.approx((0 + 64 * (13 / 255) ** 2) / 2)
    assert figures['best of 2']['mse'] == pytest.approx((wrong + less) / 2)
    assert figures['best of 2']['mae'] == pytest.approx(64 * (51 + 25) / 255 / 2)
    assert figures['best of 2']['psnr'] == pytest.approx(10 * np.log10(5) + 10 * np.log10(255 / 25))
    assert figures['mean of 2']['psnr'] == np.inf
    assert figures['best of 2']['ssim'] > figures['one sample']['ssim']


def test_best_is_chosen_for_each_figure_by_that_figure():
    true = np.zeros((1, 1, 8, 8, 1), np.uint8)
    spread = np.full_like(true, 20)
    spike = np.zeros_like(true)
    spike[0, 0, 0, 0] = 255
    figures = measure_samples(np.stack([spread, spike], 1), true)['best of 2']
    assert figures['mse'] == pytest.approx(64 * (20 / 255) ** 2)  # of the spread one: 0.39 against 1
    assert figures['mae'] == pytest.approx(1.0)  # of the spike: 5.0 against 1


def test_the_floors_are_the_last_context_frame_and_the_mean_picture():
    context = np.zeros((2, 2, 8, 8, 1), np.uint8)
    context[0, 1] = 102
    context[1] = 51  # last: 0.4 and 0.2; mean of all: (0 + 0.4 + 0.2 + 0.2) / 4 = 0.2
    true = np.full((2, 3, 8, 8, 1), 51, np.uint8)
    figures = measure_floors(context, true)
    assert list(figures) == ['copy last frame', 'mean picture']
    assert figures['copy last frame']['mse'] == pytest.approx(64 * 0.04 / 2)
    assert figures['copy last frame']['mae'] == pytest.approx(64 * 0.2 / 2)
    assert figures['mean picture']['mse'] == 0
