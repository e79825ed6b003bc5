"""Shadows lie where light, ball and floor say, in the truth and in the picture."""

import dataclasses

import numpy as np
import pytest

from vdm_jax.data.worlds import shadowed_balls
from vdm_jax.data.worlds.shadowed_balls import GROUND, ShadowedBalls, cast_shadows
from vdm_jax.errors import UserError

WORLD = ShadowedBalls()
SIDE = WORLD.pixels
PINNED = [21.5849623]  # the last frame of clip 5


def test_similar_triangles():
    # Half way between light and floor: twice as far from the foot of the light, and twice as large.
    light = np.array([[0.5, -1.0]])
    ball = np.array([[[0.3, 0.0], [0.3, 1.0], [0.5, 0.2]]])
    centres, widths = cast_shadows(ball, light, 0.1, 1.0)
    np.testing.assert_allclose(centres, [[0.1, 0.3, 0.5]])
    np.testing.assert_allclose(widths, [[0.4, 0.2, 0.2 * 2 / 1.2]])


def test_light_ball_and_shadow_are_in_line_in_every_frame():
    for i in range(50):
        truth = WORLD.truth(i)
        shadow = np.stack([truth.shadows, np.full_like(truth.shadows, WORLD.floor * SIDE)], -1)
        a = truth.positions - truth.light[:, None]
        b = shadow - truth.light[:, None]
        np.testing.assert_allclose(a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0], 0, atol=1e-9)
        larger = np.linalg.norm(b, axis=-1) / np.linalg.norm(a, axis=-1)
        np.testing.assert_allclose(truth.widths, 2 * truth.radius * larger)
        assert truth.shadows.min() >= 0 and truth.shadows.max() <= SIDE


def test_the_light_moves_at_constant_speed_and_out_of_sight():
    speeds = []
    for i in range(50):
        light = WORLD.truth(i).light
        np.testing.assert_allclose(np.diff(light, n=2, axis=0), 0, atol=1e-12)
        assert (light[:, 1] == light[0, 1]).all() and -3 * SIDE <= light[0, 1] <= -SIDE
        speeds.append(light[1, 0] - light[0, 0])
    speeds = np.array(speeds) / SIDE
    assert (np.abs(speeds) <= WORLD.light).all() and (np.abs(speeds) >= 0.3 * WORLD.light - 1e-12).all()
    assert speeds.min() < 0 < speeds.max()
    still = dataclasses.replace(WORLD, light=0.0).truth(3).light
    assert (still == still[0]).all()


def test_the_darkness_in_the_picture_has_its_centre_and_width_where_the_truth_says():
    world = dataclasses.replace(WORLD, balls=(1, 1))
    seen = 0
    grid = np.arange(SIDE) + 0.5
    for i in range(60):
        truth = world.truth(i)
        video = world[i]['video']
        top = int(np.ceil((1 - GROUND) * SIDE))
        dark = 1 - video[:, top:].min(-1).mean(1) / shadowed_balls.GROUND_GREY
        high = truth.positions[:, 0, 1] + truth.radius < top
        in_view = np.abs(truth.shadows[:, 0] - SIDE / 2) + 0.65 * truth.widths[:, 0] < SIDE / 2
        for t in np.flatnonzero(high & in_view):
            mass = np.clip(dark[t], 0, 1)
            centre = (mass * grid).sum() / mass.sum()
            assert centre == pytest.approx(truth.shadows[t, 0], abs=0.1)
            # The middle row crosses half of its greatest darkness at the edge of the ellipse.
            row = 1 - video[t, int(world.floor * SIDE)].min(-1) / shadowed_balls.GROUND_GREY
            width = np.clip(row / (0.5 * shadowed_balls.SHADE), 0, 1).sum()
            assert width == pytest.approx(truth.widths[t, 0], rel=0.12)
            seen += 1
    assert seen > 400


def test_balls_bounce_on_the_ground_and_are_drawn_over_it():
    lowest = []
    for i in range(60):
        truth = WORLD.truth(i)
        lowest.append(truth.positions[..., 1].max() + truth.radius)
        assert truth.visible[0].min() > 0.8
    assert SIDE * WORLD.floor - 1 < max(lowest) <= SIDE * WORLD.floor + 1e-9


def test_clips_are_pure_functions_that_do_not_change():
    np.testing.assert_array_equal(WORLD[5]['video'], dataclasses.replace(WORLD, threads=1)[5]['video'])
    assert WORLD[5]['video'].shape == WORLD.shape == (16, 32, 32, 3)
    truth = WORLD.truth(5)
    large = dataclasses.replace(WORLD, pixels=64).truth(5)
    np.testing.assert_allclose(truth.shadows[-1], PINNED, atol=1e-6)
    np.testing.assert_allclose(large.shadows, 2 * truth.shadows)


def test_three_balls_have_room():
    world = dataclasses.replace(WORLD, balls=(3, 3))
    for i in range(200):
        shadows = world.truth(i).shadows
        assert shadows.min() >= 0 and shadows.max() <= SIDE


@pytest.mark.parametrize(('key', 'value'), [('bar', 0.2), ('light', -0.1), ('light', 1.0)])
def test_what_cannot_be_is_refused(key, value):
    with pytest.raises(UserError, match=f'config.data.{key}={value}'):
        ShadowedBalls(**{key: value})
