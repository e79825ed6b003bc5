"""PhyWorld's worlds: exact physics, the released grids and ranges, and pictures as released."""

import dataclasses

import numpy as np
import pytest

from vdm_jax.data.worlds.phyworld import FRAME_TIME, GRAVITY, REGIMES, WORLD, PhyWorld, draw_balls
from vdm_jax.errors import UserError

WORLDS = ('uniform', 'parabola', 'collision')


def test_the_training_sets_are_the_published_grids():
    assert [len(PhyWorld(size=size)) for size in ('30K', '300K', '3M')] == [30_000, 300_000, 3_000_000]
    # As many as 21 speeds and 8 radii of each of two balls give.
    assert len(PhyWorld(world='collision')) == (21 * 8) ** 2
    source = PhyWorld(pixels=8, drawn=8)
    speeds = {round(float(source.truth(i).velocities[0, 0, 0]), 9) for i in range(0, 30_000, 100)}
    radii = {round(float(source.truth(i).radii[0]), 9) for i in range(100)}
    assert len(speeds) == 300 and len(radii) == 100
    assert (min(speeds), max(speeds), min(radii), max(radii)) == (1, 4, 0.7, 1.4)


@pytest.mark.parametrize('world', WORLDS)
def test_velocities_are_what_positions_change_by(world):
    for i in range(40):
        truth = PhyWorld(world=world, split='test').truth(i)
        steps = np.diff(truth.positions, axis=0) / FRAME_TIME
        # Of constant acceleration the mean velocity of a frame is that in its middle.
        middle = (truth.velocities[1:] + truth.velocities[:-1]) / 2
        free = np.ones(len(steps), bool)
        if np.isfinite(truth.contact):
            free[min(int(truth.contact), len(steps) - 1)] = False
        np.testing.assert_allclose(steps[free], middle[free], atol=1e-9)


def test_a_ball_falls_with_the_paper_s_gravity_and_no_other_does():
    for world, gravity in (('parabola', GRAVITY), ('uniform', 0.0)):
        second = np.diff(PhyWorld(world=world).truth(7).positions, n=2, axis=0)
        np.testing.assert_allclose(second[:, 0, 1], gravity * FRAME_TIME**2, atol=1e-12)
        np.testing.assert_allclose(second[:, 0, 0], 0, atol=1e-12)


@pytest.mark.parametrize('regime', REGIMES)
def test_collisions_keep_momentum_and_energy_and_balls_never_overlap(regime):
    source = PhyWorld(world='collision', split='test', regime=regime)
    collisions = 0
    for i in range(60):
        truth = source.truth(i)
        momentum = truth.velocities[..., 0] @ truth.masses
        energy = truth.velocities[..., 0] ** 2 @ truth.masses
        np.testing.assert_allclose(momentum, momentum[0], atol=1e-9)
        np.testing.assert_allclose(energy, energy[0], rtol=1e-9)
        gap = truth.positions[:, 1, 0] - truth.positions[:, 0, 0] - truth.radii.sum()
        assert gap.min() > -1e-9
        collisions += truth.contact < source.frames
        # Both begin in the picture.
        assert (np.abs(truth.positions[0] - WORLD / 2) <= WORLD / 2 - truth.radii[:, None] + 1e-9).all()
    assert collisions >= 40, 'slow balls may never meet; the others do'


def test_training_collisions_leave_a_quarter_of_the_frames_on_either_side():
    source = PhyWorld(world='collision')
    at_walls = 0
    for truth in (source.truth(i) for i in range(0, len(source), 200)):
        assert truth.contact <= 24 + 1e-9
        if truth.contact < 8 - 1e-9:
            # Large and fast balls have no room for so many frames.
            left, right = truth.positions[0, :, 0]
            assert left == pytest.approx(truth.radii[0]) and right == pytest.approx(WORLD - truth.radii[1])
            at_walls += 1
    assert 0 < at_walls < 30


