"""Networks of features: what they take, what they give, and that they are the published ones in shape."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.evals.features.small_network import Colours
from vdm_jax.config.ranges import RangeError
from vdm_jax.errors import UserError
from vdm_jax.evals.features.i3d import I3D
from vdm_jax.evals.features.table import NETWORKS

NARROW = 1 / 32
FRAMES = {'i3d': 9, 'inception': 2, 'c3d': 16}
# Rows and width of features, and classes, for two clips.
WIDTHS = {'i3d': (2, 400, 400), 'inception': (4, 2048, 1008), 'c3d': (2, 4096, 101)}
# Of the published networks, their norms folded away; C3D's without its mean clip.
SIZES = {'i3d': 12_689_984, 'inception': 23_833_744, 'c3d': 78_409_573}


def shapes_of(network, shape, dtype=jnp.uint8):
    return jax.eval_shape(network.outputs, network.abstract_params(), jax.ShapeDtypeStruct(shape, dtype))


@pytest.mark.parametrize('name', NETWORKS)
def test_published_sizes(name):
    network = NETWORKS[name]()
    params = network.abstract_params()
    params.pop('mean', None)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == SIZES[name]
    rows, width, classes = WIDTHS[name]
    outputs = shapes_of(network, (2, FRAMES[name], 20, 32, 3))
    assert outputs.features.shape == (rows, width) == (2 * network.rows_per_clip(FRAMES[name]), network.width)
    assert outputs.logits.shape == (rows, classes) and classes == network.classes
    assert outputs.features.dtype == outputs.logits.dtype == jnp.float32


@pytest.mark.parametrize('name', NETWORKS)
def test_a_narrow_network_has_the_same_layers(name):
    network = NETWORKS[name]()
    narrow = dataclasses.replace(network, multiplier=NARROW)
    assert jax.tree.structure(narrow.abstract_params()) == jax.tree.structure(network.abstract_params())
    outputs = shapes_of(narrow, (1, FRAMES[name], 20, 32, 1))
    assert outputs.features.shape[1] == narrow.width and outputs.logits.shape[1] == network.classes


@pytest.mark.parametrize('name, frames, message', [
    ('i3d', 8, 'i3d needs clips of 9 frames or more; found 8'),
    ('c3d', 15, 'c3d takes clips of 16 frames; found 15'),
    ('c3d', 17, 'c3d takes clips of 16 frames; found 17'),
])  # fmt: skip
def test_clips_of_too_few_frames_are_refused(name, frames, message):
    with pytest.raises(UserError, match=message):
        shapes_of(NETWORKS[name](), (1, frames, 8, 8, 3))


@pytest.mark.parametrize(
    'shape', [(1, 16, 8, 8, 2), (1, 16, 8, 8, 4), (16, 8, 8, 3), (1, 16, 0, 8, 3), (1, 0, 8, 8, 3)]
)
def test_what_is_no_video_is_refused(shape):
    for network in NETWORKS.values():
        with pytest.raises(UserError, match=r'takes videos \(B, T, H, W, C\) with 3 channels, or 1 for grey; found'):
            shapes_of(network(), shape)


def test_integers_of_another_range_are_refused():
    with pytest.raises(UserError, match='takes videos of uint8, or of floats in 0..255; found int32'):
        shapes_of(I3D(), (1, 9, 8, 8, 3), jnp.int32)


def test_configs_are_checked():
    for field in ({'side': 31}, {'multiplier': 0.0}, {'multiplier': 2.0}, {'resize': 'bicubic'}, {'precision': 'low'}):
        with pytest.raises(RangeError, match=f'features.{next(iter(field))}='):
            I3D(**field)


def test_grey_floats_and_uint8_are_the_same_video():
    network = Colours()
    params = network.init(jax.random.key(0))
    grey = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 1), np.uint8)
    expected = network.apply(params, grey)
    for video in (np.repeat(grey, 3, -1), grey.astype(np.float32), np.repeat(grey, 3, -1).astype(jnp.bfloat16)):
        np.testing.assert_allclose(network.apply(params, video), expected, rtol=1e-4)


def test_probabilities_are_those_of_the_logits():
    network = Colours()
    params = network.init(jax.random.key(0))
    video = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), np.uint8)
    logits = np.asarray(network.outputs(params, video).logits)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(network.probabilities(params, video), shares, rtol=1e-5)


def test_a_narrow_i3d_tells_black_white_and_noise_apart():
    network = I3D(multiplier=NARROW, side=32)
    params = network.init(jax.random.key(0))
    apply = jax.jit(network.apply)
    noise = np.random.default_rng(0).integers(0, 256, (1, 9, 32, 32, 3))

    def features_of(values):
        features = np.asarray(apply(params, np.broadcast_to(values, noise.shape).astype(np.float32)))
        assert features.shape == (1, network.width) and np.isfinite(features).all() and features.std() > 0
        return features

    black = features_of(0)
    white = features_of(255)
    assert np.abs(black - white).max() > 1e-2 and np.abs(black - features_of(noise)).max() > 1e-2
    # A video in [0, 1] is nearly black: the range is 0..255.
    assert np.abs(features_of(1) - black).max() < np.abs(white - black).max() / 20
