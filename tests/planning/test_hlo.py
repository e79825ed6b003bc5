"""What is read from a compiled module's text: loops, collectives and their groups, bytes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vdm_jax.planning.collectives import find_collectives, parse_groups, summarise
from vdm_jax.planning.hlo import parse, trip_count
from vdm_jax.planning.traffic import memory_bytes

LOOP = """HloModule loop

%condition (p: (s32[], f32[8])) -> pred[] {
  %limit = s32[]{:T(128)} constant(10)
  %p = (s32[]{:T(128)}, f32[8]{0:T(128)S(1)}) parameter(0)
  %counter = s32[]{:T(128)} get-tuple-element(%p), index=0
  ROOT %less = pred[] compare(%counter, %limit), direction=LT
}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %p = (s32[], f32[8]{0}) parameter(0)
  %counter = s32[] get-tuple-element(%p), index=0
  %two = s32[] constant(2)
  %next = s32[] add(%counter, %two)
  %x = f32[8]{0} get-tuple-element(%p), index=1
  %summed = f32[8]{0} all-reduce(%x), channel_id=1, replica_groups={{0,1},{2,3}}, use_global_device_ids=true, to_apply=%add
  ROOT %out = (s32[], f32[8]{0}) tuple(%next, %summed)
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  %one = s32[] constant(1)
  %start = s32[] copy(%one)
  %state = (s32[], /*index=1*/f32[8]{0}) tuple(%start, %x)
  %loop = (s32[], f32[8]{0}) while(%state), condition=%condition, body=%body
  ROOT %out = f32[8]{0} get-tuple-element(%loop), index=1
}
"""  # noqa: E501
ASYNC = """HloModule async

%started (p: bf16[2,8]) -> (bf16[2,8], bf16[8,8]) {
  %p = bf16[2,8]{1,0} parameter(0)
  %gathered = bf16[8,8]{1,0} all-gather(%p), channel_id=7, replica_groups=[1,4]<=[4], dimensions={0}, backend_config={"async_collective_fusion_config":{"flag_start":"-1"}}
  ROOT %call = (bf16[2,8]{1,0}, bf16[8,8]{1,0}) custom-call(%gathered), custom_call_target="AsyncCollectiveStart"
}

%between (p: bf16[2,8]) -> bf16[8,8] {
  %p = bf16[2,8]{1,0} parameter(0)
  ROOT %gathered = bf16[8,8]{1,0} all-gather(%p), channel_id=7, replica_groups=[1,4]<=[4], dimensions={0}, backend_config={"async_collective_fusion_config":{"flag_start":"2"}}
}

ENTRY %main (x: bf16[2,8], y: f32[4], z: f32[4]) -> bf16[8,8] {
  %x = bf16[2,8]{1,0} parameter(0)
  %y = f32[4]{0} parameter(1)
  %z = f32[4]{0} parameter(2)
  %start = (bf16[2,8]{1,0}, bf16[8,8]{1,0}) fusion(%x), kind=kCustom, calls=%started
  %middle = bf16[8,8]{1,0} fusion(%x), kind=kOutput, calls=%between
  %begun = ((f32[4]{0}, f32[4]{0}), (f32[8]{0}, f32[8]{0})) all-gather-start(%y, %z), channel_id=8, replica_groups={{0,1},{2,3}}, dimensions={0}
  %ended = (f32[8]{0}, f32[8]{0}) all-gather-done(%begun)
  %moved = (f32[4]{0}, f32[4]{0}, u32[], u32[]) collective-permute-start(%y), channel_id=9, source_target_pairs={{0,1},{1,1}}
  %arrived = f32[4]{0} collective-permute-done(%moved)
  %alone = f32[4]{0} all-reduce(%y), channel_id=10, replica_groups={{0},{1},{2},{3}}, to_apply=%add
  ROOT %out = bf16[8,8]{1,0} copy(%middle)
}
"""  # noqa: E501


@pytest.mark.parametrize(
    ('text', 'groups'),
    [
        ('replica_groups={{0,1},{2,3}}, dimensions={0}', [[0, 1], [2, 3]]),
        ('replica_groups={}, to_apply=%add', []),
        ('source_target_pairs={{0,1},{1,0}}', [[0, 1], [1, 0]]),
        ('replica_groups=[2,4]<=[8], dimensions={0}', [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ('replica_groups=[4,2]<=[2,4]T(1,0), dimensions={0}', [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ("replica_groups=mesh['a'=2,'b'=4] {'b'}, dimensions={0}", [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ("replica_groups=mesh['a'=2,'b'=4] {'a'}, dimensions={0}", [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ("replica_groups=mesh['a'=2,'b'=2,'c'=2] {'a','c'}", [[0, 1, 4, 5], [2, 3, 6, 7]]),
        ("replica_groups=mesh['a'=8] {'a':(2)2}", [[0, 2], [1, 3], [4, 6], [5, 7]]),
        ("replica_groups=mesh['a'=2,'b'=4], device_ids=([4,2]T(1,0)) {'a'}", [[0, 1], [2, 3], [4, 5], [6, 7]]),
        ("replica_groups=mesh['a'=2,'b'=2], device_ids=(3,2,1,0) {'b'}", [[3, 2], [1, 0]]),
        ('dimensions={0}', None),
    ],
)
def test_groups_of_devices_in_every_form(text, groups):
    assert parse_groups(f', channel_id=3, {text}, use_global_device_ids=true') == groups


def test_a_loop_without_a_known_length_is_counted_from_its_condition():
    module = parse(LOOP)
    entry = module.computations[module.entry]
    assert trip_count(module, entry, entry.instructions['loop']) == 5  # 1, 3, 5, 7, 9
    (collective,) = find_collectives(module, 4)
    assert (collective.times, collective.bytes, collective.overlapped) == (5, 32, False)
    assert collective.groups == ((0, 1), (2, 3))
    assert summarise([collective]) == {'all-reduce': {'count': 5, 'bytes': 160}}


def test_a_loop_of_unknown_length_counts_once_and_is_reported():
    module = parse(LOOP.replace('add(%counter, %two)', 'multiply(%counter, %two)'))
    assert [one.times for one in find_collectives(module, 4)] == [1]
    assert module.guesses() == ['1 loops of unknown length counted once']
    assert parse(LOOP).guesses() == []


def test_asynchronous_collectives_count_once_and_those_that_move_nothing_do_not_count():
    collectives = find_collectives(parse(ASYNC), 4)
    assert all(one.overlapped for one in collectives)
    assert summarise(collectives) == {
        'all-gather': {'count': 3, 'bytes': 128 + 64},
        'collective-permute': {'count': 1, 'bytes': 16},
    }


SCATTERED = """HloModule scattered

