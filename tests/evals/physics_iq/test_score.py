"""Physics-IQ's figures and score have the values that its own program gives."""

import numpy as np
import pytest

from vdm_jax.evals.physics_iq.score import (
    VERSION,
    compare_clips,
    compute_mse,
    compute_score,
    compute_spatial_iou,
    compute_spatiotemporal_iou,
    compute_weighted_iou,
)

GROUND_TRUTH = {'spatial': 0.678, 'spatiotemporal': 0.535, 'weighted': 0.577, 'mse': 0.002}


@pytest.fixture
def squares():
    """10 frames of 32x32: an 8x8 square that moves a pixel a frame, and one that rests."""
    moving = np.zeros((10, 32, 32), bool)
    for t in range(10):
        moving[t, 10:18, 5 + t : 13 + t] = True
    resting = np.zeros((10, 32, 32), bool)
    resting[:, 10:18, 5:13] = True
    return moving, resting


def test_a_moving_square_beside_a_resting_one(squares):
    moving, resting = squares
    assert compute_spatial_iou(moving, resting) == pytest.approx(0.470588, abs=5e-7)
    assert compute_spatiotemporal_iou(moving, resting).mean() == pytest.approx(0.360595, abs=5e-7)
    assert compute_weighted_iou(moving, resting) == pytest.approx(0.290323, abs=5e-7)


def test_figures_are_symmetric_and_one_of_equal_masks(squares):
    moving, resting = squares
    for compute in (compute_spatial_iou, compute_spatiotemporal_iou, compute_weighted_iou):
        np.testing.assert_array_equal(compute(moving, resting), compute(resting, moving))
        assert (compute(moving, moving) == 1).all()


def test_two_empty_masks_agree_and_one_does_not(squares):
    moving, _ = squares
    empty = np.zeros_like(moving)
    for compute in (compute_spatial_iou, compute_spatiotemporal_iou, compute_weighted_iou):
        assert (compute(empty, empty) == 1).all()
        assert (compute(moving, empty) == 0).all()
    half = np.concatenate([empty[:5], moving[5:]])
    assert compute_spatiotemporal_iou(half, empty).tolist() == [1] * 5 + [0] * 5


def test_many_clips_at_once(squares):
    moving, resting = squares
    pairs = np.stack([moving, resting]), np.stack([resting, resting])
    assert compute_weighted_iou(*pairs) == pytest.approx([0.290323, 1], abs=5e-7)
    assert compute_spatiotemporal_iou(*pairs).shape == (2, 10)


def test_errors_are_of_values_of_one():
    black = np.zeros((3, 4, 5, 3), np.uint8)
    white = black + np.uint8(255)
    assert compute_mse(black, white).tolist() == [1, 1, 1] and compute_mse(white, black).tolist() == [1, 1, 1]
    np.testing.assert_allclose(compute_mse(black, black + np.uint8(51)), 0.04)


def test_the_second_take_scores_100_and_less_scores_less():
    assert compute_score(GROUND_TRUTH, GROUND_TRUTH) == 100
    half = {name: value / 2 for name, value in GROUND_TRUTH.items()}
    assert compute_score(half, GROUND_TRUTH) == pytest.approx(100 * (0.5 + 0.001))
    assert compute_score({name: 1.0 for name in GROUND_TRUTH} | {'mse': 0}, GROUND_TRUTH) == 100, 'cut'
    assert compute_score({name: 0.0 for name in GROUND_TRUTH} | {'mse': 0.5}, GROUND_TRUTH) == 0


def test_the_released_formula_is_not_that_of_magi_s_table():
    figures = {'spatial': 0.367, 'spatiotemporal': 0.270, 'weighted': 0.304, 'mse': 0.005}
    assert round(compute_score(figures, GROUND_TRUTH), 1) == 52.1
    assert VERSION == 'physics_iq_released_e457754'


def test_where_two_takes_have_nothing_in_common_there_is_no_score():
    for name in ('spatial', 'spatiotemporal', 'weighted'):
        assert np.isnan(compute_score(GROUND_TRUTH, GROUND_TRUTH | {name: 0.0}))


def test_figures_of_a_clip_are_means_over_its_frames(squares):
    moving, resting = squares
    video = (moving[..., None] * np.uint8(255)).repeat(3, -1)
    real = (resting[..., None] * np.uint8(255)).repeat(3, -1)
    figures = compare_clips(video, moving, real, resting)
    assert figures == pytest.approx(
        {'spatial': 8 / 17, 'spatiotemporal': 0.360595, 'weighted': 0.290323, 'mse': (moving ^ resting).mean()},
        abs=5e-7,
    )
