"""bfloat16 compute over float32 master weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run


def run_in(dtype):
    groups = {
        'data': {'source': 'synthetic', 'frames': 4, 'pixels': 8, 'classes': 3},
        'model': {'depth': 2, 'width': 32, 'heads': 2, 'patch': 2, 'dtype': dtype}, 'train': {'batch_size': 4},
    }  # fmt: skip
    return Run(experiment_from(groups), jax.devices()[:1])


def products(jaxpr):
    """The dtypes of the operands of every matrix product, however deep."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == 'dot_general':
            yield from (str(each.aval.dtype) for each in equation.invars)
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                if isinstance(inner, (jax.extend.core.Jaxpr, jax.extend.core.ClosedJaxpr)):
                    yield from products(getattr(inner, 'jaxpr', inner))


def noisy(run):
    """Parameters without the zeros of initialisation, behind which the network would say nothing."""
    state = run.programs.init_state()
    rng = np.random.default_rng(0)
    state.params = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.1, leaf.shape), leaf.dtype), state.params)
    return state


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_matrix_products_are_in_the_configured_precision_and_the_state_in_float32(dtype):
    run = run_in(dtype)
    batch = {'video': np.zeros((4, 4, 8, 8, 3), np.uint8), 'label': np.zeros(4, np.int32)}
    with jax.set_mesh(run.mesh):
        inputs = (
            run.programs.abstract_state.params,
            np.zeros((4, *run.network.latent_shape), np.float32),
            np.zeros(4, np.float32),
        )
        forward = jax.make_jaxpr(lambda *inputs: run.network.apply(*inputs, {'label': batch['label']}, 0))(*inputs)
        assert set(products(forward.jaxpr)) == {dtype}
        state, _ = run.programs.train_step(run.programs.init_state(), run.batch_layout.to_global(batch))
    kinds = {leaf.dtype.name for leaf in jax.tree.leaves((state.params, state.ema, state.opt_state))}
    assert kinds <= {'float32', 'int32'}


def test_an_update_too_small_for_bfloat16_is_not_lost():
    """A step of 1e-4 on a weight of 1 is nothing in bfloat16, whose next number is 1.0078."""
    run = run_in('bfloat16')
    batch = {
        'video': np.arange(4 * 4 * 8 * 8 * 3).reshape(4, 4, 8, 8, 3).astype(np.uint8),
        'label': np.zeros(4, np.int32),
    }
    with jax.set_mesh(run.mesh):
        before = noisy(run)
        before.params = jax.tree.map(lambda leaf: leaf + 1, before.params)
        initial_params = jax.tree.map(np.asarray, before.params)
        after, _ = run.programs.train_step(before, run.batch_layout.to_global(batch))
    moved = [
        np.abs(np.asarray(a) - b).max()
        for a, b in zip(*map(jax.tree.leaves, (after.params, initial_params)), strict=True)
    ]
    assert 0 < np.median(moved) < 2e-3
