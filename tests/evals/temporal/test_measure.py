"""All figures of a set: curves clip by clip, bad clips in a line, and real > slightly corrupted > shuffled > noise."""

import functools

import numpy as np
import pytest

from tests.shared_data import CLIPS, needs_clips
from vdm_jax.data.clip_batches import read_videos
from vdm_jax.data.worlds.bouncing_balls import BouncingBalls
from vdm_jax.errors import UserError
from vdm_jax.evals import negative_controls as controls
from vdm_jax.evals.temporal.consistency import StoredFeatures
from vdm_jax.evals.temporal.curves import Curve
from vdm_jax.evals.temporal.drift import compute_contrast, compute_luminance
from vdm_jax.evals.temporal.flow import DIS, BlockMatching, Farneback, choose_flow
from vdm_jax.evals.temporal.measure import Measures, measure_videos

FIGURES = {
    'luminance': (0, 6), 'contrast': (0, 6), 'saturation': (0, 6), 'subject_drift': (0, 6),
    'flickering': (1, 5), 'subject_consistency': (1, 5), 'background_consistency': (1, 5),
    'warp_error': (1, 5), 'visible': (1, 5), 'motion': (1, 5), 'top_motion': (1, 5),
    'second_difference': (1, 4), 'smoothness': (1, 2), 'dynamic_degree': (0, 1),
}  # fmt: skip
# Which way is better, of the figures that put the four sets in order, by nature of the figure.
ORDERED = {'warp_error': -1, 'second_difference': -1, 'flickering': 1, 'smoothness': 1}
ROWS = ('real', 'corrupted', 'shuffled', 'noise')
FAST = Measures(flow=BlockMatching(radius=2))


@functools.cache
def read_balls(clips=4):
    return read_videos(BouncingBalls(frames=12, pixels=32, split='test').open(), range(clips))


def make_rows(real):
    return {
        'real': real,
        'corrupted': controls.corrupt_slightly(real),
        'shuffled': controls.shuffle_frames(real),
        'noise': controls.make_noise(real),
        'frozen': controls.freeze(real),
        'reversed': controls.reverse_frames(real),
    }


@functools.cache
def measure_balls(flow):
    return {row: average(measure_videos(clips, Measures(flow=flow))) for row, clips in make_rows(read_balls()).items()}


def average(curves):
    return {name: curve.average for name, curve in curves.items()}


def assert_ordered(rows, names):
    for name, sign in names.items():
        values = [sign * rows[row][name] for row in ROWS]
        assert values == sorted(values, reverse=True) and len(set(values)) == 4, (name, values)


@pytest.fixture(params=['farneback', 'dis'])
def flow(request):
    pytest.importorskip('cv2')
    return {'farneback': Farneback(), 'dis': DIS()}[request.param]


def test_every_figure_is_a_curve_over_the_frames_that_it_is_of():
    curves = measure_videos(read_balls()[:2, :6], FAST)
    assert {name: (curve.first_frame, curve.values.shape[1]) for name, curve in curves.items()} == FIGURES
    for name, curve in curves.items():
        assert type(curve) is Curve and curve.name == name and len(curve.values) == 2
        assert np.isfinite(curve.values).all(), name


def test_clips_are_measured_one_by_one():
    clips = read_balls()[:2, :6]
    both = measure_videos(iter(clips), FAST)
    for number, clip in enumerate(clips):
        for name, curve in measure_videos([clip], FAST).items():
            np.testing.assert_array_equal(curve.values[0], both[name].values[number])


@pytest.mark.parametrize('channels', [1, 3])
def test_floats_have_the_figures_of_bytes(channels):
    clips = read_balls()[:1, :5, ..., :channels]
    of_bytes = measure_videos(clips, FAST)
    for name, curve in measure_videos(clips.astype(np.float32), FAST).items():
        np.testing.assert_allclose(curve.values, of_bytes[name].values, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize('size', [(1, 1), (5, 3), (1, 40)])
def test_clips_of_any_size_are_measured(size):
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, *size, 3), np.uint8)
    for curve in measure_videos(clips).values():
        assert len(curve.values) == 2
        curve.to_json()


def test_balls_are_better_than_corrupted_than_shuffled_than_noise(flow):
    assert_ordered(measure_balls(flow), ORDERED)


def test_without_opencv_the_order_is_the_same_on_integer_shifts():
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 256, (40, 80, 3), np.uint8)
    # Not by the same way each time: it would be even in any order.
    starts = np.cumsum([0, 1, 3, 2, 1, 3, 2])
    real = np.stack([texture[4:28, start : start + 28] for start in starts])[None]
    rows = make_rows(real)
    figures = {row: average(measure_videos(rows[row])) for row in ROWS}
    assert figures['real']['warp_error'] == 0
    assert_ordered(figures, {'warp_error': -1})


def test_consistency_is_lost_by_noise_and_by_another_order_but_not_by_blur():
    """What softens a picture makes it more like its neighbours, so a blurred clip may beat the real one."""
    rows = measure_balls(choose_flow('best'))
    noisy = average(measure_videos(controls.corrupt_slightly(read_balls(), noise=12, blur=0), FAST))
    assert rows['real']['subject_consistency'] > noisy['subject_consistency']
    assert noisy['subject_consistency'] > rows['shuffled']['subject_consistency'] > rows['noise']['subject_consistency']
    assert rows['corrupted']['subject_consistency'] > rows['real']['subject_consistency']


