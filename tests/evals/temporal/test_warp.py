"""Warp error: zero where the flow is right, a known one where it is wrong; occlusions as Lai et al. have them."""

import numpy as np
import pytest

from tests.evals.temporal.worlds import draw_shifted_texture, make_exact_flow
from vdm_jax.evals.temporal.warp import compute_warp_errors, detect_occlusions, sample_bilinear, stays_inside, warp

SHIFTS = [(3, 0), (-2, 1), (0, 0), (5, -6)]


def test_a_shifted_texture_with_its_exact_flow_has_no_error():
    clip = draw_shifted_texture(SHIFTS)
    errors, visible = compute_warp_errors(clip, *make_exact_flow(SHIFTS))
    assert errors.tolist() == [0, 0, 0, 0]
    areas = [(30 - abs(dx)) * (24 - abs(dy)) / (24 * 30) for dx, dy in SHIFTS]
    np.testing.assert_allclose(visible, areas)


def test_with_no_flow_the_error_is_the_squared_difference():
    clip = draw_shifted_texture(SHIFTS)
    zero = np.zeros((4, 24, 30, 2))
    errors, visible = compute_warp_errors(clip, zero, zero)
    expected = np.square(np.diff(clip / 255, axis=0)).mean((1, 2, 3))
    np.testing.assert_allclose(errors, expected)
    assert visible.tolist() == [1] * 4 and errors[2] == 0 and errors[0] > 0.1


def test_pixels_that_leave_count_only_where_that_is_wanted():
    clip = draw_shifted_texture([(4, 0)])
    flows = make_exact_flow([(4, 0)])
    errors, visible = compute_warp_errors(clip, *flows, leavers=True)
    edge = np.square((clip[1, :, -1:] / 255) - clip[0, :, -4:] / 255).sum() / (24 * 30 * 3)
    np.testing.assert_allclose(errors, [edge])
    assert visible.tolist() == [1]


def test_a_pair_of_which_nothing_is_visible_has_no_error():
    clip = draw_shifted_texture([(0, 0)])
    wild = np.random.default_rng(0).normal(0, 5, (1, 24, 30, 2))
    errors, visible = compute_warp_errors(clip, wild, wild)
    assert visible[0] < 0.02
    far = np.full((1, 24, 30, 2), 100.0)
    errors, visible = compute_warp_errors(clip, far, -far)
    assert np.isnan(errors[0]) and visible[0] == 0


def test_occlusions_are_where_the_two_flows_disagree():
    forward = np.zeros((12, 16, 2))
    backward = np.zeros((12, 16, 2))
    backward[4, 5] = (0.71, 0)  # 0.504 > 0.5 + 0.01 * 0.504 is false, by a little
    assert not detect_occlusions(forward, backward).any()
    backward[4, 5] = (0.72, 0)  # 0.518 > 0.505
    expected = np.zeros((12, 16), bool)
    expected[4, 5] = True
    np.testing.assert_array_equal(detect_occlusions(forward, backward), expected)


def test_edges_of_motion_are_occluded_towards_right_and_below():
    forward = np.zeros((12, 16, 2))
    forward[5:8, 6:9] = (0.3, 0)
    occluded = detect_occlusions(forward, -forward)
    expected = np.zeros((12, 16), bool)
    # A pixel is held against the one to its right and the one below.
    expected[5:8, [5, 8]] = True
    expected[[4, 7], 6:9] = True
    np.testing.assert_array_equal(occluded, expected)
    assert not detect_occlusions(np.full((12, 16, 2), 0.3), np.full((12, 16, 2), -0.3)).any()


def test_between_pixels_values_are_bilinear_and_edges_reach_on():
    frame = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)
    x = np.array([0, 0.25, 2.5, -7, 99])
    y = np.array([0, 1.5, 0, 0.5, 99])
    np.testing.assert_allclose(sample_bilinear(frame, x, y)[:, 0], [0, 6.25, 2.5, 2, 11])
    flow = np.full((3, 4, 2), 0.5)
    np.testing.assert_allclose(warp(frame, flow)[0, 0], 2.5)
    assert stays_inside(flow).sum() == 6


@pytest.mark.parametrize('size', [(1, 1), (1, 5), (4, 1)])
def test_frames_of_a_pixel_or_a_line_are_warped_too(size):
    clip = np.random.default_rng(0).integers(0, 256, (3, *size, 1), np.uint8)
    zero = np.zeros((2, *size, 2), np.float32)
    errors, visible = compute_warp_errors(clip, zero, zero)
    assert np.isfinite(errors).all() and visible.tolist() == [1, 1]
