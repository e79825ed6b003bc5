"""Tiles: they cover, blend to one, and equal the untiled result where the function sees no further than a tile."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.codecs.small import SMALL, latents, noise
from vdm_jax.codecs.image_codec import ImageVAECodec
from vdm_jax.codecs.tiles import apply_in_tiles, blend_ramps, tile_starts
from vdm_jax.nn.conv import Conv
from vdm_jax.nn.sequential import Sequential


@pytest.mark.parametrize(
    'length, side, overlap', [(14, 8, 2), (15, 8, 2), (64, 16, 4), (9, 8, 0), (40, 8, 5), (7, 8, 2)]
)
def test_tiles_cover_with_the_given_overlap_and_no_tile_too_many(length, side, overlap):
    side = min(side, length)
    starts = tile_starts(length, side, overlap)
    assert starts[0] == 0 and starts[-1] + side == length
    assert all(np.diff(starts) <= side - overlap)
    assert len(starts) == 1 or (len(starts) - 1) * (side - overlap) + overlap < length


@pytest.mark.parametrize('length, side, overlap', [(14, 8, 2), (15, 8, 2), (40, 8, 5), (11, 8, 6)])
def test_shares_sum_to_one_and_rise_in_a_straight_line(length, side, overlap):
    starts = tile_starts(length, side, overlap)
    ramps = blend_ramps(starts, side)
    total = np.zeros(length)
    for start, ramp in zip(starts, ramps, strict=True):
        total[start : start + side] += ramp
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert ramps.min() >= 0 and (ramps[0, : starts[1]] == 1).all()
    np.testing.assert_allclose(blend_ramps(np.array([0, 6]), 8), [[1] * 7 + [0.5], [0, 0.5, *[1] * 6]])


@pytest.mark.parametrize('sizes', [(1, 4), (4, 1)])
@pytest.mark.parametrize('rows, columns', [(12, 20), (5, 13), (6, 6)])
def test_what_looks_at_no_neighbour_is_the_same_in_tiles(sizes, rows, columns):
    before, after = sizes

    def call(x):  # of every `before` pixels one, times 3, given to `after`
        return jnp.repeat(jnp.repeat(3 * x[..., ::before, ::before, :], after, -3), after, -2)

    x = jax.random.normal(jax.random.key(0), (2, 3, rows * before, columns * before, 2))
    tiled = jax.jit(lambda x: apply_in_tiles(call, x, 6, 2, sizes))(x)
    np.testing.assert_allclose(tiled, call(x), atol=1e-6)


def test_a_neighbourhood_smaller_than_the_overlap_changes_only_the_ramps_ends():
    """A mean over 3 rows knows zeros beyond the edge of a tile: one row of each tile is wrong, where its share is
    least, none where tiles do not overlap."""
    x = jnp.ones((1, 1, 12, 4, 1))

    def mean(x):
        return (x + jnp.pad(x, [(0, 0)] * 2 + [(1, 1), (0, 0), (0, 0)])[..., :-2, :, :]) / 2

    tiled = apply_in_tiles(mean, x, 8, 4, (1, 1))[0, 0, :, 0, 0]
    np.testing.assert_allclose(tiled, mean(x)[0, 0, :, 0, 0])  # row 4 of tile 2 has share 0


def test_convolutions_in_tiles_are_exact_but_for_the_ramps_ends():
    """Nothing here looks further than 3 places, so what is wrong of a tile is its last 3, of shares up to 3/16:
    the rest is equal."""
    layers = [Conv(4, 4, (3, 3), rngs=nnx.Rngs(i)) for i in range(3)]

    def call(x):
        return Sequential(layers)(x)

    x = jax.random.normal(jax.random.key(0), (1, 1, 48, 40, 4))
    wrong = np.abs(jax.jit(lambda x: apply_in_tiles(call, x, 32, 16, (1, 1)))(x) - call(x)).max((0, 1, 4))

    def near(edges, length):
        return np.array([min(abs(place - edge) for edge in edges) < 3.5 for place in range(length)])

    rows = near([15.5, 31.5], 48)
    columns = near([7.5, 31.5], 40)
    assert wrong[~rows][:, ~columns].max() < 1e-5 < 1e-3 < wrong.max() < 0.5 * np.std(call(x))


def test_decoding_in_tiles_with_overlap_is_within_20_db():
    """Norms and attention see only their tile: on latents equal everywhere the signal is 20 dB above what that
    changes, for weights of noise; without overlap the borders show, at 12 dB."""
    weights = noise(SMALL)
    model = dataclasses.replace(SMALL, scaling_factor=1.0)
    untiled = ImageVAECodec(model=model, slice_frames=0)
    z = latents(frames=1, height=40, width=24, batch=1)
    expected = np.asarray(jax.jit(untiled.pixels)(weights, z))

    def decibels(tile, overlap):
        cut = dataclasses.replace(untiled, tile=tile, overlap=overlap)
        wrong = np.square(jax.jit(cut.pixels)(weights, z) - expected).mean()
        return 10 * np.log10(expected.var() / wrong)

    assert decibels(24, 8) > 20 and decibels(20, 0) < 15
