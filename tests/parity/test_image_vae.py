"""The image VAE is diffusers' AutoencoderKL and AutoencoderKLTemporalDecoder: as stored, and live (marker parity)."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from tests.parity import table
from tests.parity.image_vae_cases import CASES, FIXTURE, STORED, about, inputs, tensors
from vdm_jax import pretrained
from vdm_jax.codecs.image_codec import ImageVAECodec

TOLERANCE = 1e-4


def make_unscaled_codec(config, **more) -> ImageVAECodec:
    """A codec whose latents are diffusers' own."""
    return ImageVAECodec(model=dataclasses.replace(config, scaling_factor=1.0), **more)


def ours(config, drawn, video, z) -> dict[str, np.ndarray]:
    """Return our network's outputs with diffusers' tensors, all frames at once."""
    model = pretrained.load('sd_vae', drawn, about(config))
    assert model.config == ImageVAECodec(model=config)
    codec = make_unscaled_codec(config, slice_frames=0)
    mean, logvar = np.split(jax.jit(codec.moments)(model.params, video), 2, -1)
    return {'mean': mean, 'logvar': logvar, 'pixels': jax.jit(codec.pixels)(model.params, z)}


def apart(outputs: dict, expected: dict) -> float:
    """Return the largest error; no output may be constant."""
    assert all(np.std(each) > 0.2 for each in expected.values())
    return max(float(np.abs(outputs[name] - expected[name]).max()) for name in expected)


@pytest.mark.parametrize('name', STORED)
def test_outputs_equal_the_stored_ones_of_diffusers(name):
    config, shape = CASES[name]
    stored = np.load(FIXTURE)
    drawn = tensors(json.loads(str(stored[f'{name}/shapes'])))
    sums = np.array([array.sum() for array in drawn.values()])
    np.testing.assert_allclose(sums, stored[f'{name}/drawn'], atol=1e-4, err_msg='numpy draws other numbers than then')
    expected = {what: stored[f'{name}/{what}'] for what in ('mean', 'logvar', 'pixels')}
    assert apart(ours(config, drawn, *inputs(config, shape)), expected) < TOLERANCE


@pytest.fixture(scope='module')
def table_rows():
    """Rows of the table; written when all are there."""
    rows = []
    yield rows
    table.write('image_vae', rows)


@pytest.fixture
def theirs():
    pytest.importorskip('diffusers', reason='diffusers is not installed: pip install torch diffusers')
    from tests.parity import image_vae_torch

    return image_vae_torch


@pytest.mark.parity
@pytest.mark.parametrize('name', CASES)
def test_outputs_equal_those_of_diffusers(name, theirs, table_rows):
    config, shape = CASES[name]
    net = theirs.network(config)
    drawn = tensors(theirs.shapes(net))
    clip_and_latents = inputs(config, shape)
    error = apart(ours(config, drawn, *clip_and_latents), theirs.compute_outputs(net, drawn, *clip_and_latents))
    print(f'{name}: {error:.1e}')
    table_rows.append({'source': 'sd_vae', 'configuration': name, 'forward': error})
    assert error < TOLERANCE


@pytest.mark.parity
def test_slices_of_the_temporal_decoder_are_diffusers_chunks(theirs):
    """decode_chunk_size of its pipeline: each chunk is decoded as a clip of its own, the last one shorter."""
    config, shape = CASES['temporal']
    net = theirs.network(config)
    video, z = inputs(config, shape)
    drawn = tensors(theirs.shapes(net))
    model = pretrained.load('sd_vae', drawn, about(config))
    codec = make_unscaled_codec(config, slice_frames=2)
    chunks = [theirs.compute_outputs(net, drawn, video[:, i : i + 2], z[:, i : i + 2])['pixels'] for i in (0, 2, 4)]
    pixels = jax.jit(codec.pixels)(model.params, z)
    np.testing.assert_allclose(pixels, np.concatenate(chunks, 1), atol=TOLERANCE)


@pytest.mark.parity
def test_tiles_are_diffusers_tiles_where_those_are_complete(theirs):
    """Its tiles have one size more, a cut one at the end; what none of that touches is compared."""
    config = CASES['kl'][0]
    net = theirs.network(config)
    video, z = inputs(config, (1, 1, 56, 32))  # latents 28 x 16
    drawn = tensors(theirs.shapes(net))
    net.enable_tiling()
    net.tile_sample_min_size = 32
    net.tile_latent_min_size = 16
    net.tile_overlap_factor = 0.25
    expected = theirs.compute_outputs(net, drawn, video, z)
    model = pretrained.load('sd_vae', drawn, about(config))
    codec = make_unscaled_codec(config, tile=16, overlap=4)
    pixels = jax.jit(codec.pixels)(model.params, z)
    mean, _ = np.split(jax.jit(codec.moments)(model.params, video), 2, -1)
    np.testing.assert_allclose(pixels[:, :, :48, :24], expected['pixels'][:, :, :48, :24], atol=TOLERANCE)
    np.testing.assert_allclose(mean[:, :, :24, :12], expected['mean'][:, :, :24, :12], atol=TOLERANCE)
    untiled = jax.jit(dataclasses.replace(codec, tile=0).pixels)(model.params, z)
    assert np.abs(pixels - untiled)[:, :, :48, :24].max() > 0.01
