"""Scores of made-up clips whose motion, stillness, brightness and bars are known, of real ones, and of captions."""

import weakref

import numpy as np
import pytest

from data_pipelines.curate import scores
from data_pipelines.curate.captions import score_caption
from data_pipelines.curate.frame_stats import BlackBars, to_luma
from tests.shared_data import CLIPS, needs_clips
from vdm_jax.data.records import filters
from vdm_jax.data.records.schema import Caption
from vdm_jax.data.video import decode
from vdm_jax.errors import UserError

cv2 = pytest.importorskip('cv2')
for needed in ('imagehash', 'av'):
    pytest.importorskip(needed)

HEIGHT = 96
WIDTH = 160


def make_moving_view(places, height=HEIGHT, width=WIDTH, seed=0):
    """uint8 (T, height, width, 3): a landscape seen through a window whose corner is at places (T, 2), in pixels (y, x)
    of a picture 96 high."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 226, (20, 30, 3)).astype(np.float32)
    world = cv2.resize(coarse, None, fx=12, fy=12, interpolation=cv2.INTER_CUBIC)
    scale = height / HEIGHT
    frames = []
    for y, x in np.asarray(places, float):
        window = np.float32([[1 / scale, 0, x], [0, 1 / scale, y]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        frames.append(cv2.warpAffine(world, window, (width, height), flags=flags).clip(0, 255))
    return np.stack(frames).astype(np.uint8)


def make_pan(count, speed, fps=20, **more):
    """So many frames of a view that moves sideways at `speed` heights a second."""
    x = 10 + np.arange(count) / fps * speed * HEIGHT
    return make_moving_view(np.stack([np.full(count, 40), x], 1), **more)


def score_clip(video, fps=20.0, times=None, seconds=None):
    times = np.arange(len(video)) / fps if times is None else times
    measure = scores.ClipScorer(len(video) / fps if seconds is None else seconds)
    for frame, time in zip(video, times, strict=True):
        measure.add(frame, time)
    return measure.finish()[0]


def noisy(video, spread, seed=0):
    noise = np.random.default_rng(seed).normal(0, spread, video.shape)
    return (video + noise).clip(0, 255).astype(np.uint8)


def dropped_for(clip_scores):
    return filters.parse(scores.FILTERS).first_failing(clip_scores)


def test_a_picture_that_stands_still_has_no_motion_and_is_frozen_throughout():
    clip_scores = score_clip(make_pan(30, 0))
    assert (clip_scores['motion'], clip_scores['frozen'], clip_scores['repeated'], clip_scores['shake']) == (0, 1, 1, 0)
    assert dropped_for(clip_scores) == 'motion>=0.006|missing'


def test_noise_on_a_picture_that_stands_still_is_no_motion():
    clip_scores = score_clip(noisy(make_pan(30, 0), 5))
    assert 0 < clip_scores['motion'] < 0.006 and clip_scores['frozen'] == 0
    assert dropped_for(clip_scores) == 'motion>=0.006|missing'


@pytest.mark.parametrize('speed', [0.02, 0.1, 0.5])
def test_motion_is_the_speed_in_heights_a_second(speed):
    assert score_clip(make_pan(30, speed))['motion'] == pytest.approx(speed, rel=0.1)


def test_motion_hardly_depends_on_size_and_frame_rate():
    for more in ({'height': 240, 'width': 400}, {'height': 60, 'width': 100}):
        assert score_clip(make_pan(30, 0.2, **more))['motion'] == pytest.approx(0.2, rel=0.1)
    for fps in (8, 30, 60):
        assert score_clip(make_pan(int(1.5 * fps), 0.2, fps), fps)['motion'] == pytest.approx(0.2, rel=0.1)


def test_motion_goes_by_the_times_of_frames():
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.uniform(0.02, 0.2, 30))
    video = make_moving_view(np.stack([np.full(30, 40), 10 + times * 0.2 * HEIGHT], 1))
    assert score_clip(video, times=times, seconds=float(times[-1] - times[0]))['motion'] == pytest.approx(0.2, rel=0.1)


def test_a_small_thing_that_moves_is_enough():
    video = make_pan(30, 0)
    for i, frame in enumerate(video):
        cv2.circle(frame, (20 + 2 * i, 50), 10, (250, 20, 20), -1)
    clip_scores = score_clip(noisy(video, 3))
    assert clip_scores['motion'] > 0.008 and dropped_for(clip_scores) is None


def test_a_shaking_camera_differs_from_one_that_pans():
    rng = np.random.default_rng(0)
    steady = np.stack([np.full(40, 40), 10 + np.arange(40) * 1.0], 1)
    shaken = steady + rng.normal(0, 2, steady.shape)
    assert score_clip(make_moving_view(steady))['shake'] < 0.01
    assert score_clip(make_moving_view(shaken))['shake'] > 0.2


def test_a_moving_thing_is_no_shake():
    video = make_pan(30, 0)
    for i, frame in enumerate(video):
        cv2.circle(frame, (80 + (-1) ** (i // 2) * 10, 50), 14, (250, 20, 20), -1)
    assert score_clip(video)['shake'] < 0.02


def test_a_freeze_counts_by_its_share_of_the_time():
    video = make_pan(40, 0.3)
    video[10:26] = video[10]
    clip_scores = score_clip(video)
    assert clip_scores['frozen'] == pytest.approx(16 / 40)
    assert clip_scores['repeated'] == pytest.approx(15 / 39, abs=1e-5)
    assert dropped_for(clip_scores) == 'frozen<=0.25|missing'


def test_frames_shown_twice_or_thrice_are_repeated_but_not_frozen():
    for times in (2, 3):
        clip_scores = score_clip(make_pan(12, 0.3, 10).repeat(times, 0), 10 * times)
        assert clip_scores['frozen'] == 0 and clip_scores['repeated'] == pytest.approx(
            (12 * times - 12) / (12 * times - 1), abs=1e-5
        )
        assert dropped_for(clip_scores) is None


def test_brightness_and_contrast_are_those_of_the_luma():
    grey = score_clip(np.full((4, 40, 60, 3), 128, np.uint8))
    assert grey['brightness'] == pytest.approx(128 / 255, abs=1e-3) and grey['contrast'] == 0
    halves = np.zeros((4, 128, 128, 3), np.uint8)
    halves[:, :64] = 255
    half_white = score_clip(halves)
    assert half_white['brightness'] == pytest.approx(0.5) and half_white['contrast'] == pytest.approx(0.5)
    green = score_clip(np.full((4, 40, 60, 3), (0, 255, 0), np.uint8))
    assert green['brightness'] == pytest.approx(0.587, abs=0.003)


def test_black_frames_count_by_their_share_and_dark_ones_do_not():
    video = make_pan(40, 0.3)
    video[:10] = 8
    clip_scores = score_clip(noisy(video, 2))
    assert clip_scores['black'] == 0.25 and dropped_for(clip_scores) == 'black<=0.1'
    assert score_clip(make_pan(20, 0.3) // 3)['black'] == 0


def test_pictures_of_one_colour_are_dropped_for_their_contrast():
    assert dropped_for(score_clip(np.full((1, 40, 60, 3), 200, np.uint8))) == 'contrast>=0.02'


def test_blur_and_low_resolution_lower_sharpness():
    video = noisy(make_pan(4, 0, height=384, width=640), 5)
    sharp = score_clip(video)['sharpness']
    blurred = score_clip(np.stack([cv2.GaussianBlur(frame, (0, 0), 3) for frame in video]))['sharpness']
    small = np.stack([cv2.resize(frame, (160, 96), interpolation=cv2.INTER_AREA) for frame in video])
    assert blurred < 0.5 * sharp and score_clip(small)['sharpness'] < 0.5 * sharp


@pytest.mark.parametrize('box', [(12, 84, 0, 160), (0, 96, 25, 131), (10, 90, 20, 145), (7, 96, 0, 160)])
def test_black_bars_are_found_to_the_pixel(box):
    top, bottom, left, right = box
    video = np.full((10, HEIGHT, WIDTH, 3), 6, np.uint8)
    video[:, top:bottom, left:right] = make_pan(10, 0.2)[:, top:bottom, left:right]
    video = noisy(video, 2)
    bars = BlackBars()
    for frame in video:
        bars.add(to_luma(frame))
    assert bars.box == box
    share = 1 - (bottom - top) * (right - left) / (HEIGHT * WIDTH)
    assert score_clip(video)['letterbox'] == pytest.approx(share, abs=1e-5)


def test_what_is_dark_only_at_times_or_all_over_is_no_bar():
    video = make_pan(10, 0.2)
    video[:5, :20] = 5
    assert score_clip(video)['letterbox'] == 0
    assert score_clip(np.zeros((4, 40, 60, 3), np.uint8))['letterbox'] == 0


def test_one_frame_has_the_scores_of_a_picture_and_passes():
    clip_scores = score_clip(make_pan(1, 0))
    assert set(clip_scores) == {'brightness', 'contrast', 'sharpness', 'black', 'letterbox'}
    assert dropped_for(clip_scores) is None


def test_two_frames_have_motion_and_a_short_clip_is_looked_at_closely():
    assert score_clip(make_pan(2, 0.3))['motion'] == pytest.approx(0.3, rel=0.1)
    assert {'motion', 'shake'} <= set(score_clip(make_pan(12, 0.3, 60), 60))


@pytest.mark.parametrize(('height', 'width'), [(2, 4000), (4000, 2), (1, 1), (2, 300)])
def test_a_sliver_of_a_picture_is_measured_and_has_motion_where_flow_can_be_taken(height, width):
    clip_scores = score_clip(np.random.default_rng(0).integers(0, 256, (10, height, width, 3), np.uint8))
    assert clip_scores['brightness'] == pytest.approx(0.5, abs=0.2) and clip_scores['repeated'] == 0
    assert ('motion' in clip_scores) == (max(height, width) < 4000)


def test_the_table_names_all_scores_and_no_others():
    clip_scores = score_clip(make_pan(20, 0.3)) | scores.score_captions([Caption('a dog runs')])
    assert set(clip_scores) == set(scores.SCORES)
    filters.parse(scores.FILTERS).check(scores.SCORES)


def test_the_same_frames_give_the_same_scores_from_any_zero_of_time():
    video = noisy(make_pan(20, 0.3), 3)
    assert score_clip(video) == score_clip(video) == score_clip(video, times=100 + np.arange(20) / 20)


def test_scores_have_six_digits():
    for value in score_clip(noisy(make_pan(20, 0.3), 3)).values():
        assert value == float(f'{value:.6g}')


def test_frames_are_let_go_of_as_they_come():
    alive = []
    measure = scores.ClipScorer(2.0)
    for number, frame in enumerate(make_pan(40, 0.3)):
        frame = frame.copy()
        alive.append(weakref.ref(frame))
        measure.add(frame, number / 20)
        assert sum(each() is not None for each in alive) == 1


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'cv2', None)
    with pytest.raises(UserError, match=r"opencv-python-headless.*pip install 'vdm_jax\[curate\]'"):
        scores.ClipScorer(1.0)


@pytest.mark.parametrize(
    'text, words, moving',
    [
        ('A man walks down the street, then opens a red door.', 11, 2),
        ('The cat jumped; it ran away, chasing a rolling ball!', 10, 4),
        ('a brick building in the rain, on the left', 9, 0),
        ('rain is falling and it snowed', 6, 2),
        ('slow-motion video of a frying pan - close up', 8, 0),
        ('the camera is panning', 4, 1),
        ('Fruit on a table', 4, 0),
        ('', 0, 0),
        ('... !!', 0, 0),
    ],
)
def test_verbs_of_motion_are_counted_in_all_their_forms(text, words, moving):
    caption_scores = score_caption(text)
    assert caption_scores['caption_words'] == words
    assert caption_scores['caption_motion'] == pytest.approx(moving / max(words, 1))


def test_signs_and_numbers_are_symbols_and_letters_of_any_script_are_not():
    assert score_caption('एक आदमी दौड़ रहा है')['caption_symbols'] == 0
    assert score_caption('猫が走る')['caption_symbols'] == 0
    assert score_caption('IMG_0423')['caption_symbols'] == pytest.approx(5 / 8)
    assert score_caption('ab 12')['caption_symbols'] == 0.5


def test_several_captions_count_by_their_weights():
    captions = [Caption('a dog runs', weight=3.0), Caption('dog', weight=1.0)]
    caption_scores = scores.score_captions(captions)
    assert caption_scores['caption_words'] == 2.5 and caption_scores['caption_motion'] == 0.25
    assert scores.score_captions([]) == scores.score_captions([Caption('a dog', weight=0.0)]) == {}


def real(name):
    video = decode.probe(CLIPS / name)
    return score_clip((frame for _, frame in decode.stream(video)), times=video.times, seconds=video.seconds)


@needs_clips
def test_the_side_bars_of_an_old_film_are_found():
    """By eye: 72 columns at the left and at the right of 640."""
    assert real('chaplin.mp4')['letterbox'] == pytest.approx(144 / 640)


@needs_clips
@pytest.mark.parametrize('name', ['newtonscradle.gif', 'rotated_90.mov', 'carphone.mp4', 'realshort.mp4', 'pigs.gif'])
def test_real_clips_in_which_something_moves_pass(name):
    assert dropped_for(real(name)) is None


@needs_clips
@pytest.mark.slow
def test_scores_of_real_clips_agree_with_what_is_seen():
    by_clip = {path.name: real(path.name) for path in CLIPS.iterdir()}
    assert all(dropped_for(each) is None for each in by_clip.values())
    by = {score: sorted(by_clip, key=lambda name: by_clip[name].get(score, 0)) for score in scores.SCORES}
    assert by['motion'][0] == 'newtonscradle.gif'  # a toy on a table
    held = {'bigbuckbunny.mp4', 'bunny_short.webm', 'chaplin.mp4', 'newtonscradle.gif', 'v_CricketShot_g04_c01.gif'}
    by_hand = {'armwrestling.mp4', 'cockatoo.mp4', 'fire2.mp4', 'realshort.mp4'}
    assert max(by_clip[name]['shake'] for name in held) < 0.01 < 0.1 < min(by_clip[name]['shake'] for name in by_hand)
    assert by_clip['carphone_distorted.mp4']['sharpness'] < by_clip['carphone.mp4']['sharpness'] / 2
    assert [name for name in by_clip if by_clip[name]['frozen']] == ['armwrestling.mp4']  # 38 of 280 frames
    assert by_clip['armwrestling.mp4']['frozen'] == pytest.approx(38 / 280, abs=2e-3)