def test_frozen_clips_are_perfect_in_steadiness_and_only_motion_shows_them(flow):
    rows = measure_balls(flow)
    frozen = rows['frozen']
    perfect = ('flickering', 'smoothness', 'subject_consistency', 'background_consistency')
    assert all(frozen[name] == 1 > rows['real'][name] for name in perfect)
    assert frozen['second_difference'] == frozen['subject_drift'] == 0
    assert frozen['warp_error'] < 1e-9, 'but for what a flow of nearly zero rounds'
    assert frozen['motion'] < 0.05 * rows['real']['motion'] and frozen['dynamic_degree'] == 0


def test_direction_of_time_is_seen_by_none_of_the_figures_of_steadiness(flow):
    rows = measure_balls(flow)
    for name in ('flickering', 'second_difference', 'luminance', 'contrast', 'saturation'):
        assert rows['reversed'][name] == pytest.approx(rows['real'][name])
    assert rows['reversed']['warp_error'] == pytest.approx(rows['real']['warp_error'], rel=0.5)


def test_drift_has_its_slope():
    real = read_balls(32)
    fading = real * np.linspace(1, 0.45, 12)[:, None, None, None]
    for compute in (compute_luminance, compute_contrast):
        curve = Curve('fading', np.stack([compute(clip) for clip in fading]))
        low, high = curve.slope_interval
        assert low <= curve.slope <= high < 0
        low, high = Curve('real', np.stack([compute(clip) for clip in real])).slope_interval
        assert low < 0 < high


def test_features_and_frame_rate_of_one_s_own():
    clips = read_balls()[:2]
    features = np.random.default_rng(0).normal(size=(2, 12, 50))
    flow = BlockMatching(radius=2)
    curves = measure_videos(clips, Measures(subject=StoredFeatures(features, 'random'), fps=24, flow=flow))
    assert curves['subject_consistency'].average < 0.3
    assert curves['top_motion'].frames.tolist() == [3, 6, 9]
    slow = measure_videos(clips, Measures(fps=100, flow=flow))
    assert slow['top_motion'].values.shape == (2, 0) and np.isnan(slow['dynamic_degree'].values).all()


@pytest.mark.parametrize(
    'videos, mistake',
    [
        ([], 'there are no videos to measure: want 1 or more'),
        (np.zeros((2, 2, 8, 8, 3), np.uint8), 'a clip has frames=2: temporal figures want 3 or more'),
        (np.zeros((4, 8, 8, 3), np.uint8), r'a clip of shape \(8, 8, 3\): want \(frames, height, width, channels\)'),
        (np.zeros((1, 4, 8, 8, 4), np.uint8), r'a clip of shape \(4, 8, 8, 4\)'),
        (np.zeros((1, 4, 8, 8, 3), np.int32), 'a clip of int32: want uint8, or floats of 0 to 255'),
        (np.full((1, 4, 8, 8, 3), np.nan), 'a clip holds nan or infinity'),
        (np.full((1, 4, 8, 8, 3), -1.0), 'a clip of floats has values from -1 to -1: want 0 to 255'),
        ([np.zeros((4, 8, 8, 3), np.uint8), np.zeros((5, 8, 8, 3), np.uint8)], 'clip 1 has frames=5, the first one 4'),
    ],
)
def test_bad_videos_are_refused_in_a_line(videos, mistake):
    with pytest.raises(UserError, match=f'^{mistake}') as error:
        measure_videos(videos)
    assert '\n' not in str(error.value)


def test_frames_too_small_for_a_flow_are_refused():
    with pytest.raises(UserError, match='^frames of 16x40: want sides of 32 pixels or more$'):
        measure_videos(np.zeros((1, 4, 16, 40, 3), np.uint8), Measures(flow=DIS()))


@pytest.mark.slow
@needs_clips
@pytest.mark.parametrize('name', ['farneback', 'dis', 'block_matching'])
def test_real_clips_are_better_than_corrupted_than_shuffled_than_noise(name):
    decode = pytest.importorskip('vdm_jax.data.video.decode')
    flow = BlockMatching() if name == 'block_matching' else choose_flow(name)
    clips = []
    for file in ('carphone.mp4', 'bikes.mp4', 'cockatoo.mp4', 'armwrestling.mp4', 'chaplin.mp4'):
        clips.append(decode.read(decode.probe(CLIPS / file), range(12), 72, 96))
    rows = make_rows(np.stack(clips))
    figures = {row: average(measure_videos(rows[row], Measures(flow=flow))) for row in (*ROWS, 'frozen')}
    assert_ordered(figures, ORDERED)
    assert figures['shuffled']['subject_consistency'] < figures['real']['subject_consistency']
    assert figures['noise']['subject_consistency'] < 0.1 < figures['shuffled']['subject_consistency']
    assert figures['frozen']['flickering'] == 1 and figures['frozen']['dynamic_degree'] == 0
