"""ShotsConfig of made-up scenes, whose cuts are known, and of real clips, whose cuts were found by eye."""

import weakref

import numpy as np
import pytest

from data_pipelines import optional_deps
from data_pipelines.curate import shots
from data_pipelines.curate.shots import ShotsConfig
from tests.shared_data import CLIPS, needs_clips
from vdm_jax.data.video import decode
from vdm_jax.errors import UserError

for needed in ('cv2', 'scenedetect', 'av'):
    pytest.importorskip(needed)

# First frames of shots, found by eye: sheets of every frame of scene_cuts and bikes, of the frames around the twelve
# largest changes of each clip, and of 18 frames of each. scene_cuts shows bikes beside a plot that does not change. In
# armwrestling no camera is changed: from frame 229 to 267 the picture is a smear left by damage before it was last
# encoded, and at 268 it is intact again.
CUTS = {
    'scene_cuts.mp4': [30, 76, 137, 187, 242],
    'bikes.mp4': [30, 76, 137, 187, 242],
    'armwrestling.mp4': [268],
}
WITHOUT_CUTS = ['bunny_short.webm', 'carphone.mp4', 'fire2.mp4', 'newtonscradle.gif', 'pigs.gif', 'realshort.mp4']
WITHOUT_CUTS += ['rotated_90.mov', 'test.avi', 'v_CricketShot_g04_c01.gif']
LONGER = ['bigbuckbunny.mp4', 'carphone_distorted.mp4', 'chaplin.mp4', 'cockatoo.mp4']


