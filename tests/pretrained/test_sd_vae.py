"""Diffusers' image autoencoders through the door: names of today and of old, what they say of the network, and back."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from tests.parity.image_vae_cases import CASES, FIXTURE, about, tensors
from vdm_jax import pretrained
from vdm_jax.codecs.image_codec import ImageVAECodec
from vdm_jax.errors import UserError
from vdm_jax.pretrained import sd_vae
from vdm_jax.pretrained.tensors import write as write_tensors

PUBLISHED = {'to_q': 'query', 'to_k': 'key', 'to_v': 'value', 'to_out.0': 'proj_attn'}


def load_stored(name) -> dict[str, np.ndarray]:
    """A case's tensors, by the names that diffusers gives them."""
    return tensors(json.loads(str(np.load(FIXTURE)[f'{name}/shapes'])))


def load(name, arrays, **more):
    return pretrained.load('sd_vae', arrays, about(CASES[name][0]) | more)


@pytest.mark.parametrize('name', ['kl', 'temporal'])
def test_every_tensor_is_used_and_comes_back_bit_for_bit(name, tmp_path):
    arrays = load_stored(name)
    model = load(name, arrays)
    assert model.config == ImageVAECodec(model=CASES[name][0])
    assert set(model.report.used) == arrays.keys() and not model.report.unused
    write_tensors(tmp_path / 'diffusion_pytorch_model.safetensors', model.export())
    (tmp_path / 'config.json').write_text(json.dumps(about(CASES[name][0])))
    again = pretrained.load('sd_vae', tmp_path)
    assert again.config == model.config
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
    back = again.export()
    assert back.keys() == arrays.keys() and all((back[key] == arrays[key]).all() for key in arrays)


def test_the_names_of_the_published_files_are_known():
    arrays = load_stored('kl')

    def old(name):
        for new, other in PUBLISHED.items():
            name = name.replace(f'.{new}.', f'.{other}.')
        return name

    model = load('kl', {old(name): array for name, array in arrays.items()})
    assert sum(old(name) != name for name in arrays) == 16
    jax.tree.map(np.testing.assert_array_equal, model.params, load('kl', arrays).params)


def test_it_encodes_and_decodes():
    model = load('kl', load_stored('kl'))
    video = np.random.default_rng(0).integers(0, 256, (1, 2, 12, 20, 3), np.uint8)
    latents = model.encode(video)
    assert latents.shape == (1, 2, 6, 10, 4) and latents.dtype == np.float32
    decoded = model.decode(latents)
    assert decoded.shape == video.shape and decoded.dtype == np.uint8 and np.std(decoded) > 10


def test_latents_are_drawn_with_a_sampling_codec():
    model = load('kl', load_stored('kl'))
    drawing = dataclasses.replace(model, config=dataclasses.replace(model.config, sample=True))
    video = np.random.default_rng(0).integers(0, 256, (1, 2, 12, 20, 3), np.uint8)
    keys = jax.random.split(jax.random.key(0), 1)
    mean = model.encode(video)
    np.testing.assert_array_equal(model.encode(video, keys), mean)
    np.testing.assert_array_equal(drawing.encode(video), mean)
    assert np.abs(drawing.encode(video, keys) - mean).max() > 0.01


@pytest.mark.parametrize(
    'call, shape, dtype, pattern',
    [
        ('encode', (2, 12, 20, 3), np.uint8, r'takes a video \(B, T, H, W, 3\), found \(2, 12, 20, 3\)'),
        ('encode', (1, 2, 12, 20, 4), np.uint8, r'takes a video \(B, T, H, W, 3\), found'),
        ('encode', (1, 2, 12, 20, 3), np.int32, r'in uint8, or in floats in \[-1, 1\], not int32'),
        ('encode', (1, 2, 12, 20, 3), bool, r'not bool'),
        ('decode', (2, 6, 10, 4), np.float32, r'takes latents \(B, T, H, W, 4\), found \(2, 6, 10, 4\)'),
        ('decode', (1, 2, 6, 10, 3), np.float32, r'takes latents \(B, T, H, W, 4\), found'),
    ],
)
def test_arrays_that_it_does_not_take_are_refused(call, shape, dtype, pattern):
    with pytest.raises(UserError, match=pattern):
        getattr(load('kl', load_stored('kl')), call)(np.zeros(shape, dtype))


@pytest.mark.parametrize(
    'name, value',
    [('norm_num_groups', None), ('norm_num_groups', 'four'), ('norm_num_groups', 0), ('norm_num_groups', 4.0)]
    + [('scaling_factor', value) for value in ('x', None, 0, float('inf'), float('nan'))],
)
def test_a_config_without_a_number_is_refused(name, value):
    with pytest.raises(UserError, match=rf'config.json: {name}={value!r}: want an? (integer|number) above 0'):
        load('kl', load_stored('kl'), **{name: value})


@pytest.mark.parametrize('name', ['encoder.conv_in.weight', 'decoder.conv_out.weight'])
def test_a_tensor_of_another_rank_is_named(name):
    with pytest.raises(UserError, match=rf'{name} has the shape \(8,\): want 4 dimensions'):
        load('kl', load_stored('kl') | {name: np.zeros(8, np.float32)})


def test_heads_are_no_matter_of_its_own():
    with pytest.raises(UserError, match='--heads=3: the attention of the image VAE has one'):
        pretrained.load('sd_vae', load_stored('kl'), heads=3)


def test_another_network_is_refused_with_the_difference():
    arrays = load_stored('kl')
    with pytest.raises(UserError, match=r"has no encoder.down_blocks.0.* not diffusers' AutoencoderKL; has x"):
        load('kl', {'x': np.zeros(1)})
    with pytest.raises(UserError, match=r'config.json: shift_factor=0.1 is not what .* built for, None'):
        load('kl', arrays, shift_factor=0.1)
    with pytest.raises(UserError, match=r"down_block_types=\['AttnDownEncoderBlock2D'\]"):
        load('kl', arrays, down_block_types=['AttnDownEncoderBlock2D'])
    with pytest.raises(UserError, match=r'missing: encoder.mid_block.resnets.1.conv1.bias'):
        load('kl', {name: array for name, array in arrays.items() if 'encoder.mid_block.resnets.1.conv1.b' not in name})
    with pytest.raises(UserError, match=r'norm_num_groups=3: it does not divide 8'):
        load('kl', arrays, norm_num_groups=3)


def test_what_diffusers_does_not_run_is_reported_as_unused():
    arrays = load_stored('temporal') | {'decoder.mid_block.resnets.2.time_mixer.mix_factor': np.zeros(1)}
    assert load('temporal', arrays).report.unused == ('decoder.mid_block.resnets.2.time_mixer.mix_factor',)


def test_every_row_is_a_tensor_of_stable_diffusions_shape():
    """Of the full size, whose names are those of the published file, its old attention aside."""
    rows = {each.theirs[0]: each.ours for each in sd_vae.rows(ImageVAECodec())}
    assert len(rows) == 248
    assert rows['decoder.up_blocks.2.resnets.0.conv_shortcut.weight'] == 'decoder/levels/2/0/shortcut/kernel'
    assert rows['encoder.down_blocks.2.downsamplers.0.conv.bias'] == 'encoder/levels/2/2/conv/bias'
    assert rows['decoder.mid_block.attentions.0.to_out.0.weight'] == 'decoder/middle/1/project/kernel'
