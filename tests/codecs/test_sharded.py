"""The image VAE on a mesh: each device its own rows and frames, and nothing is sent."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from tests.codecs.small import SMALL, TEMPORAL, latents, noise, video
from tests.parallel.collectives import collectives
from vdm_jax.codecs.image_codec import ImageVAECodec
from vdm_jax.parallel.mesh import MeshConfig, batch_sharding, make_mesh


def on_a_mesh(codec, method, arguments, **sizes):
    """(result, collectives) of a method on 8 devices, rows split, weights replicated."""
    mesh = make_mesh(MeshConfig(**sizes), jax.devices()[:8])
    replicated = NamedSharding(mesh, PartitionSpec())
    rows = batch_sharding(mesh)
    weights = jax.device_put(noise(codec.model), replicated)
    arguments = [jax.device_put(each, rows) for each in arguments]
    with jax.set_mesh(mesh):
        program = jax.jit(getattr(codec, method)).lower(weights, *arguments).compile()
        return program(weights, *arguments), collectives(program)


def run_on_one_device(codec, method, arguments):
    return np.asarray(jax.jit(getattr(codec, method))(noise(codec.model), *arguments))


@pytest.mark.multidevice
@pytest.mark.parametrize('method', ['encode', 'pixels'])
def test_rows_lie_each_on_its_device_and_nothing_is_gathered(method):
    codec = ImageVAECodec(model=SMALL, sample=method == 'encode', slice_frames=2, tile=4, overlap=1)
    arguments = [latents(frames=3, height=4, width=6, batch=8)]
    if method == 'encode':
        arguments = [video(frames=3, height=8, width=12, batch=8), jax.random.split(jax.random.key(0), 8)]
    result, sent = on_a_mesh(codec, method, arguments, slices=2, fsdp=2)
    assert not sent and result.sharding.shard_shape(result.shape)[0] == 1
    expected = run_on_one_device(codec, method, arguments)
    np.testing.assert_allclose(result, expected, atol=2e-5)


@pytest.mark.multidevice
def test_the_sequence_axis_splits_frames_that_do_not_mix():
    codec = ImageVAECodec(model=SMALL)
    z = [latents(frames=4, height=4, width=6)]
    result, sent = on_a_mesh(codec, 'pixels', z, sequence=4)
    assert not sent and result.sharding.shard_shape(result.shape)[:2] == (1, 1)
    np.testing.assert_allclose(result, run_on_one_device(codec, 'pixels', z), atol=2e-5)


@pytest.mark.multidevice
@pytest.mark.slow
@pytest.mark.parametrize('model, frames, batch', [(TEMPORAL, 4, 8), (SMALL, 3, 2), (SMALL, 1, 3)])
def test_what_a_mesh_does_not_divide_is_the_same_too(model, frames, batch):
    codec = ImageVAECodec(model=model, slice_frames=2)
    z = [latents(frames=frames, height=4, width=4, batch=batch)]
    mesh = make_mesh(MeshConfig(sequence=4), jax.devices()[:8])
    with jax.set_mesh(mesh):
        result = jax.jit(codec.pixels)(noise(model), *z)
    np.testing.assert_allclose(result, run_on_one_device(codec, 'pixels', z), atol=2e-5)
