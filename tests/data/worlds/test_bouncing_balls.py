"""The world keeps its own laws, and a clip is a pure function of (seed, split, index)."""

import dataclasses
import hashlib
import itertools
import time

import numpy as np
import pytest

from vdm_jax.data.worlds import bouncing_balls
from vdm_jax.data.worlds.bouncing_balls import PALETTE, BouncingBalls
from vdm_jax.errors import UserError

WORLD = BouncingBalls()
PINNED = [[9.1619809, 7.6879478], [11.3852913, 10.1953991]]  # the last frame of WORLD's clip 7
LARGE = BouncingBalls(frames=16, pixels=64, balls=(1, 3))


@pytest.mark.parametrize('world', [WORLD, LARGE, BouncingBalls(label='colour'), BouncingBalls(frames=1)])
def test_a_clip_has_the_shape_and_a_label_of_its_world(world):
    for i in range(40):
        clip = world[i]
        truth = world.truth(i)
        assert clip['video'].shape == world.shape and clip['video'].dtype == np.uint8
        assert clip['label'].dtype == np.int32 and 0 <= clip['label'] < world.num_classes
        expected = len(truth.colours) - world.balls[0] if world.label == 'count' else truth.colours[0]
        assert clip['label'] == expected


def test_every_label_and_bar_occur():
    truths = [WORLD.truth(i) for i in range(400)]
    assert {len(t.colours) for t in truths} == {1, 2}
    assert {int(t.colours[0]) for t in truths} == set(range(6))
    bars = [t for t in truths if t.bar]
    assert 0.1 < len(bars) / 400 < 0.3
    assert np.mean([t.visible.min() < 0.05 for t in bars]) > 0.4, 'the bar should hide a ball whole, and often'


def test_a_clip_depends_on_seed_split_and_index_only():
    again = dataclasses.replace(WORLD, size=50, threads=1)
    for i in (3, 49, 0):
        np.testing.assert_array_equal(WORLD[i]['video'], again[i]['video'])
        np.testing.assert_array_equal(WORLD[i]['video'], WORLD.draw(i, np.random.default_rng(1))['video'])
    other = dataclasses.replace(WORLD, seed=1)
    assert not np.array_equal(WORLD[0]['video'], other[0]['video'])


def test_train_and_test_share_no_clip():
    test = dataclasses.replace(WORLD, split='test')
    train_set = {WORLD[i]['video'].tobytes() for i in range(1000)}
    test_set = {test[i]['video'].tobytes() for i in range(1000)}
    assert len(train_set) == len(test_set) == 1000
    assert not train_set & test_set
    assert len(WORLD) == 20_000 and len(test) == bouncing_balls.HELD_OUT
    with pytest.raises(IndexError):
        test[len(test)]


def test_clips_do_not_change_from_one_version_to_the_next():
    truth = WORLD.truth(7)
    np.testing.assert_allclose(truth.positions[-1], PINNED, atol=1e-6)
    pixels = hashlib.sha256(b''.join(WORLD[i]['video'].tobytes() for i in range(64)))
    assert pixels.hexdigest().startswith('d07bf7c4e768a141')


def test_the_same_world_at_another_size():
    large = dataclasses.replace(WORLD, pixels=64)
    for i in range(10):
        np.testing.assert_allclose(large.truth(i).positions, 4 * WORLD.truth(i).positions)
        np.testing.assert_array_equal(large.truth(i).colours, WORLD.truth(i).colours)


@pytest.mark.parametrize('world', [WORLD, LARGE])
def test_free_flight_is_an_exact_parabola_and_energy_is_kept(world):
    g = world.gravity * world.pixels
    free = 0
    for i in range(100):
        truth = world.truth(i)
        speed2 = truth.velocities[..., 1] ** 2
        height = world.pixels - truth.radius - truth.positions[..., 1]
        energy = 0.5 * speed2 + g * height
        np.testing.assert_allclose(energy, np.broadcast_to(energy[0], energy.shape), rtol=1e-9)
        np.testing.assert_allclose(
            np.abs(truth.velocities[..., 0]), np.abs(truth.velocities[:1, :, 0]).repeat(world.frames, 0)
        )
        assert (height > -1e-9).all() and (truth.positions[..., 1] > truth.radius - 1e-9).all()
        assert (np.abs(truth.positions[..., 0] - world.pixels / 2) < world.pixels / 2 - truth.radius + 1e-9).all()
        flying = np.isclose(np.diff(truth.velocities[..., 1], axis=0), g)
        step = np.diff(truth.positions[..., 1], axis=0)
        np.testing.assert_allclose(step[flying], (truth.velocities[:-1, :, 1] + g / 2)[flying])
        free += flying.sum()
    assert free > 700


