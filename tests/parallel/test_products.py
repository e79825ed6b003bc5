"""Every mesh of eight devices gives what one device gives: loss and gradients of a whole network, in float32."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.build import experiment_from
from vdm_jax.codecs.identity import Identity
from vdm_jax.parallel.mesh import to_global
from vdm_jax.run import Run
from vdm_jax.train.denoise import example_of, losses
from vdm_jax.train.step import example_keys

AXES = 'data', 'fsdp', 'sequence', 'tensor'
PRODUCTS = [sizes for sizes in itertools.product((1, 2, 4, 8), repeat=4) if math.prod(sizes) == 8]
DEFAULT = (8, 1, 1, 1), (1, 8, 1, 1), (1, 1, 8, 1), (1, 1, 1, 8), (1, 2, 2, 2)
GROUPS = {
    'data': {'source': 'synthetic', 'frames': 8, 'pixels': 16, 'classes': 3},
    'model': {
        'depth': 2, 'width': 64, 'heads': 8, 'patch': 4, 'layout': 'interleaved', 'qk_norm': True, 'scalars': ['fps'],
        'position': 'learned_rope', 'scan': True,
    },
    'diffusion': {'time': 'uniform'}, 'train': {'batch_size': 8},
}  # fmt: skip


def value_and_grad(sizes, groups=GROUPS):
    """(loss, gradients by path) of one step's batch on the mesh of these sizes, from parameters of plain noise."""
    run = Run(
        experiment_from(groups | {'mesh': dict(zip(AXES, sizes, strict=True))}), jax.devices()[: math.prod(sizes)]
    )
    rng = np.random.default_rng(0)

    def noise(leaf):
        return jax.device_put(rng.normal(0, 0.1, leaf.shape).astype(np.float32), leaf.sharding)

    batch = {
        'video': rng.integers(0, 256, (8, *run.source.shape), np.uint8),
        'label': np.arange(8, dtype=np.int32) % 3, 'fps': np.linspace(8, 30, 8, dtype=np.float32),
    }  # fmt: skip

    def loss(params, batch):
        keys = example_keys(jax.random.key(1), 0, 8)
        x0, conditions, images = example_of(batch, Identity(), {}, keys)
        return losses(run.network, run.experiment.diffusion, params, x0, conditions, 3, keys, images).loss.mean()

    with jax.set_mesh(run.mesh):
        params = jax.tree.map(noise, run.abstract.params)
        return jax.device_get(jax.jit(jax.value_and_grad(loss))(params, to_global(batch, run.mesh)))


@pytest.fixture(scope='module')
def alone():
    return value_and_grad((1, 1, 1, 1))


def test_there_are_twenty_products():
    assert len(PRODUCTS) == 20 and set(DEFAULT) < set(PRODUCTS)


@pytest.mark.multidevice
@pytest.mark.parametrize(
    'sizes',
    [pytest.param(s, marks=[] if s in DEFAULT else pytest.mark.slow, id='x'.join(map(str, s))) for s in PRODUCTS],
)
def test_loss_and_gradients_are_those_of_one_device(sizes, alone):
    loss, grads = value_and_grad(sizes)
    np.testing.assert_allclose(loss, alone[0], rtol=1e-5)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(alone[1]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * max(largest, 1)), grads, alone[1])
    assert largest > 0.1 and all(np.any(leaf) for leaf in jax.tree.leaves(alone[1]))
