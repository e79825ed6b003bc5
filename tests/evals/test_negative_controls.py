"""Controls are what their names say."""

import numpy as np
import pytest

from vdm_jax.evals.negative_controls import (
    change_each,
    corrupt_slightly,
    make_controls,
    make_noise,
    reverse_frames,
    shuffle_frames,
)


def test_controls_are_made_as_named():
    rng = np.random.default_rng(0)
    real = rng.integers(0, 256, (30, 3, 4, 4, 3), dtype=np.uint8)
    train = rng.integers(0, 256, (50, 3, 4, 4, 3), dtype=np.uint8)
    controls = make_controls(real, train, seed=3)
    assert set(controls) == {'noise', 'frozen', 'shuffled', 'copied'}
    assert all(videos.shape == real.shape and videos.dtype == np.uint8 for videos in controls.values())
    assert (controls['frozen'] == real[:, :1]).all()
    for ours, theirs in zip(controls['shuffled'], real, strict=True):
        assert not np.array_equal(ours, theirs)
        assert sorted(frame.tobytes() for frame in ours) == sorted(frame.tobytes() for frame in theirs)
    known = {clip.tobytes() for clip in train}
    assert len({clip.tobytes() for clip in controls['copied']} & known) == 30
    np.testing.assert_array_equal(controls['noise'], make_controls(real, train, seed=3)['noise'])


def test_reversed_clips_run_backwards():
    clips = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(reverse_frames(clips)[:, 0], clips[:, 4])
    np.testing.assert_array_equal(reverse_frames(reverse_frames(clips)), clips)


def test_slight_corruption_is_blur_and_noise_of_the_size_that_it_says():
    grey = np.full((3, 4, 32, 32, 3), 128, np.uint8)
    noisy = corrupt_slightly(grey, seed=1, noise=4, blur=0.5)
    assert noisy.shape == grey.shape and noisy.dtype == np.uint8
    assert abs(noisy.std() - 4) < 0.1 and abs(noisy.mean() - 128) < 0.1
    assert not np.array_equal(noisy[0, 0], noisy[0, 1]), 'new in every frame'
    np.testing.assert_array_equal(noisy, corrupt_slightly(grey, seed=1, noise=4, blur=0.5))
    assert not np.array_equal(noisy, corrupt_slightly(grey, seed=2, noise=4, blur=0.5))

    edge = np.zeros((1, 2, 8, 8, 1), np.uint8)
    edge[..., 4:, :] = 255
    soft = corrupt_slightly(edge, noise=0, blur=0.5)
    assert 10 < soft[0, 0, 0, 3, 0] < 100 and (soft[..., :2, :] == 0).all() and (soft[..., 6:, :] == 255).all()
    np.testing.assert_array_equal(corrupt_slightly(edge, noise=0, blur=0), edge)


@pytest.mark.parametrize('change', [make_noise, shuffle_frames])
def test_a_clip_is_changed_by_its_number_and_not_by_its_place(change):
    clip = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    clips = np.stack([clip] * 40)
    every = change_each(change, clips, range(40), 3)
    assert len({changed.tobytes() for changed in every}) > 30
    np.testing.assert_array_equal(change_each(change, clips[:2], np.array([17, 5]), 3), every[[17, 5]])
    assert not np.array_equal(change_each(change, clips, range(40), 4), every)