@pytest.mark.parametrize('world', WORLDS)
def test_regimes_lie_beyond_training_where_they_say_so(world):
    law = PhyWorld(world=world).law
    for regime in REGIMES:
        source = PhyWorld(world=world, split='test', regime=regime)
        truths = [source.truth(i) for i in range(80)]
        speeds = np.abs([truth.velocities[0, :, 0] for truth in truths])
        radii = np.array([truth.radii for truth in truths])
        inside_speed = (law.speeds[0] <= speeds) & (speeds <= law.speeds[1])
        inside_radius = (law.radii[0] <= radii) & (radii <= law.radii[1])
        assert inside_speed.all() == (regime in ('in', 'out_radius')), regime
        assert inside_radius.all() == (regime in ('in', 'out_speed')), regime
        assert not inside_speed.any() or regime in ('in', 'out_radius')
        if regime in ('out_speed', 'out_both'):
            assert speeds.min() < 0.8 and speeds.max() > 4.5, 'slow and fast ones'


def test_a_picture_is_drawn_as_released():
    positions = np.array([[[3.3, 6.2]], [[9.8, 0.4]]])  # the second one half out of the picture
    radius = 1.1
    frames = draw_balls(positions, np.array([radius]), 256, 256)
    x, y = np.meshgrid(np.linspace(0, 1, 256), np.linspace(0, 1, 256))
    for frame, (centre,) in zip(frames, positions / WORLD, strict=True):
        distance2 = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
        r2 = (radius / WORLD) ** 2
        mask = np.clip((r2 - distance2) / (0.03 * r2), 0, 1)[..., None]
        expected = ((1 - mask) * 255 + mask * np.array([255, 0, 0])).astype(np.uint8)[::-1]
        # Rounding of the last bit decides some edge pixels.
        assert np.abs(frame.astype(int) - expected).max() <= 1


def test_small_frames_are_the_means_of_blocks_of_large_ones():
    for world in WORLDS:
        large = PhyWorld(world=world, pixels=256)[11]['video'].astype(float)
        small = PhyWorld(world=world, pixels=32)[11]['video']
        means = large.reshape(32, 32, 8, 32, 8, 3).mean((2, 4))
        assert small.shape == (32, 32, 32, 3) and np.abs(small - means).max() <= 0.5


def test_clips_are_pure_functions_of_seed_split_regime_and_number():
    source = PhyWorld(pixels=16, drawn=64)
    np.testing.assert_array_equal(source[5]['video'], dataclasses.replace(source)[5]['video'])
    variants = [
        source,
        dataclasses.replace(source, seed=1),
        *(dataclasses.replace(source, split='test', regime=regime) for regime in REGIMES),
        dataclasses.replace(source, split='test', seed=1),
    ]
    starts = {variant.truth(5).positions[0].tobytes() for variant in variants}
    assert len(starts) == len(variants)
    with pytest.raises(IndexError):
        source[len(source)]


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ({'drawn': 100, 'pixels': 32}, 'config.data.drawn=100: .* config.data.pixels=32'),
        ({'regime': 'out_speed'}, "config.data.regime=out_speed: training clips are of 'in' alone"),
        ({'frames': 3}, 'config.data.frames=3'),
        ({'pixels': 4}, 'config.data.pixels=4'),
    ],
)
def test_what_cannot_be_drawn_is_refused(fields, message):
    with pytest.raises(UserError, match=message):
        PhyWorld(**fields)


@pytest.mark.parametrize('pixels', [8, 17, 64])
def test_any_size_and_length_is_drawn(pixels):
    for world in WORLDS:
        clip = PhyWorld(world=world, pixels=pixels, drawn=2 * pixels, frames=5, split='test', regime='out_both')[3]
        assert clip['video'].shape == (5, pixels, pixels, 3) and clip['video'].dtype == np.uint8
        assert (clip['video'].min() < 100) and clip['video'].max() == 255
