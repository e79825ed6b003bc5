"""The image VAE as a codec: shapes, the posterior, each frame by itself, slices, memory, and rows on a mesh."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.codecs.small import SMALL, TEMPORAL, latents, noise, video
from tests.marks import rest_slow
from vdm_jax.codecs.image_codec import ImageVAECodec
from vdm_jax.codecs.image_vae import ImageVAEConfig
from vdm_jax.errors import UserError

UNTILED = ImageVAECodec(model=SMALL, slice_frames=0)


@pytest.fixture(scope='module')
def weights():
    return noise(SMALL)


@functools.cache
def jit_method(codec, method):
    return jax.jit(getattr(codec, method))


def run(codec, method, *arguments):
    return np.asarray(jit_method(codec, method)(*arguments))


def sizes(codec):
    return sum(leaf.size for leaf in jax.tree.leaves(codec.abstract_weights()))


def test_the_defaults_are_stable_diffusions():
    assert sizes(ImageVAECodec()) == 83_653_863
    assert sizes(ImageVAECodec(model=ImageVAEConfig(temporal=True))) == 97_742_847
    assert ImageVAECodec().latent_shape((16, 256, 192, 3)) == (16, 32, 24, 4)


def test_what_it_cannot_take_is_refused_by_its_key():
    for shape in ((1, 30, 32, 3), (1, 32, 36, 3), (1, 32, 32, 1)):
        with pytest.raises(UserError, match='config.codec: takes frames of 3 channels whose sides 8 divides'):
            ImageVAECodec().latent_shape(shape)
    with pytest.raises(UserError, match='config.codec.tile=8, overlap=8'):
        ImageVAECodec(tile=8)
    with pytest.raises(UserError, match='config.codec.slice_frames=-1'):
        ImageVAECodec(slice_frames=-1)
    with pytest.raises(UserError, match='norm_num_groups=32: it does not divide 16'):
        ImageVAEConfig(block_out_channels=(16,))


def test_latents_are_the_scaled_mean_or_a_draw_of_each_rows_own_key(weights):
    clip = video()
    mean, logvar = jnp.split(jit_method(UNTILED, 'moments')(weights, clip), 2, -1)
    assert mean.shape == logvar.shape == (2, *UNTILED.latent_shape(clip.shape[1:])) == (2, 4, 6, 10, 4)
    np.testing.assert_allclose(run(UNTILED, 'encode', weights, clip), 0.18215 * mean, atol=1e-6)
    sampled = dataclasses.replace(UNTILED, sample=True)
    keys = jax.random.split(jax.random.key(0), 2)
    drawn = run(sampled, 'encode', weights, clip, keys)
    noise = (drawn / 0.18215 - mean) / jnp.exp(logvar / 2)
    assert abs(noise.mean()) < 0.1 and abs(noise.std() - 1) < 0.1
    np.testing.assert_allclose(run(sampled, 'encode', weights, clip[::-1], keys[::-1]), drawn[::-1], atol=1e-5)
    np.testing.assert_array_equal(run(sampled, 'encode', weights, clip), run(UNTILED, 'encode', weights, clip))


def test_pixels_are_read_and_written_as_bytes(weights):
    clip = video()
    as_floats = run(UNTILED, 'encode', weights, clip.astype(np.float32) / 127.5 - 1)
    np.testing.assert_allclose(run(UNTILED, 'encode', weights, clip), as_floats, atol=1e-6)
    z = latents()
    pixels = run(UNTILED, 'pixels', weights, z)
    decoded = run(UNTILED, 'decode', weights, z)
    assert decoded.dtype == np.uint8 and decoded.shape == (2, 4, 12, 20, 3)
    expected = np.clip((pixels.astype(np.float64) + 1) * 127.5, 0, 255)
    assert np.abs(decoded - expected).max() < 0.501 and (expected == 0).any() and (expected == 255).any()


def test_the_scale_is_taken_off_again(weights):
    z = latents()
    other = dataclasses.replace(UNTILED, model=dataclasses.replace(SMALL, scaling_factor=2.0))
    np.testing.assert_allclose(
        run(other, 'pixels', weights, 2.0 * z), run(UNTILED, 'pixels', weights, 0.18215 * z), atol=1e-5, rtol=1e-5
    )


def differing_frames(before, after):
    """Which frames differ."""
    return (before != after).any((0, 2, 3, 4)).tolist()


@pytest.mark.parametrize('model', [SMALL, TEMPORAL])
def test_only_the_temporal_decoder_mixes_frames(model):
    codec = dataclasses.replace(UNTILED, model=model)
    drawn = noise(model)
    z = latents()
    other = z.copy()
    other[:, 0] += 1
    reached = differing_frames(*(run(codec, 'pixels', drawn, each) for each in (z, other)))
    assert reached == [True] + [model.temporal] * 3


def test_no_encoder_mixes_frames(weights):
    clip = video()
    other = clip.copy()
    other[:, 0] //= 2
    reached = differing_frames(*(run(UNTILED, 'encode', weights, each) for each in (clip, other)))
    assert reached == [True, False, False, False]


@pytest.mark.parametrize('count', rest_slow([1, 3, 5, 8], [3]))
def test_slices_change_nothing_where_frames_do_not_mix(weights, count):
    """Of 2 rows of 4 frames: one frame at a time, slices that do not divide them, that cross rows, all of them."""
    codec = dataclasses.replace(UNTILED, slice_frames=count)
    np.testing.assert_allclose(
        run(codec, 'pixels', weights, latents()), run(UNTILED, 'pixels', weights, latents()), atol=2e-5
    )
    np.testing.assert_allclose(
        run(codec, 'encode', weights, video()), run(UNTILED, 'encode', weights, video()), atol=1e-6
    )


def test_slices_of_the_temporal_decoder_are_clips_of_their_own():
    weights = noise(TEMPORAL)
    z = latents(frames=3, height=4, width=4)
    by_two = ImageVAECodec(model=TEMPORAL, slice_frames=2)
    sliced = run(by_two, 'pixels', weights, z)
    unsliced = dataclasses.replace(by_two, slice_frames=None)
    for start, end in ((0, 2), (2, 3)):
        by_itself = run(unsliced, 'pixels', weights, z[:, start:end])
        np.testing.assert_allclose(sliced[:, start:end], by_itself, atol=1e-5)


@pytest.mark.slow
def test_gradients_go_through_slices_and_tiles(weights):
    z = latents(frames=3, batch=1)

    def slope(**more):
        codec = dataclasses.replace(UNTILED, **more)
        return jax.jit(jax.grad(lambda z: jnp.square(codec.pixels(weights, z)).mean()))(z)

    np.testing.assert_allclose(slope(slice_frames=2), slope(), atol=1e-7)
    assert np.isfinite(slope(slice_frames=2, tile=4, overlap=2)).all()


def test_bfloat16_is_near(weights):
    half = dataclasses.replace(UNTILED, dtype='bfloat16')
    pixels = run(half, 'pixels', weights, latents())
    assert pixels.dtype == np.float32
    assert 1e-4 < np.abs(pixels - run(UNTILED, 'pixels', weights, latents())).mean() < 0.03


def temporaries(what, frames, count, rows=1, side=32, **more):
    """Bytes that the compiler sets aside for one call beside arguments and results."""
    codec = ImageVAECodec(model=SMALL, slice_frames=count, **more)
    shape = (rows, frames, side, side, 3)
    kind = np.uint8
    if what == 'decode':
        shape, kind = (rows, *codec.latent_shape(shape[1:])), np.float32
    lowered = jax.jit(getattr(codec, what)).lower(codec.abstract_weights(), jax.ShapeDtypeStruct(shape, kind))
    return lowered.compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize('what', rest_slow(['encode', 'decode'], ['decode']))
def test_sixteen_frames_take_the_memory_of_two_and_a_constant(what):
    constant = 2**17
    two = temporaries(what, 2, 0)
    sliced = temporaries(what, 16, 2)
    unsliced = temporaries(what, 16, 0)

    assert sliced <= two + constant < unsliced


@pytest.mark.slow
def test_neither_length_nor_batch_change_the_memory():
    assert temporaries('decode', 33, 2, rows=2) <= temporaries('decode', 2, 0) + 2**17


@pytest.mark.parametrize('what', rest_slow(['encode', 'decode'], ['decode']))
def test_a_larger_frame_takes_the_memory_of_a_tile(what):
    tile = temporaries(what, 1, 1, side=32)
    untiled = temporaries(what, 1, 1, side=64)
    cut = temporaries(what, 1, 1, side=64, tile=16, overlap=4)
    results = 64 * 64 * 3 * 4 if what == 'decode' else 32 * 32 * 4 * 4  # float32, until all tiles are blended
    assert cut <= tile + 2 * results + 2**17 < untiled
