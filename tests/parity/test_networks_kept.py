"""Networks and training losses are the official ones, number for number, by what those once gave; without PyTorch."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity import networks
from tests.parity.networks import CASES, FORWARD, GRADIENT, LOSS
from vdm_jax.diffusion.process import expand
from vdm_jax.train.diffusion_loss import compute_losses

STORED_CASES = [case for case in CASES if case.kept]


def key(case):
    return case.key


@pytest.fixture(scope='module')
def stored_arrays():
    with np.load(networks.FIXTURES) as file:
        return dict(file)


def test_the_file_holds_the_versions_that_made_it(stored_arrays):
    about = json.loads(str(stored_arrays['about']))
    assert {'torch', 'diffusers', 'facebookresearch/DiT', 'willisma/SiT', 'Vchitect/Latte'} <= about.keys()
    assert all(len(commit) == 40 for name, commit in about.items() if '/' in name)
    assert networks.FIXTURES.stat().st_size < 100_000


@pytest.mark.parametrize('case', STORED_CASES, ids=key)
def test_outputs_loss_and_gradients_are_the_official_ones(case, stored_arrays):
    model = networks.load(case)
    inputs = networks.batch(case)
    outputs = networks.forward(model, inputs).ravel()[:: networks.STRIDE]
    want = stored_arrays[f'{case.key}: outputs']
    assert np.std(want) > 0.2  # gates and head are open
    np.testing.assert_allclose(outputs, want, rtol=0, atol=FORWARD)
    loss, grads = networks.loss_and_gradients(case, model, inputs)
    assert abs(loss - stored_arrays[f'{case.key}: loss']) < LOSS

    def stored_by_name(what):
        return dict(zip(sorted(grads), stored_arrays[f'{case.key}: {what}'], strict=True))

    norms = stored_by_name('norms')
    probes = stored_by_name('probes')
    assert networks.probe_error(grads, probes, norms) < GRADIENT


@pytest.mark.parametrize('name', ['latte, classes', 'sit, patch 2, 3 blocks'])
def test_the_trainer_minimises_that_loss(name):
    """It draws times and noise by itself; they are recovered from the network's inputs."""
    case = networks.BY_KEY[name]
    model = networks.load(case)
    inputs = networks.batch(case)
    seen = {}
    x0 = jnp.asarray(inputs.x)
    label_condition = {'label': jnp.asarray(inputs.conditions['label'])}

    def network(params, x_t, time, conditions, images):
        seen.update(x_t=x_t, time=np.asarray(time))
        return model.apply(params, x_t, time, conditions)

    objective = dataclasses.replace(model.objective, condition_dropout=0.0)
    keys = jax.random.split(jax.random.key(0), len(x0))
    loss = compute_losses(network, objective, model.params, x0, label_condition, case.config.classes, keys).loss
    t = networks.house_time(case, seen['time'])
    alpha, sigma = (expand(each, x0.ndim) for each in objective.process.alpha_sigma(t))
    eps = (seen['x_t'] - alpha * x0) / sigma
    assert np.std(eps) > 0.9
    expected = networks.training_loss(model, model.params, x0, eps, t, label_condition)
    np.testing.assert_allclose(loss.mean(), expected, rtol=1e-5)


def test_the_gradients_rule_sees_a_wrong_tensor():
    rng = np.random.default_rng(0)
    right = {name: rng.normal(size=(4, 5)) * scale for name, scale in {'a': 1, 'b': 1e-3, 'zero': 1e-9}.items()}
    right_probes = {name: networks.probe(name, array) for name, array in right.items()}

    def error(wrong):
        return networks.probe_error(right | wrong, right_probes, networks.norms(right))

    assert error({}) < 1e-6
    assert error({'zero': 1.03 * right['zero']}) < GRADIENT  # within what rounding may do to it
    assert error({'a': right['a'].T.reshape(4, 5)}) > GRADIENT
    for name in ('a', 'b'):
        assert error({name: 1.01 * right[name]}) > GRADIENT
        assert networks.gradient_error(right | {name: 1.01 * right[name]}, right) > GRADIENT
