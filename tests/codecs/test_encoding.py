"""What a cache of latents is held by: all of a codec's config that its moments hang on, and nothing else."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from tests.codecs.small import SMALL, noise, video
from vdm_jax.codecs.image_codec import ImageVAECodec
from vdm_jax.experiment.experiment import Experiment
from vdm_jax.experiment.registry import CODECS
from vdm_jax.experiment.run import Run
from vdm_jax.models.dit import VideoDiTConfig

CODEC = ImageVAECodec(model=SMALL, overlap=2)


def encoding(codec, weights):
    run = Run(Experiment(codec=codec, model=VideoDiTConfig(patch=1))).with_parts(frozen={'codec': weights})
    return run.latent_cache_key


@pytest.mark.parametrize(
    'changes',
    [{'path': 'elsewhere', 'sample': True, 'slice_frames': 1}, {'tile': 4}, {'dtype': 'bfloat16'}],
)
def test_it_names_what_changes_moments(changes):
    other = dataclasses.replace(CODEC, **changes)
    weights = noise(SMALL)
    clip = video(frames=2, batch=1)
    moments = [np.asarray(jax.jit(codec.moments)(weights, clip)) for codec in (CODEC, other)]
    here, there = (encoding(codec, weights) for codec in (CODEC, other))
    differing = {key for key, value in here.items() if there[key] != value}
    assert (np.abs(moments[0] - moments[1]).max() < 1e-5) == (not differing)
    assert differing == {f'config.codec.{name}' for name in changes if name not in CODEC.fields_after_moments}


def test_an_encoding_survives_json():
    values = encoding(CODEC, noise(SMALL))
    assert json.loads(json.dumps(values)) == values
    assert values['config.codec.model.block_out_channels'] == [8, 16] and values['config.codec'] == 'ImageVAECodec'
    for codec in CODECS.values():
        assert {*codec.fields_after_moments} <= {field.name for field in dataclasses.fields(codec)}
