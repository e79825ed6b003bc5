"""Rematerialisation: the same gradients from fewer kept values."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.absent import absent
from tests.models.small import LABEL, SMALL, T, network, video
from vdm_jax.nn.remat import POLICIES

DEEP = dataclasses.replace(SMALL, depth=4)


@functools.cache
def make_loss(policy, scan):
    """(loss of the parameters, parameters)."""
    apply, params = network(dataclasses.replace(DEEP, remat=policy, scan=scan))

    def loss(params):
        return jnp.square(apply(params, video(), T, LABEL, 0)).mean()

    return loss, params


def residual_bytes(policy, scan):
    """What the backward pass is handed beside the parameters."""
    loss, params = make_loss(policy, scan)
    residuals = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], params)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(residuals))


def gradients(policy, scan):
    loss, params = make_loss(policy, scan)
    return jax.jit(jax.grad(loss))(params)


@pytest.fixture(scope='module')
def without_remat():
    """(gradients, bytes handed to the backward pass)."""
    return gradients('none', scan=True), residual_bytes('none', scan=True)


@pytest.mark.parametrize('scan', [True, False], ids=['scanned', 'unrolled'])
@pytest.mark.parametrize('policy', [name for name in POLICIES if name != 'none'])
def test_gradients_are_the_same_and_less_is_kept(policy, scan, without_remat):
    expected, size = without_remat
    grads = gradients(policy, scan)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), grads, expected)
    assert residual_bytes(policy, scan) < size


def test_policies_keep_less_and_less(without_remat):
    sizes = {policy: residual_bytes(policy, scan=True) for policy in ('dots', 'attention', 'full')}
    assert without_remat[1] > sizes['dots'] > sizes['attention'] > sizes['full']


def test_offloading_keeps_in_host_memory():
    loss, params = make_loss('offload', scan=True)
    assert '<host>' in str(jax.make_jaxpr(jax.grad(loss))(params))  # the memory space of arrays in a program


@pytest.mark.parametrize('mesh', [{'data': 1}, {'fsdp': 2}], ids=['alone', 'gathered'])
def test_accelerators_keep_less_of_what_is_cheap_to_make_anew(mesh):
    """The insides of normalisation and GELU; also where gathered weights have a policy of their own."""

    def count_residuals(platform):
        apply, params = network(dataclasses.replace(DEEP, scan=True))
        x = video()

        def loss(params):
            return jnp.square(apply(params, x, T, LABEL, 0)).mean()

        with absent(platform, **mesh):
            leaves = jax.tree.leaves(jax.eval_shape(lambda params: jax.vjp(loss, params)[1], params))
        wide = (2, 2, 4, 16, 4 * 32)  # of a layer's MLP: pairs, videos, frames, tokens, hidden units
        return sum(leaf.shape == wide for leaf in leaves), sum(leaf.size for leaf in leaves)

    few, less = count_residuals('tpu')
    many, more = count_residuals('cpu')
    assert few <= 4 < many and less < 0.7 * more  # before and after GELU, of a block over space and one over time