%all-reduce-scatter.1 (p: bf16[256,512]) -> bf16[64,512] {
  %p = bf16[256,512]{1,0} parameter(0)
  %sum = bf16[256,512]{1,0} all-reduce(%p), channel_id=3, replica_groups={{0,1,2,3}}, to_apply=%add
  %own = s32[] constant(0)
  ROOT %part = bf16[64,512]{1,0} dynamic-slice(%sum, %own, %own), dynamic_slice_sizes={64,512}
}

ENTRY %main (x: bf16[256,512]) -> bf16[64,512] {
  %x = bf16[256,512]{1,0} parameter(0)
  ROOT %out = bf16[64,512]{1,0} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1, backend_config={"emitter":"AllReduceScatterFusion"}
}
"""  # noqa: E501


def test_an_all_reduce_of_which_each_keeps_a_part_is_a_reduce_scatter():
    (one,) = find_collectives(parse(SCATTERED), 4)
    assert summarise([one]) == {'reduce-scatter': {'count': 1, 'bytes': 64 * 512 * 2}}
    assert one.bytes_sent == 3 * 64 * 512 * 2


def test_kernel_metadata_over_several_lines_ends_no_computation():
    instruction = (
        '%next = s32[] add(%counter, %two), frontend_attributes={kernel_metadata={\n"a":"{\\"b\\": 1}"\n}}, metadata={}'
    )
    module = parse(LOOP.replace('%next = s32[] add(%counter, %two)', instruction))
    assert len(module.computations['body'].instructions) == 7 and module.guesses() == []
    assert [one.times for one in find_collectives(module, 4)] == [5]


def test_groups_that_hold_devices_of_two_slices_cross():
    (within,) = find_collectives(parse(LOOP), 4)
    assert not within.crosses(2, 4)
    (across,) = find_collectives(parse(LOOP.replace('{{0,1},{2,3}}', '{{0,2},{1,3}}')), 4)
    assert across.crosses(2, 4)


@pytest.fixture(scope='module')
def mesh():
    return jax.make_mesh((8,), ('data',), axis_types=(AxisType.Auto,))


def make_sharding(mesh, *spec):
    return NamedSharding(mesh, PartitionSpec(*spec))


@pytest.mark.multidevice
def test_collectives_in_nested_loops_are_multiplied(mesh):
    """3 x 5 products of x, sharded over what is contracted: each is summed over the devices."""

    def program(x, w):
        def inner(x, _):
            return (jnp.tanh(x @ w), None)

        def outer(x, _):
            return (jax.lax.scan(inner, x, length=5)[0], None)

        return jax.lax.scan(outer, x, length=3)[0]

    shapes = (
        jax.ShapeDtypeStruct((16, 64), np.float32, sharding=make_sharding(mesh)),
        jax.ShapeDtypeStruct((64, 64), np.float32, sharding=make_sharding(mesh, 'data')),
    )
    module = parse(jax.jit(program).lower(*shapes).compile().as_text())
    assert summarise(find_collectives(module, 8))['all-reduce'] == {'count': 15, 'bytes': 15 * 16 * 64 * 4}


def test_bytes_are_the_compilers_without_loops_and_the_same_with_them():
    """Eight products with slices of one stack, looped over and written out."""
    x, w = (jax.ShapeDtypeStruct(shape, np.float32) for shape in ((256, 256), (8, 256, 256)))

    def loop(x, w):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]

    def written(x, w):
        for i in range(8):
            x = jnp.tanh(x @ w[i])
        return x

    compiled = jax.jit(written).lower(x, w).compile()
    bytes_written = memory_bytes(parse(compiled.as_text()))
    assert bytes_written == pytest.approx(compiled.cost_analysis()['bytes accessed'], rel=0.05)
    bytes_looped = memory_bytes(parse(jax.jit(loop).lower(x, w).compile().as_text()))
    assert bytes_looped == pytest.approx(bytes_written, rel=0.2)