def scene(seed, count, speed=1.0, height=72, width=128):
    """uint8 (count, height, width, 3): a coloured landscape that moves sideways by so many pixels a frame."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (1, 9, 64, 3)).repeat(8, 1).repeat(8, 2)[0]
    shifts = np.round(np.arange(count) * speed).astype(int)
    return np.stack([np.roll(coarse, -shift, 1)[:height, :width] for shift in shifts]).astype(np.uint8)


def cuts(video, config=None, times=None, fps=25):
    """First frames of the shots after the first; every shot must begin where the one before it stops."""
    times = np.arange(len(video)) / fps if times is None else times
    spans = shots.find_shots(enumerate(video), times, config or ShotsConfig())
    assert spans[0][0] == 0 and spans[-1][1] == len(video)
    assert all(stop == after for (_, stop), (after, _) in zip(spans, spans[1:], strict=False))
    return [first for first, _ in spans[1:]]


@pytest.mark.parametrize('detector', ['adaptive', 'content', 'hash', 'histogram'])
def test_hard_cuts_are_found_to_the_frame(detector):
    video = np.concatenate([scene(0, 20), scene(1, 33), scene(2, 9), scene(3, 12)])
    assert cuts(video, ShotsConfig(detector)) == [20, 53, 62]


def test_no_detector_finds_no_cuts():
    assert cuts(np.concatenate([scene(0, 8), scene(1, 8)]), ShotsConfig('none', fades=False)) == []


@pytest.mark.parametrize('at', [1, 2, 28, 29])
def test_cuts_beside_the_ends_are_found(at):
    assert cuts(np.concatenate([scene(0, at), scene(1, 30 - at)])) == [at]


def test_a_stream_that_begins_later_keeps_its_numbers():
    video = np.concatenate([scene(0, 20), scene(1, 20)])
    times = np.arange(140) / 25
    assert shots.find_shots(zip(range(100, 140), video, strict=True), times, ShotsConfig()) == [(100, 120), (120, 140)]


def test_one_frame_is_one_shot_and_no_frame_is_none():
    assert shots.find_shots([(7, scene(0, 1)[0])], np.arange(8.0), ShotsConfig()) == [(7, 8)]
    assert shots.find_shots([], np.zeros(0), ShotsConfig()) == []


@pytest.mark.parametrize('length', [1, 2, 4])
def test_a_flash_is_no_cut(length):
    video = scene(0, 40)
    video[20 : 20 + length] = 250
    assert cuts(video) == []
    assert cuts(video, ShotsConfig('content', flash_seconds=0)) == [20, 20 + length]


@pytest.mark.parametrize('detector', ['adaptive', 'content', 'hash', 'histogram'])
@pytest.mark.parametrize('period', [3, 4, 8])
def test_a_strobe_light_is_no_cut(detector, period):
    video = scene(0, 60)
    for at in range(10, 50, period):
        video[at : at + 2] = 250
    assert cuts(video, ShotsConfig(detector)) == []


def test_a_dropped_black_frame_is_no_cut():
    video = scene(0, 40)
    video[20] = 0
    assert cuts(video) == []


def test_a_short_shot_that_is_followed_by_another_one_is_no_flash():
    assert cuts(np.concatenate([scene(0, 20), scene(1, 3), scene(2, 20)])) == [20, 23]


def test_the_length_of_a_flash_is_given_in_seconds():
    video = scene(0, 40)
    video[20:24] = 250
    assert cuts(video, ShotsConfig('content'), fps=5) == [20, 24]


@pytest.mark.parametrize('speed', [4, 10])
def test_fast_motion_is_no_cut(speed):
    assert cuts(scene(0, 40, speed)) == []


def test_motion_with_frames_shown_twice_is_no_cut():
    """24 frames a second stored as 30, and a slow film stored as 60."""
    video = scene(0, 48, 5.0)
    assert cuts(video[np.arange(60) * 4 // 5]) == []
    assert cuts(video.repeat(3, 0)) == []


def test_cuts_between_frames_shown_twice_are_found():
    video = np.concatenate([scene(0, 24, 2), scene(1, 24, 2)])
    assert cuts(video.repeat(3, 0)) == [72]


def test_a_fade_through_black_leaves_the_black_frames_by_themselves():
    level = np.concatenate([np.ones(20), np.linspace(1, 0, 10), np.zeros(10), np.linspace(0, 1, 10), np.ones(20)])
    video = np.concatenate([scene(0, 35), scene(1, 35)]) * level[:, None, None, None]
    out, back = cuts(video.astype(np.uint8))
    black = np.flatnonzero(video.mean((1, 2, 3)) < 12)
    assert (out, back) == (black[0], black[-1] + 1)
    assert cuts(video.astype(np.uint8), ShotsConfig(fades=False)) == []


def test_black_at_both_ends_is_no_part_of_the_shot():
    level = np.concatenate([np.zeros(8), np.linspace(0, 1, 12), np.ones(10), np.linspace(1, 0, 12), np.zeros(8)])
    video = (scene(0, 50) * level[:, None, None, None]).astype(np.uint8)
    dark = video.mean((1, 2, 3)) < 12
    assert cuts(video) == [8 + np.argmin(dark[8:]), 42 - np.argmin(dark[41::-1])]


def test_frames_are_let_go_of_as_they_come():
    alive = []

    def frames():
        for number, frame in enumerate(np.concatenate([scene(0, 30), scene(1, 30)])):
            frame = frame.copy()
            alive.append(weakref.ref(frame))
            yield number, frame
            assert sum(each() is not None for each in alive) <= 2

    assert shots.find_shots(frames(), np.arange(60) / 25, ShotsConfig()) == [(0, 30), (30, 60)]


def test_the_same_frames_give_the_same_shots_at_any_size():
    video = np.concatenate([scene(0, 20), scene(1, 20)])
    assert cuts(video.repeat(5, 1).repeat(5, 2)) == cuts(video) == [20]


@pytest.mark.parametrize('bad', [{'width': 0}, {'threshold': -1.0}, {'flash_seconds': -0.1}])
def test_values_that_mean_nothing_are_refused(bad):
    with pytest.raises(UserError, match=f'recipe.shots.{next(iter(bad))}'):
        ShotsConfig(**bad)


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'scenedetect.detectors', None)
    with pytest.raises(UserError, match=r"scenedetect-headless.*pip install 'vdm_jax\[curate\]'"):
        shots.find_shots([], np.zeros(0), ShotsConfig())
    assert set(optional_deps.PACKAGES) >= {'cv2', 'scenedetect', 'imagehash'}


@needs_clips
@pytest.mark.parametrize('name', CUTS)
def test_the_cuts_of_real_clips_are_found_and_nothing_else(name):
    video = decode.probe(CLIPS / name)
    spans = shots.find_shots(decode.stream(video), video.times, ShotsConfig())
    assert [first for first, _ in spans] == [0, *CUTS[name]] and spans[-1][1] == video.frames


@needs_clips
@pytest.mark.parametrize('name', [*WITHOUT_CUTS, *(pytest.param(name, marks=pytest.mark.slow) for name in LONGER)])
def test_real_clips_of_one_shot_are_one_shot(name):
    video = decode.probe(CLIPS / name)
    assert shots.find_shots(decode.stream(video), video.times, ShotsConfig()) == [(0, video.frames)]
