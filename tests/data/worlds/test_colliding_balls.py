"""Balls collide where and as they must: results worked out by hand, conservation, and an integrator of another kind."""

import dataclasses
import itertools

import numpy as np
import pytest

from vdm_jax.data.worlds.bouncing_balls import fly
from vdm_jax.data.worlds.colliding_balls import CollidingBalls, collide
from vdm_jax.errors import UserError

WORLD = CollidingBalls()
G = WORLD.gravity
R = WORLD.radius
PAIRS = list(itertools.combinations(range(3), 2))
PINNED = [[26.2390171, 6.8288787], [5.207098, 19.2481739]]  # the last frame of clip 5


@pytest.fixture(scope='module')
def clips():
    """Starts (N, 4) in sides and truths of some clips."""
    return [(WORLD._make_scene(i)[0], WORLD.truth(i)) for i in range(60)]


def energies(positions, velocities):
    return (0.5 * np.square(velocities).sum(-1) - G * positions[..., 1]).sum(-1)


def test_balls_that_meet_head_on_exchange_their_velocities():
    start = np.array([[0.2, 0.3, 0.05, -0.01], [0.8, 0.3, -0.03, -0.01]])
    contact = (0.6 - 2 * R) / 0.08
    positions, velocities, (collision,) = collide(start, np.array([0, contact - 1, contact, contact + 1]), R, G)
    assert collision.time == pytest.approx(contact) and collision.pair == (0, 1)
    np.testing.assert_allclose(collision.normal, (1, 0), atol=1e-12)
    np.testing.assert_allclose(collision.point, (0.2 + 0.05 * contact + R, positions[2, 0, 1]))
    np.testing.assert_allclose(velocities[:, 0, 0], [0.05, 0.05, 0.05, -0.03])
    np.testing.assert_allclose(velocities[:, 1, 0], [-0.03, -0.03, -0.03, 0.05])
    np.testing.assert_allclose(positions[3, :, 0], positions[2, :, 0] + [-0.03, 0.05])
    np.testing.assert_allclose(velocities[2, :, 1], -0.01 + G * contact)


def test_a_ball_that_is_struck_leaves_along_the_line_of_centres_and_the_other_at_right_angles():
    # The centres' line at contact is at 30 degrees, as the second ball is R higher: sin = R / 2R.
    start = np.array([[0.2, 0.5, 0.06, 0.0], [0.7, 0.5 - R, 0.0, 0.0]])
    contact = (0.5 - np.sqrt(3) * R) / 0.06
    _, velocities, (collision,) = collide(start, np.array([contact + 1e-9]), R, G)
    fall = [0, G * (contact + 1e-9)]
    struck = velocities[0, 1] - fall
    other = velocities[0, 0] - fall
    np.testing.assert_allclose(collision.normal, (np.sqrt(3) / 2, -0.5))
    np.testing.assert_allclose(struck, 0.06 * np.sqrt(3) / 2 * np.array(collision.normal))
    assert struck @ other == pytest.approx(0, abs=1e-15)


def test_energy_is_kept_always_and_momentum_in_every_collision(clips):
    seen = 0
    for start, truth in clips:
        moments = np.array([collision.time for collision in truth.collisions])
        times = np.sort(np.concatenate([np.linspace(0, 15, 200), moments - 1e-6, moments + 1e-6]))
        positions, velocities, collisions = collide(start, times, R, G)
        energy = energies(positions, velocities)
        np.testing.assert_allclose(energy, energy[0], rtol=0, atol=1e-12)
        assert [each.time for each in collisions] == moments.tolist()
        for collision in collisions:
            before, after = np.searchsorted(times, [collision.time - 1e-6, collision.time + 1e-6])
            pair = list(collision.pair)
            fall = [0, G * (times[after] - times[before])]
            change = velocities[after] - velocities[before] - fall
            np.testing.assert_allclose(change[pair].sum(0), 0, atol=1e-12)
            # Without friction nothing changes across the line of centres, nor does the third ball's flight.
            impulse = change[pair[1]]
            x, y = collision.normal
            assert impulse @ collision.normal > 0 and impulse[0] * y - impulse[1] * x == pytest.approx(0, abs=1e-12)
            np.testing.assert_allclose(np.delete(change, pair, axis=0), 0, atol=1e-12)
            seen += 1
    assert seen > 60


def test_no_two_balls_overlap_and_none_leaves_the_room(clips):
    for start, _ in clips:
        positions, _, _ = collide(start, np.linspace(0, 15, 600), R, G)
        for a, b in itertools.combinations(range(len(start)), 2):
            assert np.linalg.norm(positions[:, a] - positions[:, b], axis=-1).min() > 2 * R - 1e-12
        assert positions.min() > R - 1e-12 and positions.max() < 1 - R + 1e-12


