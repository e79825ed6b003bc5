"""Balls are found where they are, on clean and on slightly spoilt clips."""

import dataclasses

import numpy as np
import pytest

from vdm_jax.data.worlds.bouncing_balls import PALETTE, BouncingBalls
from vdm_jax.evals.worlds.ball_tracking import remove_grey, track_balls

WORLD = BouncingBalls(split='test')


@pytest.mark.parametrize('world', [WORLD, BouncingBalls(frames=16, pixels=64, balls=(1, 3), split='test')])
def test_tracks_agree_with_the_truth(world):
    errors = []
    for i in range(60):
        tracks = track_balls(world[i]['video'], world)
        truth = world.truth(i)
        order = np.argsort(truth.colours)
        np.testing.assert_array_equal(tracks.colours, truth.colours[order])
        visible = truth.visible[:, order]
        centres = truth.positions[:, order]
        assert tracks.seen[visible > 0.5].all() and not tracks.seen[visible < 0.1].any()
        errors.append(np.abs(tracks.positions - centres)[visible > 0.999])
        assert (tracks.bar is None) == (truth.bar is None)
        if truth.bar:
            np.testing.assert_allclose(tracks.bar, (truth.bar[0], truth.bar[2]), atol=0.7)
    errors = np.concatenate(errors)  # largest where two balls touch: such frames are in no arc
    assert np.median(errors) < 0.02 and errors.max() < 0.35


def test_a_pale_ball_on_noisy_ground_is_found(paint):
    world = dataclasses.replace(WORLD, balls=(1, 1), bar=0.0)
    path = np.stack([np.linspace(4, 11, 8), np.linspace(3, 12, 8)], -1)[:, None]
    for colour in range(world.colours):
        clean = paint(path, [colour], world.radius * 16, 16)
        noise = np.random.default_rng(colour).normal(0, 10, clean.shape)
        tracks = track_balls(np.clip(0.8 * clean + noise, 0, 255).astype(np.uint8), world)
        assert tracks.colours.tolist() == [colour]
        np.testing.assert_allclose(tracks.positions, path, atol=0.25)


def test_grey_ground_of_any_pattern_is_taken_away(paint):
    world = dataclasses.replace(WORLD, balls=(1, 1), bar=0.0)
    path = np.stack([np.linspace(4, 11, 8), np.linspace(3, 12, 8)], -1)[:, None]
    ground = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 1))
    for colour in range(world.colours):
        # However much of a pixel the ball covers, the rest is ground.
        ball = PALETTE[colour].astype(float)
        covered = paint(path, [colour], world.radius * 16, 16).max(-1, keepdims=True) / ball.max()
        video = np.round(covered * ball + (1 - covered) * ground).astype(np.uint8)
        tracks = track_balls(remove_grey(video), world)
        assert tracks.colours.tolist() == [colour]
        np.testing.assert_allclose(tracks.positions, path, atol=0.05)


def test_nothing_is_found_in_the_dark_nor_in_grey():
    for value in (0, 40, 128, 255):
        tracks = track_balls(np.full(WORLD.shape, value, np.uint8), WORLD)
        assert len(tracks.colours) == 0 and tracks.positions.shape == (8, 0, 2)
