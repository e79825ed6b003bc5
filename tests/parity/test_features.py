"""Networks of features beside PyTorch: outputs from the same published tensors, and resizes."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from tests.parity import table
from tests.parity.features_cases import NARROW, clips, tensors
from vdm_jax import pretrained
from vdm_jax.evals.features.c3d import C3D
from vdm_jax.evals.features.i3d import I3D
from vdm_jax.evals.features.inception import InceptionFID
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
    configuration = (
        f'all channels, {network.side} px' if network.multiplier == 1 else f'1/16 of channels, {network.side} px'
    )
    print(f'{source}, {configuration}: {errors}')
    row = {'source': source, 'configuration': configuration, 'forward': max(errors)}
    table.write(f'{source}_{network.multiplier:.2f}_{network.side}', [row])
    assert max(errors) < TOLERANCE


@pytest.mark.parametrize('network, shape', [
    (I3D(multiplier=NARROW, side=64, resize='half_pixel'), (2, 9, 40, 56, 3)),
    (I3D(multiplier=NARROW, side=75, resize='half_pixel', convolution='direct'), (1, 13, 100, 75, 3)),
    (I3D(resize='half_pixel'), (1, 16, 64, 64, 3)),
])  # fmt: skip
def test_i3d(network, shape):
    from tests.parity import features_torch

    arrays = tensors('i3d', network)
    ours = pretrained.load('i3d', arrays)
    assert len(ours.report.used) == 230 and not ours.report.unused
    ours = replace(ours, config=network)
    drawn = clips(shape)
    check('i3d', network, [apart(ours(drawn), features_torch.I3D(arrays, network.side)(drawn))])


@pytest.mark.parametrize('network, shape', [
    (InceptionFID(multiplier=NARROW, side=123, logit_bias=True), (2, 1, 40, 56, 3)),
    (InceptionFID(logit_bias=True), (1, 2, 64, 80, 3)),
])  # fmt: skip
def test_inception(network, shape):
    from tests.parity.features_torch import inception

    arrays = tensors('inception_fid', network)
    ours = pretrained.load('inception_fid', arrays)
    drawn = clips(shape)
    outputs = jax.jit(network.outputs)(ours.params, drawn)
    assert outputs.features.shape == (shape[0] * shape[1], network.width)
    check('inception_fid', network, list(map(apart, outputs, inception(arrays, drawn, network.side))))


@pytest.mark.parametrize('network, shape', [
    (C3D(multiplier=NARROW, side=45), (2, 16, 40, 56, 3)),
    (C3D(), (1, 16, 64, 64, 3)),
])  # fmt: skip
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
