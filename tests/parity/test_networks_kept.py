"""Networks and training losses are the official ones, number for number, by what those once gave; without PyTorch."""

import json

import numpy as np
import pytest

from tests.parity import networks
from tests.parity.networks import CASES, FORWARD, GRADIENT, LOSS

KEPT = [case for case in CASES if case.kept]
key = lambda case: case.key


@pytest.fixture(scope='module')
def kept():
    with np.load(networks.FIXTURES) as file:
        return dict(file)


def test_the_file_says_what_made_it(kept):
    about = json.loads(str(kept['about']))
    assert {'torch', 'diffusers', 'facebookresearch/DiT', 'willisma/SiT', 'Vchitect/Latte'} <= about.keys()
    assert all(len(commit) == 40 for name, commit in about.items() if '/' in name)
    assert networks.FIXTURES.stat().st_size < 100_000


@pytest.mark.parametrize('case', KEPT, ids=key)
def test_outputs_loss_and_gradients_are_the_official_ones(case, kept):
    model, shown = networks.load(case), networks.batch(case)
    outputs = networks.forward(model, shown).ravel()[:: networks.STRIDE]
    want = kept[f'{case.key}: outputs']
    assert np.std(want) > 0.2  # gates and head are open
    np.testing.assert_allclose(outputs, want, rtol=0, atol=FORWARD)
    loss, grads = networks.loss_and_gradients(case, model, shown)
    assert abs(loss - kept[f'{case.key}: loss']) < LOSS
    norms, probes = (dict(zip(sorted(grads), kept[f'{case.key}: {name}'], strict=True)) for name in ('norms', 'probes'))
    assert networks.probed_error(grads, probes, norms) < GRADIENT


def test_the_gradients_rule_sees_a_wrong_tensor():
    rng = np.random.default_rng(0)
    right = {name: rng.normal(size=(4, 5)) * scale for name, scale in {'a': 1, 'b': 1e-3, 'zero': 1e-9}.items()}
    kept = {name: networks.probed(name, array) for name, array in right.items()}
    error = lambda wrong: networks.probed_error(right | wrong, kept, networks.norms(right))
    assert error({}) < 1e-6
    assert error({'zero': 1.3 * right['zero']}) < GRADIENT  # within what rounding may do to it
    assert error({'a': right['a'].T.reshape(4, 5)}) > GRADIENT
    for name in ('a', 'b'):
        assert error({name: 1.01 * right[name]}) > GRADIENT
        assert networks.gradient_error(right | {name: 1.01 * right[name]}, right) > GRADIENT
