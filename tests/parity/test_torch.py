"""VideoDiT is Latte's network: outputs and gradients equal those of the same network written in plain PyTorch."""

import pathlib
import sys

import numpy as np
import pytest

pytest.importorskip('torch', reason='PyTorch is not installed: pip install torch')
sys.path.insert(0, str(pathlib.Path(__file__).parent))

import bench_torch

pytestmark = pytest.mark.parity


@pytest.mark.parametrize('scan', [False, True])
def test_outputs_and_gradients_are_pytorchs(scan):
    shape = {'width': 64, 'depth': 4, 'heads': 2, 'patch': 2, 'channels': 4, 'classes': 5}
    data = bench_torch.inputs(clip=(4, 8, 12))
    ours = bench_torch.Ours(shape, data, scan)
    theirs = bench_torch.Theirs(ours.weights(), shape, data)
    mine = ours.compute()
    other = theirs.compute()
    apart = bench_torch.differences(mine, other)
    assert np.std(mine[0]) > 0.1 and all(np.abs(grad).max() > 0 for grad in mine[1].values())
    assert max(apart.values()) < bench_torch.TOLERANCE, apart


def test_both_networks_have_the_same_losses_in_training():
    shape = {'width': 32, 'depth': 2, 'heads': 2, 'patch': 2, 'channels': 4, 'classes': 5}
    data = bench_torch.inputs(clip=(2, 8, 8))
    ours = bench_torch.Ours(shape, data)
    theirs = bench_torch.Theirs(ours.weights(), shape, data)
    losses = np.array([(ours.step(), theirs.step()) for _ in range(5)])
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], rtol=1e-4)
    assert losses[-1, 0] < losses[0, 0]
