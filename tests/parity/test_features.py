"""Networks of features beside PyTorch: outputs from the same published tensors, and resizes."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from tests.parity import table
from tests.parity.features_cases import CASES, clips, configuration, tensors
from vdm_jax import pretrained
from vdm_jax.evals.features.resize import resize_bilinear

pytestmark = pytest.mark.parity
TOLERANCE = 1e-4
torch = pytest.importorskip('torch', reason='PyTorch is not installed: pip install torch')


def apart(ours, theirs):
    """The greatest difference, as a share of what is expected."""
    theirs = theirs.numpy()
    assert ours.shape == theirs.shape and np.std(theirs) > 0
    return float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())


def check(source, network, errors):
    print(f'{source}, {configuration(network)}: {errors}')
    row = {'source': source, 'configuration': configuration(network), 'forward': max(errors)}
    table.write(f'{source}_{network.side}', [row])
    assert max(errors) < TOLERANCE


@pytest.mark.parametrize('network, shape', CASES['i3d'])
def test_i3d(network, shape):
    from tests.parity import features_torch

    arrays = tensors('i3d', network)
    ours = pretrained.load('i3d', arrays)
    assert len(ours.report.used) == 230 and not ours.report.unused
    ours = replace(ours, config=network)
    drawn = clips(shape)
    check('i3d', network, [apart(ours(drawn), features_torch.I3D(arrays, network.side)(drawn))])


@pytest.mark.parametrize('network, shape', CASES['inception_fid'])
def test_inception(network, shape):
    from tests.parity.features_torch import inception

    arrays = tensors('inception_fid', network)
    ours = pretrained.load('inception_fid', arrays)
    drawn = clips(shape)
    outputs = jax.jit(network.outputs)(ours.params, drawn)
    assert outputs.features.shape == (shape[0] * shape[1], network.width)
    check('inception_fid', network, list(map(apart, outputs, inception(arrays, drawn, network.side))))


@pytest.mark.parametrize('network, shape', CASES['c3d'])
def test_c3d(network, shape):
    from tests.parity.features_torch import c3d

    arrays = tensors('c3d', network)
    ours = pretrained.load('c3d', arrays)
    assert ours.config == network
    drawn = clips(shape)
    outputs = jax.jit(network.outputs)(ours.params, drawn)
    check('c3d', network, list(map(apart, outputs, c3d(arrays, drawn, network.side))))


@pytest.mark.parametrize(
    'method, options', [('half_pixel', {'align_corners': False}), ('align_corners', {'align_corners': True})]
)
@pytest.mark.parametrize(
    'old, new', [((7, 5), (11, 13)), ((64, 80), (224, 224)), ((31, 33), (12, 7)), ((1, 9), (4, 1)), ((6, 6), (6, 6))]
)
def test_resizes(method, options, old, new):
    x = np.random.default_rng(0).uniform(0, 255, (2, *old, 3)).astype(np.float32)
    ours = resize_bilinear(x, *new, method)
    # In float64, as torch's positions in float32 miss by as much as 1e-3 of a pixel's value.
    pictures = torch.from_numpy(x).double().permute(0, 3, 1, 2)
    theirs = torch.nn.functional.interpolate(pictures, new, mode='bilinear', **options)
    np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1).numpy(), atol=2e-4)
