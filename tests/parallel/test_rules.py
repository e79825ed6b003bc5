"""The table of shardings: what it gives params, EMA and moments, and the message for a mesh that does not work."""

import re

import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import PartitionSpec

from vdm_jax.errors import UserError
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run
from vdm_jax.parallel.mesh import MeshConfig, make_mesh
from vdm_jax.parallel.rules import (
    RULES,
    axes_for,
    find_replicated,
    find_unmatched,
    path_name,
    sharding_notes,
    shardings_for,
)


def run_on(mesh, devices=8, optimizer='adamw', **model):
    groups = {
        'data': {'source': 'synthetic', 'frames': 8, 'pixels': 16, 'classes': 3},
        'model': {'depth': 2, 'width': 64, 'heads': 8, 'patch': 4} | model,
        'train': {'batch_size': 8}, 'optim': {'name': optimizer}, 'mesh': mesh,
    }  # fmt: skip
    return Run(experiment_from(groups), jax.devices()[:devices])


def specs(tree):
    return {path_name(path): leaf.sharding.spec for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]}


@pytest.mark.parametrize('optimizer', ['adamw', 'muon'])
def test_averages_and_moments_lie_where_their_parameters_do(optimizer):
    run = run_on({'fsdp': 2, 'tensor': 2}, optimizer=optimizer)
    params, ema, moments = (
        specs(getattr(run.programs.abstract_state, name)) for name in ('params', 'ema', 'opt_state')
    )
    split = {name: spec for name, spec in params.items() if any(spec)}
    assert len(split) > 10
    for name, spec in split.items():
        twins = [other for path, other in (ema | moments).items() if path.endswith(name)]
        assert len(twins) >= 2 and set(twins) == {spec}, name


def test_a_rule_that_puts_two_dimensions_on_one_axis_is_refused():
    with pytest.raises(ValueError, match=r"'kernel\$' puts two dimensions of a/kernel on one axis"):
        axes_for('a/kernel', 2, ((r'kernel$', ('fsdp', 'fsdp')),))


def test_the_house_table_has_no_such_rule():
    for pattern, axes in RULES:
        named = [axis for axis in axes if axis]
        assert len(named) == len(set(named)), pattern


def test_a_mesh_that_does_not_divide_is_named_with_array_dimension_and_one_that_works():
    run = run_on({'fsdp': 8, 'data': 1}, width=36, heads=2)
    with pytest.raises(UserError) as error:
        shardings_for(run.programs.abstract_state, run.mesh, RULES)
    match = re.match(
        r'config\.mesh\.fsdp=8 does not divide dimension (\d) of (\S+), which is \(([\d, ]+)\); the nearest mesh that '
        r'works: --config\.mesh\.fsdp=(\d+) --config\.mesh\.data=(\d+)$',
        str(error.value),
    )
    assert int(match[3].split(', ')[int(match[1])]) % 8 and 'kernel' in match[2]
    run_on({'fsdp': int(match[4]), 'data': int(match[5])}, width=36, heads=2).check()


def test_an_optimizer_may_keep_less_of_a_parameter_than_its_shape():
    """Adafactor keeps a row and a column of each matrix; rules speak of the dimensions of the matrix."""
    mesh = make_mesh(MeshConfig(fsdp=2, tensor=2), jax.devices()[:8])
    params = {'layers': {'qkv': {'kernel': jnp.zeros((4, 32, 64)), 'bias': jnp.zeros((4, 64))}}}
    optimizer = optax.chain(optax.scale_by_factored_rms(min_dim_size_to_factor=8), optax.trace(0.9))
    state = {'params': params, 'opt_state': jax.eval_shape(optimizer.init, params)}
    shardings = shardings_for(state, mesh, RULES)
    kernels = {
        path_name(path): sharding.spec
        for path, sharding in jax.tree_util.tree_flatten_with_path(shardings)[0]
        if path_name(path).endswith('kernel')
    }
    replicated = PartitionSpec()
    split = PartitionSpec(None, 'fsdp', 'tensor')
    assert kernels == {
        'params/layers/qkv/kernel': split,
        'opt_state/0/v_row/layers/qkv/kernel': replicated,
        'opt_state/0/v_col/layers/qkv/kernel': replicated,
        'opt_state/0/v/layers/qkv/kernel': replicated,
        'opt_state/1/trace/layers/qkv/kernel': split,
    }


def test_rules_that_match_nothing_are_named():
    run = run_on({})
    assert find_unmatched(run.programs.abstract_state, RULES) == []
    assert find_unmatched(run.programs.abstract_state, ((r'nothing/like/this$', ()), *RULES)) == ['nothing/like/this$']
    assert find_unmatched({'a': 1.0}, RULES) == [pattern for pattern, _ in RULES]


