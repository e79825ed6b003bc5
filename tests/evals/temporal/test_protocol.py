"""The protocol of time: what it wants, its rows and columns, what passes it and what does not."""

import dataclasses
import json

import numpy as np
import pytest

from tests.evals.draws import draws
from vdm_jax.codecs.video_vae import VideoVAEConfig
from vdm_jax.data.clip_batches import read_videos
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.data.worlds.synthetic import Synthetic
from vdm_jax.errors import UserError
from vdm_jax.evals import negative_controls as controls
from vdm_jax.evals import runner
from vdm_jax.evals.protocol import EvaluateConfig
from vdm_jax.evals.temporal import vbench
from vdm_jax.evals.temporal.protocol import Temporal

CONFIG = EvaluateConfig(samples=6, real=6)
SOURCE = BouncingBalls(frames=8, pixels=16, size=100, split='train')
ABOUT = {'step': 7, 'sampler': 'Euler(steps=2)'}
FAST = Temporal()
ROWS = ['samples', 'real', 'samples shuffled', 'corrupted', 'shuffled', 'reversed', 'frozen', 'noise']


def score(videos, protocol=FAST):
    reader = SOURCE.open()
    return runner.evaluate(protocol, draws(lambda _: videos), reader, reader.held_out(), CONFIG, ABOUT)


@pytest.fixture(scope='module')
def unseen():
    return read_videos(dataclasses.replace(SOURCE, seed=1, split='test').open(), range(6))


@pytest.fixture(scope='module')
def result(unseen):
    pytest.importorskip('cv2')
    return score(unseen)


def test_other_clips_of_the_same_world_pass(result):
    assert result.passed, result.verdict
    assert result.name == 'temporal6_8f' and list(result.figures) == ROWS
    assert set(result.verdict) == {'steady', 'moves', 'luminance', 'saturation', 'contrast'}


def test_figures_are_means_and_slopes_and_vbench_s_scale(result):
    real = result.figures['real']
    assert {'warp_error', 'warp_error_slope', 'luminance_slope', 'dynamic_degree', 'flickering_vbench'} <= set(real)
    assert 'dynamic_degree_slope' not in real
    assert real['flickering_vbench'] == pytest.approx((real['flickering'] - 0.6293) / (1 - 0.6293))
    for name, dimension in vbench.DIMENSIONS.items():
        assert dimension.normalise(dimension.least) == 0 and dimension.normalise(dimension.greatest) == 1
        assert f'{name}_vbench' in real


def test_a_score_holds_its_curves_and_what_they_were_measured_with(result, tmp_path):
    values = result.to_json()
    json.dumps(values, allow_nan=False)
    curve = values['curves']['samples']['luminance']
    assert len(curve['mean']) == len(curve['error']) == 8 and len(curve['slope_interval']) == 2
    assert curve['slope'] == pytest.approx(values['figures']['samples']['luminance_slope'])
    assert set(values['curves']) == set(ROWS)
    assert values['measures']['flow'].startswith('farneback') and values['corruption'] == {'noise': 4, 'blur_px': 0.5}
    assert 'warp_error_slope' in runner.format_table(result)

    # What came out is no part of the question, curves neither.
    path = runner.write(result, tmp_path, ())
    other = dataclasses.replace(result, settings=result.settings | {'curves': {}})
    assert runner.write(other, tmp_path, ()) == path


@pytest.mark.parametrize(
    ('wrong', 'missed'),
    [
        ('noise', {'steady'}),
        ('shuffled', {'steady'}),
        ('frozen', {'moves', 'steady'}),
        ('fading', {'luminance', 'contrast'}),
    ],
)
def test_what_is_wrong_in_time_is_missed(wrong, missed, unseen):
    pytest.importorskip('cv2')
    fade = np.linspace(1, 0.2, 8)[:, None, None, None]
    samples = {
        'noise': controls.make_noise,
        'shuffled': controls.shuffle_frames,
        'frozen': controls.freeze,
        'fading': lambda clips: (clips * fade).astype(np.uint8),
    }[wrong](unseen)
    verdict = score(samples).verdict
    assert missed <= {name for name, passed in verdict.items() if not passed}, verdict


def test_slight_corruption_passes(unseen):
    pytest.importorskip('cv2')
    assert score(controls.corrupt_slightly(unseen, noise=2, blur=0.3)).verdict['steady']


def test_without_opencv_blocks_are_matched():
    protocol = Temporal(flow='block_matching', vbench=False)
    source = Synthetic(frames=3, pixels=8, size=2, classes=2).open()
    clips = read_videos(source, range(2))
    config = EvaluateConfig(samples=2, real=2)
    result = protocol.score(clips, {'label': np.arange(2)}, source, source, config)
    assert result.settings['measures']['flow'] == 'block_matching(radius=6, block=7, penalty=1)'
    assert not any(name.endswith('vbench') for name in result.figures['samples'])
    json.dumps(result.to_json(), allow_nan=False)


def test_conditions_are_those_of_held_out_clips_in_turn():
    reader = SOURCE.open()
    held_out = reader.held_out()
    conditions = FAST.make_conditions(reader, held_out, EvaluateConfig(samples=5, real=3))
    labels = [int(held_out[i]['label']) for i in (0, 1, 2, 0, 1)]
    assert set(conditions) == {'label'} and conditions['label'].tolist() == labels


def test_what_cannot_be_measured_is_refused_in_a_line():
    short = dataclasses.replace(SOURCE, frames=2).open()
    with pytest.raises(UserError, match=r'^config\.data\.frames=2: temporal figures want 3 or more$'):
        FAST.make_conditions(short, short.held_out(), CONFIG)
    pytest.importorskip('cv2')
    small = SOURCE.open()
    with pytest.raises(UserError, match=r'^config\.evaluate\.protocol\.flow=dis wants sides of 32 pixels or more, and'):
        Temporal(flow='dis').make_conditions(small, small.held_out(), CONFIG)
    with pytest.raises(UserError, match=r'^config\.evaluate\.protocol\.fps=0'):
        Temporal(fps=0)
    assert FAST.refusal(small, VideoVAEConfig())
