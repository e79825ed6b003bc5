"""A block has any number of attentions, of any pattern: shown by layouts that the package does not have."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.axial import AXIAL_LAYOUTS, AxialConfig, Columns, Rows
from tests.models.small import FIRST, LABEL, SMALL, T, network, video
from tests.parallel.gradients import GROUPS, value_and_grad
from vdm_jax.data.clip_batches import batch_of
from vdm_jax.experiment import registry
from vdm_jax.experiment.experiment import experiment_from
from vdm_jax.experiment.run import Run
from vdm_jax.models import layouts
from vdm_jax.models.block_spec import BlockSpec
from vdm_jax.models.flops import flops_per_video
from vdm_jax.nn.attention_patterns import Full, Grid, Space, Time, Window
from vdm_jax.parallel.rules import RULES, axes_for


@pytest.fixture(scope='module', autouse=True)
def in_the_tables():
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(registry.MODELS, 'axial', AxialConfig)
        for name, layout in AXIAL_LAYOUTS.items():
            patched.setitem(layouts.LAYOUTS, name, layout)
        yield


def small(layout='axial', **changes):
    fields = {field.name: getattr(SMALL, field.name) for field in dataclasses.fields(SMALL)}
    return AxialConfig(**fields | {'layout': layout, 'position': 'sincos_rope'} | changes)


def test_a_specification_has_the_properties_of_its_patterns():
    in_turn = BlockSpec.in_turn(Rows(), Columns(), Time())
    shared = BlockSpec.sharing_heads(Space(), Time())
    assert in_turn.patterns == (Rows(), Columns(), Time()) and shared.patterns == (Space(), Time())
    assert (in_turn.max_head_groups, shared.max_head_groups) == (1, 2)
    assert (in_turn.modulation_chunks, shared.modulation_chunks) == (12, 6)
    grid = Grid(frames=4, rows=3, columns=5)
    assert in_turn.mean_attended_tokens(grid) == 5 + 3 + 4 and shared.mean_attended_tokens(grid) == (15 + 4) / 2
    assert not in_turn.is_over_time_only and BlockSpec.in_turn(Time(), Time(causal=True)).is_over_time_only


def test_a_pattern_declares_whether_it_needs_positions_in_time():
    needing = [pattern.needs_time_positions for pattern in (Time(), Full(), Window(1, 4, 4))]
    others = [pattern.needs_time_positions for pattern in (Space(), Rows(), Columns())]
    assert all(needing) and not any(others)
    assert BlockSpec.in_turn(Rows(), Time()).needs_time_positions
    assert not BlockSpec.in_turn(Rows(), Columns()).needs_time_positions


def test_blocks_along_rows_get_no_positions_in_time():
    """A clip that stands still gives the same in every frame, as where each frame stands by itself."""
    apply, params = network(small('rows_alone'))
    still = jnp.concatenate([video(1)] * 4, 1)
    frames = apply(params, still, T, LABEL)
    np.testing.assert_array_equal(frames[:, 0], frames[:, 1])


def test_positions_in_time_are_added_before_the_first_block_that_needs_them(monkeypatch):
    steps = []
    add_time = layouts.add_time
    run_block = layouts.run_block

    def adding(x, context, here):
        steps.append('add' if here else 'not again')
        return add_time(x, context, here)

    def running(block, *arguments):
        steps.append(type(block.spec.patterns[0]).__name__)
        return run_block(block, *arguments)

    monkeypatch.setattr(layouts, 'add_time', adding)
    monkeypatch.setattr(layouts, 'run_block', running)
    apply, params = network(small('axial_blocks', depth=6, scan=False))
    apply(params, video(), T, LABEL)
    assert steps == ['Rows', 'Columns', 'add', 'Time', 'Rows', 'Columns', 'not again', 'Time']


def test_three_attentions_in_a_block_reach_along_their_axes_and_into_no_later_frame():
    apply, params = network(small(depth=1))
    reach = jax.grad(lambda x: apply(params, x, T[:1], FIRST)[0, 2].sum())(video(batch=1))[0]
    assert [bool(frame) for frame in np.abs(reach).max((1, 2, 3)) > 0] == [True, True, True, False]

    rows, params = network(small('rows_alone', depth=1))
    reach = jax.grad(lambda x: rows(params, x, T[:1], FIRST)[0, 1, 0, 0, 0])(video(batch=1))[0]
    reach = np.abs(reach).max(-1).reshape(4, 4, 2, 4, 2).max((2, 4)) > 0  # frames, rows, columns of patches
    expected = np.zeros((4, 4, 4), bool)
    expected[1, 0] = True
    np.testing.assert_array_equal(reach, expected)


def test_their_parameters_are_numbered_and_split_the_same_way():
    _, params = network(small())
    assert {name for name in params['layers']['block'] if 'attention' in name} == {
        'attention', 'attention2', 'attention3',
    }  # fmt: skip
    for name in ('attention', 'attention2', 'attention3'):
        assert axes_for(f'params/layers/block/{name}/out/kernel', 3, RULES) == (None, 'tensor', 'fsdp')


@pytest.mark.parametrize('layout', ['axial', 'axial_blocks', 'uneven'])
def test_counted_flops_are_the_compilers(layout):
    depth = len(AXIAL_LAYOUTS[layout].block_specs(SMALL))
    config = small(layout, depth=depth, width=64, scan=False)
    apply, params = network(config)
    compiled = jax.jit(apply).lower(params, video(8, 16, 1), T[:1], FIRST).compile().cost_analysis()['flops']
    assert 0.75 < flops_per_video(config, (8, 16, 16)) / compiled < 1.02


def test_a_network_of_them_trains():
    groups = {
        'data': {'source': 'synthetic', 'frames': 3, 'pixels': 8, 'size': 8, 'classes': 3},
        'model': {'name': 'axial', 'width': 32, 'heads': 2, 'depth': 2},
        'train': {'batch_size': 8}, 'optim': {'name': 'adamw', 'warmup_steps': 0},
    }  # fmt: skip
    run = Run(experiment_from(groups), jax.devices()[:1])
    run.check()
    with jax.set_mesh(run.mesh):
        state = run.programs.init_state()
        before = jax.tree.map(np.asarray, state.params)
        losses = []
        for _ in range(3):
            batch = run.batch_layout.to_global(batch_of(run.data.reader, run.batch_layout.local_rows[0], ()))
            state, metrics = run.programs.train_step(state, batch, {})
            losses.append(float(metrics['loss']))
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    moved = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - b).max(), state.params, before)
    assert all(size > 0 for size in jax.tree.leaves(moved['layers']['block']['modulation']))


@pytest.mark.multidevice
def test_on_a_mesh_they_give_what_they_give_on_one_device():
    model = GROUPS['model'] | {'name': 'axial', 'layout': 'axial'}
    groups = GROUPS | {'model': model}
    (loss, grads), (expected_loss, expected) = (value_and_grad(sizes, groups) for sizes in ((1, 1, 4, 2), (1, 1, 1, 1)))
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), grads, expected)


def test_modulation_is_not_shared_by_blocks_with_unequal_numbers_of_attentions():
    assert network(small('uneven'))[0] is not None
    with pytest.raises(ValueError, match='config.model.modulation=adaln_single: blocks share it'):
        small('uneven', modulation='adaln_single')
    apply, params = network(small('axial', modulation='adaln_single'))
    assert apply(params, video(), T, LABEL).shape == video().shape