def test_large_replicated_arrays_are_named():
    run = run_on({'fsdp': 8, 'data': 1})
    assert find_replicated(run.programs.abstract_state.params) == []
    replicated = find_replicated(run.programs.abstract_state.params, at_least=1000)
    assert replicated and all('kernel' in name and 'layers' not in name for name in replicated)
    mesh = make_mesh(MeshConfig(fsdp=8, data=1), jax.devices()[:8])
    kernel = {'fresh': {'weights': jax.ShapeDtypeStruct((2048, 1024), 'float32')}}
    placed = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        kernel, shardings_for(kernel, mesh, RULES),
    )  # fmt: skip
    assert find_replicated(placed) == ['fresh/weights (2048, 1024)']
    assert find_replicated(run_on({}).programs.abstract_state.params, at_least=1) == []  # nothing is meant to be split
    assert sharding_notes(run.programs.abstract_state, RULES) == []
    assert 'fresh/weights (2048, 1024)' in sharding_notes(placed, RULES)[-1]


@pytest.mark.parametrize(
    'mesh, layout, attention, message',
    [
        ({'tensor': 8, 'data': 1}, 'interleaved', {}, 'config.mesh.tensor=8 does not divide the 4 heads'),
        ({'sequence': 8, 'data': 1}, 'interleaved', {}, 'config.mesh.sequence=8 does not divide the 4 frames'),
        ({'sequence': 4, 'tensor': 2, 'data': 1}, 'full', {}, 'config.model.attention.sequence=ring'),
        ({'sequence': 4, 'tensor': 2, 'data': 1}, 'full', {'sequence': 'ring'}, None),
        ({'sequence': 4, 'tensor': 2, 'data': 1}, 'full_causal', {}, '; or config.model.attention.sequence=ring'),
        ({'sequence': 4, 'tensor': 2, 'data': 1}, 'full_causal', {'sequence': 'ring'}, None),
        # Windows go by heads whatever is set.
        ({'sequence': 4, 'tensor': 2, 'data': 1}, 'windows', {}, '--config.mesh.sequence=2 --config.mesh.data=2'),
        ({'tensor': 4}, 'split_heads', {}, 'does not divide the 2 heads'),
        ({}, 'interleaved', {'space': 'cudnn'}, 'config.model.attention.space=cudnn: cudnn runs on NVIDIA GPUs alone'),
        ({}, 'windows', {'full': 'splash'}, 'config.model.attention.full=splash: splash runs on TPUs alone'),
    ],
)
def test_heads_and_tokens_that_do_not_divide_are_named(mesh, layout, attention, message):
    groups = {
        'data': {'source': 'synthetic', 'frames': 4, 'pixels': 16},
        'model': {'depth': 2, 'width': 64, 'heads': 4, 'patch': 4, 'layout': layout, 'attention': attention},
        'train': {'batch_size': 8}, 'mesh': mesh,
    }  # fmt: skip
    run = Run(experiment_from(groups), jax.devices()[:8])
    if message is None:
        run.check()
    else:
        with pytest.raises(UserError) as error:
            run.check()
        assert message in str(error.value)
        assert layout != 'windows' or 'ring' not in str(error.value)


def test_images_behind_clips_divide_by_themselves_too():
    """4 frames and 4 images train on 8 parts of a sequence, but samples have no images."""
    source = {'source': 'synthetic', 'frames': 4, 'pixels': 16}
    groups = {
        'data': {'source': 'joint_images', 'clips': source, 'images': source, 'count': 4},
        'model': {'depth': 2, 'width': 64, 'heads': 4, 'patch': 4}, 'mesh': {'sequence': 8, 'data': 1},
    }  # fmt: skip
    with pytest.raises(UserError, match='does not divide the 4 frames of patches'):
        Run(experiment_from(groups), jax.devices()[:8]).check()


@pytest.mark.parametrize(
    'mesh, model',
    [
        ({'tensor': 4, 'sequence': 2, 'data': 1}, {'layout': 'full', 'heads': 6, 'width': 48}),
        ({'tensor': 4}, {'heads': 6, 'width': 24, 'mlp_ratio': 0.55}),  # 13 hidden units
        ({'sequence': 4, 'data': 2}, {'heads': 4, 'width': 48, 'patch': 8}),  # 4 patches a frame, 2 frames
    ],
)
def test_the_mesh_that_is_named_works(mesh, model):
    groups = {'data': {'source': 'synthetic', 'frames': 2, 'pixels': 16}, 'model': {'depth': 2, 'patch': 4} | model}
    with pytest.raises(UserError) as error:
        Run(experiment_from(groups | {'mesh': mesh}), jax.devices()[:8]).check()
    named = re.findall(r'--config\.mesh\.(\w+)=(\d+)', str(error.value))
    mended = mesh | {axis: int(size) for axis, size in named}
    Run(experiment_from(groups | {'mesh': mended}), jax.devices()[:8]).check()
