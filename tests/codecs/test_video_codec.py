"""The video VAE as a frozen codec: chunks change nothing, latents are normalised, rows stay on their devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests.codecs.small_video import SMALL, latents, network, pixels, video, weights
from tests.marks import rest_slow
from tests.parallel.collectives import collectives
from vdm_jax.codecs.chunks import apply_in_chunks
from vdm_jax.codecs.pixels import to_bytes
from vdm_jax.codecs.video_codec import VideoVAECodec, measure_statistics
from vdm_jax.codecs.video_vae import VideoVAEConfig
from vdm_jax.errors import UserError
from vdm_jax.nn.causal_conv import Past
from vdm_jax.parallel.mesh import MeshConfig, batch_sharding, make_mesh

CODEC = VideoVAECodec(model=SMALL)
encode = jax.jit(CODEC.encode)
decode = jax.jit(CODEC.decode)


@pytest.mark.parametrize('count', rest_slow([1, 2, 3, 5], [2]))
def test_chunks_equal_the_unchunked_result(count):
    """Of 5 groups of frames; some are left over by 2 and 3, and by 5 there is one chunk."""
    z = latents(frames=6, batch=1)
    x = pixels(frames=21, batch=1)

    def up(count):
        return apply_in_chunks(network().decode, z, count)

    def down(count):
        return apply_in_chunks(lambda *chunk: network().moments(*chunk)[0], x, count, 4)

    for call in (up, down):
        unchunked, chunked = jax.jit(lambda call=call: (call(0), call(count)))()
        assert np.std(unchunked) > 0.1
        np.testing.assert_allclose(chunked, unchunked, atol=1e-5)


def test_what_chunks_hold_does_not_grow_with_the_clip():
    """Memory beside arguments and results, from the compiler: for eight times the frames the same, and less than
    decoding half of them at once takes."""
    codec = dataclasses.replace(CODEC, chunk=2)

    def temporary(codec, frames):
        z = jax.ShapeDtypeStruct((1, frames, 8, 8, 2), jnp.float32)
        memory = jax.jit(codec.decode).lower(codec.abstract_weights(), z).compile().memory_analysis()
        return (
            memory.temp_size_in_bytes - memory.output_size_in_bytes
        )  # the results of the scan, before they are joined

    assert temporary(codec, 65) <= 1.1 * temporary(codec, 9)
    assert temporary(codec, 65) < 0.5 * temporary(CODEC, 33)


def test_latents_are_normalised_and_come_back():
    mean = (0.5, -1.0)
    std = (2.0, 0.25)
    codec = dataclasses.replace(CODEC, mean=mean, std=std)
    clips = video()
    plain = encode(weights(), clips)
    normalised = jax.jit(codec.encode)(weights(), clips)
    np.testing.assert_allclose(normalised, (np.asarray(plain) - mean) / std, atol=1e-5)
    a = decode(weights(), plain)
    b = jax.jit(codec.decode)(weights(), normalised)
    assert a.dtype == jnp.uint8 and a.shape == clips.shape and np.std(a) > 10
    assert np.abs(a.astype(int) - b.astype(int)).max() <= 1


def test_statistics_make_latents_normal():
    z = np.random.default_rng(0).gamma(2, 3, (4, 3, 2, 3, 2)) * (1, 10)
    mean, std = measure_statistics(z)
    normal = (z - mean) / std
    np.testing.assert_allclose(normal.mean((0, 1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(normal.std((0, 1, 2, 3)), 1, atol=1e-6)


def test_what_it_decodes_is_what_the_network_decodes_as_bytes():
    z = latents()
    np.testing.assert_array_equal(decode(weights(), z), to_bytes(jax.jit(network().decode)(z)))


def test_latents_are_drawn_by_the_key_of_their_row_with_sample():
    codec = dataclasses.replace(CODEC, sample=True)
    clips = np.repeat(video(batch=1), 3, 0)
    keys = jax.random.split(jax.random.key(0), 3)[np.array([0, 1, 1])]
    drawn = jax.jit(codec.encode)(weights(), clips, keys)
    mean = encode(weights(), clips)
    np.testing.assert_array_equal(drawn[1], drawn[2])
    assert not np.allclose(drawn[0], drawn[1]) and not np.allclose(drawn, mean)
    np.testing.assert_array_equal(CODEC.encode(weights(), clips[:1], keys[:1]), CODEC.encode(weights(), clips[:1]))


def test_draws_have_the_moments_of_the_posterior():
    codec = dataclasses.replace(CODEC, sample=True)
    clips = np.repeat(video(batch=1, height=4, width=4), 1000, 0)
    mean, logvar = jax.jit(network().moments)(clips[:1].astype(np.float32) / 127.5 - 1)
    encode = jax.jit(codec.encode)
    drawn = np.asarray(encode(weights(), clips, jax.random.split(jax.random.key(0), len(clips))))
    std = np.exp(0.5 * np.asarray(logvar[0]))
    np.testing.assert_allclose((drawn.mean(0) - mean[0]) / std, 0, atol=0.15)
    np.testing.assert_allclose(drawn.std(0) / std, 1, atol=0.1)


@pytest.mark.parametrize(
    'changed, pattern',
    [
        ({'mean': (0.0,)}, r'config.codec.mean has 1 numbers: .* 2 channels'),
        ({'std': (1.0, 0.0)}, 'config.codec.std=1.0,0.0: 0.0 is among them; want a number above 0'),
        ({'chunk': -1}, 'config.codec.chunk=-1'),
    ],
)
def test_settings_that_do_not_fit_are_named(changed, pattern):
    with pytest.raises(UserError, match=pattern):
        dataclasses.replace(CODEC, **changed)


def test_clips_that_do_not_fit_are_named():
    assert CODEC.latent_shape((9, 8, 12, 3)) == (3, 2, 3, 2)
    with pytest.raises(UserError, match='config.data.frames=8'):
        CODEC.encode(weights(), video(frames=8))
    with pytest.raises(UserError, match='in_channels=3: the clips have 1'):
        CODEC.latent_shape((9, 8, 12, 1))


def test_pixels_are_rgb_by_default():
    assert VideoVAECodec().model == VideoVAEConfig(in_channels=3)


@pytest.mark.multidevice
@pytest.mark.parametrize('method', ['encode', 'decode'])
def test_rows_lie_each_on_its_device_and_nothing_is_gathered(method):
    codec = dataclasses.replace(CODEC, sample=True, chunk=2)
    arguments = [latents(frames=6, batch=8)]
    if method == 'encode':
        arguments = [video(frames=21, batch=8), jax.random.split(jax.random.key(0), 8)]
    mesh = make_mesh(MeshConfig(slices=2, fsdp=2), jax.devices()[:8])
    placed = [jax.device_put(each, batch_sharding(mesh)) for each in arguments]
    replicated = jax.device_put(weights(), NamedSharding(mesh, PartitionSpec()))
    call = jax.jit(getattr(codec, method))
    with jax.set_mesh(mesh):
        program = call.lower(replicated, *placed).compile()
        result = program(replicated, *placed)
    assert not collectives(program) and result.sharding.shard_shape(result.shape)[0] == 1
    expected = np.asarray(call(weights(), *arguments))
    np.testing.assert_allclose(np.asarray(result, np.float32), expected, atol=1 if method == 'decode' else 1e-5)


def test_as_many_frames_are_cached_as_the_layers_look_back():
    """And a beginning keeps what a continuation takes and keeps itself."""

    def both(z):
        past = Past()
        network().decode(z[:, :1], past)
        again = Past(tuple(past.frames))
        network().decode(z[:, 1:], again)
        return past.frames, again.frames

    past_frames, again = jax.eval_shape(both, latents())
    assert [each.shape for each in again] == [each.shape for each in past_frames]
    assert len(past_frames) == 1 + 3 * 2 + 2 + 1  # in, three levels, two Ups, out
    assert {each.shape[1] for each in past_frames} == {2}
