"""Every mesh of eight devices gives what one device gives: loss and gradients of a complete network, in float32."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parallel.gradients import value_and_grad

PRODUCTS = [sizes for sizes in itertools.product((1, 2, 4, 8), repeat=4) if math.prod(sizes) == 8]
DEFAULT = (8, 1, 1, 1), (1, 8, 1, 1), (1, 1, 8, 1), (1, 1, 1, 8), (1, 2, 2, 2)


@pytest.fixture(scope='module')
def of_one_device():
    return value_and_grad((1, 1, 1, 1))


def test_there_are_twenty_products():
    assert len(PRODUCTS) == 20 and set(DEFAULT) < set(PRODUCTS)


@pytest.mark.multidevice
@pytest.mark.parametrize(
    'sizes',
    [pytest.param(s, marks=[] if s in DEFAULT else pytest.mark.slow, id='x'.join(map(str, s))) for s in PRODUCTS],
)
def test_loss_and_gradients_are_those_of_one_device(sizes, of_one_device):
    loss, grads = value_and_grad(sizes)
    np.testing.assert_allclose(loss, of_one_device[0], rtol=1e-5)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(of_one_device[1]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * max(largest, 1)), grads, of_one_device[1])
    assert largest > 0.1 and all(np.any(leaf) for leaf in jax.tree.leaves(of_one_device[1]))
