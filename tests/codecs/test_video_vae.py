"""The causal video VAE: nothing looks ahead, and an image is a clip of one frame."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.codecs.small_video import SMALL, latents, network, pixels
from vdm_jax.codecs.video_vae import VideoVAEConfig
from vdm_jax.errors import UserError


@functools.cache
def moments():
    return jax.jit(lambda x: network().moments(x))


@functools.cache
def decode():
    return jax.jit(lambda z: network().decode(z))


@pytest.mark.parametrize(
    'shape, expected',
    [((1, 8, 8), (1, 2, 2)), ((5, 8, 16), (2, 2, 4)), ((9, 4, 12), (3, 1, 3)), ((17, 20, 4), (5, 5, 1))],
)
def test_clips_of_any_length_and_sides_come_back_in_their_shape(shape, expected):
    x = jax.ShapeDtypeStruct((2, *shape, 3), jnp.float32)
    mean, logvar = jax.eval_shape(network().moments, x)
    assert mean.shape == logvar.shape == (2, *expected, 2) == (2, *SMALL.latent_shape((*shape, 3)))
    y = jax.eval_shape(network().decode, mean)
    assert y.shape == x.shape and y.dtype == jnp.float32


@pytest.mark.parametrize('time', [1, 2, 4])
@pytest.mark.parametrize('space, patch', [(2, 1), (2, 2), (4, 1), (8, 2), (8, 8)])
def test_every_factor_has_as_many_levels_as_it_takes(time, space, patch):
    levels = 1 + max((space // patch).bit_length(), time.bit_length()) - 1
    config = VideoVAEConfig(
        channels=(4,) * levels, blocks=1, latent=3, time=time, space=space, patch=patch, groups=2, in_channels=1
    )
    assert np.prod([(1, 1, 1), *config.strides], 0).tolist() == [time, space // patch, space // patch]
    z = jax.ShapeDtypeStruct((1, 3, 2, 1, 3), jnp.float32)
    y = jax.eval_shape(network(config).decode, z)
    assert y.shape == (1, 1 + 2 * time, 2 * space, space, 1)
    assert jax.eval_shape(network(config).moments, y)[0].shape == z.shape


def test_latents_are_of_their_frames_and_those_before():
    """By gradient: latent frame i is of frames 0 to 4 i."""
    x, by = pixels(batch=1), jax.jit(jax.jacrev(lambda x: network().moments(x)[0].sum((0, 2, 3, 4))))(pixels(batch=1))
    reach = np.abs(by).max((1, 3, 4, 5))  # (latent frame, frame)
    assert by.shape == (3, *x.shape)
    for i, row in enumerate(reach):
        assert np.all(row[4 * i + 1 :] == 0)
        assert np.all(row[max(4 * i - 3, 0) : 4 * i + 1] > 0)


def test_frames_are_of_their_latents_and_those_before():
    by = np.array(jax.jit(jax.jacrev(lambda z: network().decode(z).sum((0, 2, 3, 4))))(latents(batch=1)))
    reach = np.abs(by).max((1, 3, 4, 5))  # (frame, latent frame)
    for frame, row in enumerate(reach):
        own = -(-frame // 4)
        assert np.all(row[own + 1 :] == 0) and row[own] > 0


def test_an_image_is_the_first_frame_of_a_clip():
    x = pixels()
    z = latents()
    for of_clip, first in zip(moments()(x), moments()(x[:, :1]), strict=True):
        np.testing.assert_allclose(of_clip[:, :1], first, atol=1e-5)
    np.testing.assert_allclose(decode()(z)[:, :1], decode()(z[:, :1]), atol=1e-5)


def test_a_clip_that_stands_still_is_an_image_many_times():
    still = np.repeat(pixels(frames=1), 9, 1)
    mean, _ = moments()(still)
    np.testing.assert_allclose(mean, np.repeat(mean[:, :1], 3, 1), atol=1e-5)


def test_a_later_frame_is_decoded_from_more_than_its_own_latent():
    z = latents()
    other = np.concatenate([latents(seed=3)[:, :1], z[:, 1:]], 1)
    assert np.abs(decode()(z) - decode()(other))[:, 1:].max() > 0.01


@pytest.mark.parametrize(
    'shape, pattern',
    [
        ((8, 8, 8), r'config.data.frames=8: .* groups of 4; set it to 5 or 9'),
        ((16, 8, 8), r'set it to 13 or 17'),
        ((9, 8, 10), r'config.data.pixels: frames of 8x10 .* 4x4 pixels'),
    ],
)
def test_clips_that_do_not_divide_are_named(shape, pattern):
    with pytest.raises(UserError, match=pattern):
        jax.eval_shape(network().moments, jax.ShapeDtypeStruct((2, *shape, 3), jnp.float32))
    with pytest.raises(UserError, match=pattern):
        SMALL.fit_to((*shape, 3), 5)


@pytest.mark.parametrize(
    'changed, pattern',
    [
        ({'channels': (4, 4)}, r'channels=4,4: time=4, space=4 and patch=2 take 3 levels'),
        ({'groups': 3}, 'groups=3: it must divide'),
        ({'channels': (4, 6, 8)}, r'one of 6 and 32 must divide'),
        ({'patch': 8}, 'patch=8: want 4 or less'),
        ({'latent': 0}, 'latent=0'),
    ],
)
def test_what_is_no_network_is_named(changed, pattern):
    with pytest.raises(UserError, match=pattern):
        dataclasses.replace(SMALL, **changed)


def test_pixels_have_the_channels_of_the_source():
    config = dataclasses.replace(SMALL, in_channels=None).fit_to((9, 8, 8, 1), 0)
    assert config.in_channels == 1
    with pytest.raises(UserError, match='in_channels=1: the clips have 3'):
        config.fit_to((9, 8, 8, 3), 0)


def test_the_variance_of_a_latent_stays_finite():
    config = dataclasses.replace(SMALL, dtype='bfloat16')
    _, logvar = jax.eval_shape(network(config).moments, pixels())
    assert logvar.dtype == jnp.float32
    _, logvar = moments()(1e8 * pixels())
    assert np.all(np.isfinite(np.exp(logvar)))


def test_flops_are_those_that_the_compiler_counts():
    """On clips large enough that the rims, where XLA counts no products with padding, do not matter."""
    config = VideoVAEConfig(channels=(8, 16, 16), blocks=1, latent=4, space=4, patch=2, groups=4, in_channels=3)
    shape = (17, 64, 64)

    def both(x):
        return network(config).decode(network(config).moments(x)[0])

    counted = jax.jit(both).lower(jax.ShapeDtypeStruct((1, *shape, 3), jnp.float32)).cost_analysis()['flops']
    assert config.flops(shape) == pytest.approx(counted, rel=0.15)
    assert config.flops(shape, images=2) == config.flops(shape) + 2 * config.flops((1, 64, 64))
