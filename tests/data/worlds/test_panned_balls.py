"""The camera pans evenly, the room stands still, and the picture shows the one through the other."""

import dataclasses

import numpy as np
import pytest

from vdm_jax.data.worlds.bouncing_balls import fly
from vdm_jax.data.worlds.panned_balls import GREYS, STRIPES, PannedBalls, stripes
from vdm_jax.errors import UserError

WORLD = PannedBalls()
SIDE = WORLD.pixels
PINNED = [0.0, 4.4378857, 11.8874569]  # camera and first ball in the last frame of clip 5


def test_the_camera_moves_at_constant_speed_and_never_looks_out_of_the_room():
    speeds = []
    for i in range(60):
        camera = WORLD.truth(i).camera / SIDE
        np.testing.assert_allclose(np.diff(camera, n=2), 0, atol=1e-12)
        assert camera.min() > -1e-9 and camera.max() < WORLD.width - 1 + 1e-9
        speeds.append(camera[1] - camera[0])
    speeds = np.array(speeds)
    assert (np.abs(speeds) <= WORLD.pan).all() and (np.abs(speeds) >= 0.3 * WORLD.pan - 1e-12).all()
    assert speeds.min() < 0 < speeds.max()
    assert WORLD.width == pytest.approx(1 + 15 * WORLD.pan)


def test_balls_fly_in_the_room_as_without_a_camera_and_stay_in_view():
    turned = 0
    for i in range(60):
        truth = WORLD.truth(i)
        start = WORLD._make_scene(i)[0]
        positions, velocities = fly(start, np.arange(16), WORLD.radius, WORLD.gravity, WORLD.width)
        np.testing.assert_allclose(truth.positions, positions * SIDE)
        np.testing.assert_allclose(truth.velocities, velocities * SIDE)
        x = truth.in_picture[..., 0]
        np.testing.assert_allclose(x, truth.positions[..., 0] - truth.camera[:, None])
        np.testing.assert_array_equal(truth.in_picture[..., 1], truth.positions[..., 1])
        assert x.min() > truth.radius - 1e-9 and x.max() < SIDE - truth.radius + 1e-9
        turned += (np.diff(truth.velocities[..., 0], axis=0) != 0).any()
    assert turned > 5, 'some balls bounce off the side walls of the room'


def test_a_bounce_is_at_the_wall_of_the_room_not_at_the_edge_of_the_picture():
    times = np.linspace(0, 30, 3001)
    positions, _ = fly(np.array([0.5, 0.4, 0.05, 0.0]), times, 0.12, 0.006, width=1.6)
    assert positions[:, 0].max() == pytest.approx(1.48) and times[positions[:, 0].argmax()] == pytest.approx(19.6)


def test_the_back_wall_is_still_in_the_room():
    edges, greys = stripes(WORLD.width)
    widths = np.diff(edges)
    assert edges[0] == 0 and edges[-1] >= WORLD.width and set(greys) == set(GREYS)
    assert widths.min() >= STRIPES[0] and widths.max() <= STRIPES[1] and (np.diff(greys) != 0).all()
    wider, _ = stripes(3 * WORLD.width)
    np.testing.assert_array_equal(wider[: len(edges)], edges)
    # A camera farther right by whole pixels sees the same columns farther left.
    here, there = WORLD.back_wall(np.array([0.1, 0.1 + 5 / SIDE]))
    np.testing.assert_allclose(here[5:], there[:-5], atol=1e-9)
    # A column's grey is the mean over what it covers: here against many thin ones.
    fine = dataclasses.replace(WORLD, pixels=64 * SIDE).back_wall(np.array(0.123))
    np.testing.assert_allclose(WORLD.back_wall(np.array(0.123)), fine.reshape(SIDE, 64).mean(1), atol=1e-6)


def test_the_picture_shows_ball_and_wall_where_the_truth_says():
    grid = np.arange(SIDE) + 0.5
    world = dataclasses.replace(WORLD, balls=(1, 1))
    for i in range(30):
        truth = world.truth(i)
        video = world[i]['video'].astype(float)
        mass = np.ptp(video, axis=-1)
        centre = (
            np.stack([(mass * grid).sum((1, 2)), (mass * grid[:, None]).sum((1, 2))], -1) / mass.sum((1, 2))[:, None]
        )
        np.testing.assert_allclose(centre, truth.in_picture[:, 0], atol=0.05)
        wall = world.back_wall(truth.camera / SIDE)
        bare = mass == 0
        np.testing.assert_allclose(video[..., 0][bare], np.broadcast_to(wall[:, None], bare.shape)[bare], atol=0.51)


def test_no_two_parts_of_the_wall_look_the_same():
    lefts = np.linspace(0, WORLD.width - 1, 200)
    walls = WORLD.back_wall(lefts)
    correlation = np.corrcoef(walls)
    apart = np.abs(lefts[:, None] - lefts) > 2 / SIDE
    assert correlation[apart].max() < 0.85


def test_clips_are_pure_functions_that_do_not_change():
    np.testing.assert_array_equal(WORLD[5]['video'], dataclasses.replace(WORLD, threads=1)[5]['video'])
    assert WORLD[5]['video'].shape == WORLD.shape == (16, 32, 32, 3)
    truth = WORLD.truth(5)
    large = dataclasses.replace(WORLD, pixels=64).truth(5)
    np.testing.assert_allclose([truth.camera[-1], *truth.positions[-1, 0]], PINNED, atol=1e-6)
    np.testing.assert_allclose(large.in_picture, 2 * truth.in_picture)


def test_three_balls_have_room_and_a_camera_may_rest():
    world = dataclasses.replace(WORLD, balls=(3, 3))
    for i in range(200):
        world.truth(i)
    assert (dataclasses.replace(WORLD, pan=0.0).truth(0).camera == 0).all()


@pytest.mark.parametrize(('key', 'value'), [('bar', 0.2), ('pan', -0.1), ('pan', 0.5)])
def test_what_cannot_be_is_refused(key, value):
    with pytest.raises(UserError, match=f'config.data.{key}={value}'):
        PannedBalls(**{key: value})
