"""Sequence parallelism: what is communicated, read from the compiled programs, and that nothing else changes."""

import collections
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parallel.collectives import COLLECTIVE, collectives
from tests.parallel.gradients import GROUPS, value_and_grad
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run
from vdm_jax.parallel.mesh import batch_sharding, to_global

DEPTH = 4  # blocks: two pairs


def small(mesh, batch=8, **model):
    groups = {
        'data': {'source': 'synthetic', 'frames': 8, 'pixels': 16, 'classes': 3},
        'model': {'depth': DEPTH, 'width': 64, 'heads': 8, 'patch': 4, 'scan': False} | model,
        'train': {'batch_size': batch}, 'sampler': {'steps': 3}, 'guidance': {'scale': 2.0}, 'mesh': mesh,
    }  # fmt: skip
    return Run(experiment_from(groups), jax.devices()[:8])


def batch_of(run, count=8):
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (count, *run.data.source.shape), np.uint8)
    return to_global({'video': video, 'label': np.arange(count, dtype=np.int32) % 3}, run.mesh)


def forward(run):
    conditions = {name: batch_of(run)[name] for name in ('label',)}
    x = jax.device_put(np.zeros((8, *run.network.latent_shape), np.float32), batch_sharding(run.mesh))
    network = jax.jit(lambda params, x, t, conditions: run.network.apply(params, x, t, conditions, 0))
    return network.lower(run.programs.abstract_state.params, x, jnp.zeros(8), conditions).compile()


def training(run):
    return run.programs.train_step.lower(run.programs.abstract_state, batch_of(run)).compile()


def sampling(run):
    keys = jax.device_put(jax.random.split(jax.random.key(0), 8), batch_sharding(run.mesh))
    conditions = {'label': batch_of(run)['label']}
    return jax.jit(run.generate).lower(run.programs.abstract_state.params, conditions, keys).compile()


@pytest.mark.multidevice
@pytest.mark.parametrize('mesh', [{'sequence': 4}, pytest.param({'sequence': 8, 'data': 1}, marks=pytest.mark.slow)])
@pytest.mark.parametrize('program, a_pair', [(forward, 2), (training, 4), (sampling, 2)])
def test_a_pair_of_blocks_takes_two_all_to_alls_and_no_all_gather(program, a_pair, mesh):
    run = small(mesh)
    with jax.set_mesh(run.mesh):
        counts = collectives(program(run))
    assert counts['all-to-all'] == a_pair * DEPTH // 2
    assert counts['all-gather'] == counts['collective-permute'] == counts['reduce-scatter'] == 0


@pytest.mark.multidevice
@pytest.mark.parametrize(
    'layout, forward_count, training_count',
    [('sequential', 2 * DEPTH, 4 * DEPTH), pytest.param('late_fusion', 2, 4, marks=pytest.mark.slow)],
)
def test_other_factorised_layouts_need_as_few_collectives(layout, forward_count, training_count):
    run = small({'sequence': 4}, layout=layout)
    with jax.set_mesh(run.mesh):
        counts = collectives(forward(run)), collectives(training(run))
    assert [each['all-to-all'] for each in counts] == [forward_count, training_count]
    assert not any(each['all-gather'] for each in counts)


@pytest.mark.multidevice
def test_tensor_parallelism_reduces_twice_a_block_and_gathers_no_activation():
    """Megatron's count (Shoeybi et al. 2019): once after attention, once after the MLP, and as often back; the
    modulation, which is gathered, is small."""
    run = small({'tensor': 4})
    with jax.set_mesh(run.mesh):
        texts = forward(run).as_text(), training(run).as_text()
    for text, times in zip(texts, (2, 4), strict=True):
        lines = [line for line in text.splitlines() if COLLECTIVE.search(line)]
        reduced = [
            line for line in lines if ' all-reduce' in line and '[4,8,16,64]' in line.partition(' all-reduce')[0]
        ]
        gathered = [re.search(r'= \w+\[([\d,]+)\]', line)[1] for line in lines if ' all-gather' in line]
        assert len(reduced) == times * DEPTH
        assert all(np.prod([int(n) for n in shape.split(',')]) < 4 * 8 * 16 * 64 for shape in gathered)


@pytest.mark.multidevice
def test_ulysses_moves_queries_keys_and_values_at_once_and_the_output_back():
    run = small({'sequence': 4}, layout='full')
    with jax.set_mesh(run.mesh):
        counts = collectives(forward(run))
    assert counts['all-to-all'] == 2 * DEPTH and counts['all-gather'] == 0


@pytest.mark.multidevice
def test_fsdp_gathers_each_weight_where_it_is_used_and_no_activation():
    run = small({'slices': 2, 'fsdp': 2})
    with jax.set_mesh(run.mesh):
        text = forward(run).as_text()
    lines = [line for line in text.splitlines() if COLLECTIVE.search(line)]
    assert {COLLECTIVE.search(line)[1] for line in lines} == {'all-gather'}
    gathered = collections.Counter(re.search(r'= \w+\[([\d,]+)\]', line)[1] for line in lines)
    assert gathered['64,192'] == gathered['64,256'] == gathered['64,384'] == DEPTH  # qkv, up, modulation
    weights = {','.join(map(str, leaf.shape[-2:])) for leaf in jax.tree.leaves(run.programs.abstract_state.params)}
    assert set(gathered) <= weights


@pytest.mark.multidevice
def test_what_was_gathered_is_not_kept_for_the_backward_pass():
    """It has the weights as they are stored, in float32, and gathers them again, in bfloat16."""
    run = small({'fsdp': 4}, dtype='bfloat16')
    x = jnp.zeros((8, *run.network.latent_shape))
    t = jnp.zeros(8)
    with jax.set_mesh(run.mesh):

        def back(params):
            return jax.vjp(lambda params: run.network.apply(params, x, t, {}, 0), params)[1]

        residuals = jax.eval_shape(back, run.programs.abstract_state.params)
    kinds = {leaf.dtype.name for leaf in jax.tree.leaves(residuals) if leaf.shape == (64, 192)}
    assert kinds == {'float32'}


@pytest.mark.multidevice
def test_a_ring_passes_keys_and_values_on_and_gathers_nothing():
    run = small({'sequence': 4}, layout='full', attention={'sequence': 'ring'})
    with jax.set_mesh(run.mesh):
        counts = collectives(forward(run))
    assert counts['collective-permute'] == 2 * DEPTH and counts['all-gather'] == counts['all-to-all'] == 0


@pytest.mark.multidevice
@pytest.mark.parametrize(
    'layout, sequence',
    [
        ('full', 'ulysses'),
        ('full', 'ring'),
        *(
            pytest.param(layout, sequence, marks=pytest.mark.slow)
            for layout, sequence in [
                ('windows', 'ulysses'), ('windows', 'ring'), ('split_heads', 'ulysses'), ('sequential', 'ulysses'),
                ('late_fusion', 'ulysses'), ('causal', 'ulysses'),
            ]
        ),
    ],
)  # fmt: skip
def test_every_layout_gives_on_a_split_sequence_what_it_gives_on_one_device(layout, sequence):
    more = {'layout': layout, 'windows': ['1x4x4', '5x3x3'], 'attention': {'sequence': sequence}}
    groups = GROUPS | {'model': GROUPS['model'] | more}
    loss, grads = value_and_grad((1, 1, 4, 2), groups)
    expected_loss, expected = value_and_grad((1, 1, 1, 1), groups)
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * max(largest, 1)), grads, expected)