def test_an_integrator_of_small_steps_comes_to_the_same():
    """Steps of 1/1000 frame that know nothing of roots: whoever overlaps and approaches is turned."""
    starts = np.stack([start for start in (WORLD._make_scene(i)[0] for i in range(60)) if len(start) == 3][:20])
    x = starts[..., :2].copy()
    v = starts[..., 2:].copy()
    step = 1e-3

    for _ in range(10_000):
        x += step * v
        x[..., 1] += 0.5 * G * step**2
        v[..., 1] += G * step
        for axis, side in ((0, 1), (0, -1), (1, 1)):
            out = (side * (x[..., axis] - 0.5) > 0.5 - R) & (side * v[..., axis] > 0)
            v[..., axis] = np.where(out, -v[..., axis], v[..., axis])
        for a, b in PAIRS:
            apart = x[:, b] - x[:, a]
            closing = v[:, b] - v[:, a]
            length = np.sqrt(np.square(apart).sum(-1, keepdims=True))
            along = (apart * closing).sum(-1, keepdims=True) / length
            impulse = np.where((length < 2 * R) & (along < 0), along, 0) * apart / length
            v[:, a] += impulse
            v[:, b] -= impulse
    exact = np.stack([collide(start, np.array([10.0]), R, G)[0][0] for start in starts])
    without = np.stack([fly(start, np.array([10.0]), R, G)[0][0] for start in starts])
    errors = np.linalg.norm(x - exact, axis=-1).max(-1)
    assert np.median(errors) < 1e-3 and errors.max() < 0.02
    assert np.median(np.linalg.norm(without - exact, axis=-1).max(-1)) > 0.1


def test_balls_that_never_meet_fly_as_without_each_other():
    times = np.arange(400.0)
    start = np.array([[0.2, 0.3, 0.0, -0.01], [0.5, 0.4, 0.0, 0.02], [0.8, 0.5, 0.0, 0.0]])
    positions, velocities, collisions = collide(start, times, R, G)
    assert not collisions
    for ours, theirs in zip((positions, velocities), fly(start, times, R, G), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)
    single_ball = np.array([[0.3, 0.4, 0.037, 0.01]])
    np.testing.assert_allclose(collide(single_ball, times, R, G)[0], fly(single_ball, times, R, G)[0], atol=1e-9)


def test_nothing_drifts_in_a_thousand_frames(clips):
    start = clips[0][0]
    positions, velocities, collisions = collide(start, np.arange(1000.0), R, G)
    assert len(collisions) > 40
    energy = energies(positions, velocities)
    np.testing.assert_allclose(energy, energy[0], rtol=0, atol=1e-11)


def test_the_truth_is_in_pixels_and_lists_what_happens(clips):
    assert np.mean([len(truth.collisions) > 0 for _, truth in clips]) > 0.95
    for _, truth in clips[:20]:
        g = WORLD.gravity * WORLD.pixels
        turned = np.abs(np.diff(truth.velocities, axis=0) - [0, g]).max(-1) > 1e-6
        for collision in truth.collisions:
            frame = int(collision.time)
            assert turned[frame, list(collision.pair)].all()
            reach = truth.radius + np.linalg.norm(truth.velocities[frame], axis=-1).max() + g
            for ball in collision.pair:
                assert np.linalg.norm(np.array(collision.point) - truth.positions[frame, ball]) < reach
        assert truth.visible.min() > 0.99


def test_clips_are_pure_functions_that_do_not_change():
    again = dataclasses.replace(WORLD, threads=1)
    np.testing.assert_array_equal(WORLD[5]['video'], again[5]['video'])
    assert WORLD[5]['video'].shape == WORLD.shape == (16, 32, 32, 3)
    np.testing.assert_allclose(WORLD.truth(5).positions[-1], PINNED, atol=1e-6)
    large = dataclasses.replace(WORLD, pixels=64).truth(5)
    np.testing.assert_allclose(large.positions, 2 * WORLD.truth(5).positions)
    np.testing.assert_allclose(large.collisions[0].point, 2 * np.array(WORLD.truth(5).collisions[0].point))


def test_without_collisions_the_same_starts_pass_through():
    ghosts = dataclasses.replace(WORLD, collide=False)
    for i in range(10):
        truth = WORLD.truth(i)
        ghost = ghosts.truth(i)
        assert ghost.collisions == ()
        until = int(truth.collisions[0].time) + 1 if truth.collisions else WORLD.frames
        np.testing.assert_allclose(ghost.positions[:until], truth.positions[:until], atol=1e-9)


def test_a_bar_is_refused():
    with pytest.raises(UserError, match='config.data.bar=0.2'):
        CollidingBalls(bar=0.2)
