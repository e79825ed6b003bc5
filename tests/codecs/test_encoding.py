"""What a cache of latents is held by: all of a codec's config that its moments hang on, and nothing else."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from tests.codecs.small import SMALL, noise, video
from vdm_jax.codecs.codec import AFTER, encoding
from vdm_jax.codecs.image_codec import ImageVAECodec
from vdm_jax.codecs.video_codec import VideoVAECodec

CODEC = ImageVAECodec(model=SMALL, overlap=2)


@pytest.mark.parametrize(
    'changes',
    [{'path': 'elsewhere', 'sample': True, 'scale': 2.0, 'slice_frames': 1}, {'tile': 4}, {'dtype': 'bfloat16'}],
)
def test_it_names_what_changes_moments(changes):
    other, weights, clip = dataclasses.replace(CODEC, **changes), noise(SMALL), video(frames=2, batch=1)
    moments = [np.asarray(jax.jit(codec.moments)(weights, clip)) for codec in (CODEC, other)]
    differing = {key for key, value in encoding(other).items() if encoding(CODEC)[key] != value}
    alike = np.abs(moments[0] - moments[1]).max() < 1e-5
    assert alike == (not differing)
    assert differing == {f'config.codec.{name}' for name in changes if name not in AFTER}


def test_it_is_the_same_read_back():
    for codec in (CODEC, VideoVAECodec()):
        assert json.loads(json.dumps(encoding(codec))) == encoding(codec)
    assert encoding(VideoVAECodec())['config.codec.model.channels'] == [128, 256, 256, 512]
    assert {name for codec in (CODEC, VideoVAECodec()) for name in vars(codec)} >= set(AFTER)