def test_a_bounce_turns_the_ball_where_it_touches():
    start = np.array([0.5, 0.38, 0.1, 0.0])
    times = np.linspace(0, 20, 2001)
    positions, velocities = bouncing_balls.fly(start, times, 0.12, 0.02)
    floor = times[positions[:, 1].argmax()]
    assert positions[:, 1].max() == pytest.approx(0.88, abs=1e-3)
    assert floor == pytest.approx(np.sqrt(2 * 0.5 / 0.02), abs=0.02)
    assert positions[:, 0].max() == pytest.approx(0.88) and positions[:, 0].min() == pytest.approx(0.12)
    assert times[positions[:, 0].argmax()] == pytest.approx(3.8, abs=0.02)
    assert set(np.round(np.unique(velocities[:, 0]), 6)) == {-0.1, 0.1}


def test_arcs_of_five_frames_are_common_and_motion_is_visible():
    longest = []
    speeds = []
    for i in range(200):
        truth = WORLD.truth(i)
        flying = np.isclose(np.diff(truth.velocities[..., 1], axis=0), WORLD.gravity * WORLD.pixels)
        flying &= np.diff(truth.velocities[..., 0], axis=0) == 0
        for ball in flying.T:
            longest.append(1 + max(len(list(run)) for same, run in itertools.groupby(ball) if same))
        speeds.append(np.hypot(*np.moveaxis(truth.velocities, -1, 0)).mean())
    assert np.mean(np.array(longest) >= 5) > 0.6
    assert np.mean(speeds) > 1.0


def test_balls_start_apart_in_distinct_colours_and_end_in_view():
    for i in range(300):
        truth = LARGE.truth(i)
        assert len(set(truth.colours)) == len(truth.colours)
        for a, b in itertools.combinations(truth.positions[0], 2):
            assert np.hypot(*(a - b)) > 2 * truth.radius
        assert truth.visible[0].min() > 0.8 and truth.visible[-1].min() > 0.35


def test_the_centroid_of_a_lone_ball_is_its_centre():
    grid = np.arange(WORLD.pixels) + 0.5
    world = dataclasses.replace(WORLD, balls=(1, 1), bar=0.0)
    seen = 0
    for i in range(100):
        truth = world.truth(i)
        mass = world[i]['video'].astype(float).sum(-1)
        centroid = np.stack([(mass * grid).sum((1, 2)), (mass * grid[:, None]).sum((1, 2))], -1)
        np.testing.assert_allclose(centroid / mass.sum((1, 2))[:, None], truth.positions[:, 0], atol=0.05)
        colour = world[i]['video'].reshape(-1, 3).max(0)
        np.testing.assert_array_equal(colour, PALETTE[truth.colours[0]])
        seen += 1
    assert seen == 100


def test_the_bar_is_drawn_over_the_balls():
    world = dataclasses.replace(WORLD, bar=1.0)
    for i in range(20):
        left, _, right, _ = world.truth(i).bar
        inside = world[i]['video'][:, :, int(np.ceil(left)) : int(right)]
        assert (inside == bouncing_balls.GREY).all()


def test_the_palette_is_well_separated():
    directions = np.concatenate([PALETTE.astype(float), [[128, 128, 128]]])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    cosine = directions @ directions.T - 2 * np.eye(len(directions))
    assert np.degrees(np.arccos(cosine.max())) > 30


@pytest.mark.parametrize(
    'change',
    [
        {'frames': 0}, {'pixels': 4}, {'size': 0}, {'seed': -1}, {'split': 'valid'}, {'balls': (0, 2)},
        {'balls': (3, 2)},
        {'balls': (1, 5), 'radius': 0.14}, {'balls': (1, 3), 'colours': 2}, {'radius': 0.2},
        {'radius': 0.3, 'bar': 0.0},
        {'gravity': 0.0}, {'speed': -0.1}, {'bar': 1.5}, {'colours': 7}, {'label': 'size'}, {'threads': -1},
    ],
)  # fmt: skip
def test_a_world_that_cannot_be_is_refused_by_name(change):
    with pytest.raises(UserError, match=f'config.data.{next(iter(change))}='):
        BouncingBalls(**change)


def test_a_batch_takes_a_few_milliseconds():
    """5 ms on an idle core, as much as 6,000 operations of numpy on small arrays: a slow or busy machine slows both."""
    small = np.linspace(0, 1, 768).reshape(4, 3, 64)
    batch = []
    numpy_alone = []
    for _ in range(20):
        begin = time.thread_time()
        for i in range(32):
            WORLD[i]
        between = time.thread_time()
        for _ in range(1500):
            np.sort((small * small).sum(0) - 1.0, axis=-1)
        batch.append(between - begin)
        numpy_alone.append(time.thread_time() - between)
    assert np.median(batch) < 4 * np.median(numpy_alone)


def test_no_clip_is_without_room():
    """Large balls sometimes leave no room beside the bar; the clip then goes without, rather than stop a run."""
    world = BouncingBalls(radius=0.14, bar=1.0, balls=(2, 2))
    bars = [world.truth(i).bar is not None for i in range(400)]
    assert 0.9 < np.mean(bars) < 1
