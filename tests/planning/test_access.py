"""Bytes that a compiled module moves, of programs written by hand: fusions nested in loops and in each other."""

import pytest

from vdm_jax.planning.hlo import parse
from vdm_jax.planning.traffic import memory_bytes

# A stack f32[8,1024], and the bytes of one of its layers.
LAYERS = 8
ROW = 1024 * 4
STACK = LAYERS * ROW
LOOP = """HloModule loop

{computations}
%condition (p: (s32[], f32[1024], f32[8,1024])) -> pred[] {{
  %p = (s32[], f32[1024]{{0}}, f32[8,1024]{{1,0}}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %limit = s32[] constant(8)
  ROOT %less = pred[] compare(%i, %limit), direction=LT
}}

%body (p: (s32[], f32[1024], f32[8,1024])) -> (s32[], f32[1024], f32[8,1024]) {{
  %p = (s32[]{{:S(2)}}, f32[1024]{{0}}, f32[8,1024]{{1,0}}) parameter(0)
  %i = s32[]{{:S(2)}} get-tuple-element(%p), index=0
  %x = f32[1024]{{0}} get-tuple-element(%p), index=1
  %stack = f32[8,1024]{{1,0}} get-tuple-element(%p), index=2
  %one = s32[]{{:S(2)}} constant(1)
  %next = s32[]{{:S(2)}} add(%i, %one)
  {body}
  ROOT %out = (s32[], f32[1024]{{0}}, f32[8,1024]{{1,0}}) tuple(%next, %y, %z)
}}

ENTRY %main (x: f32[1024], stack: f32[8,1024]) -> f32[1024] {{
  %x = f32[1024]{{0}} parameter(0)
  %stack = f32[8,1024]{{1,0}} parameter(1)
  %zero = s32[]{{:S(2)}} constant(0)
  %state = (s32[], f32[1024]{{0}}, f32[8,1024]{{1,0}}) tuple(%zero, %x, %stack)
  %loop = (s32[], f32[1024]{{0}}, f32[8,1024]{{1,0}}) while(%state), condition=%condition, body=%body, backend_config={{"known_trip_count":{{"n":"8"}}}}
  ROOT %out = f32[1024]{{0}} get-tuple-element(%loop), index=1
}}
"""  # noqa: E501

# Layer `at` of a stack, as a vector.
LAYER = """
%layer (from: f32[8,1024], at: s32[]) -> f32[1024] {
  %from = f32[8,1024]{1,0} parameter(0)
  %at = s32[] parameter(1)
  %zero = s32[] constant(0)
  %slice = f32[1,1024]{1,0} dynamic-slice(%from, %at, %zero), dynamic_slice_sizes={1,1024}
  ROOT %flat = f32[1024]{0} bitcast(%slice)
}
"""
# The same, called by a computation that passes its parameters on.
PASSED = """
%passed (i: s32[], s: f32[8,1024]) -> f32[1024] {
  %i = s32[] parameter(0)
  %s = f32[8,1024]{1,0} parameter(1)
  %as_it_is = f32[8,1024]{1,0} bitcast(%s)
  ROOT %called = f32[1024]{0} fusion(%as_it_is, %i), kind=kLoop, calls=%layer
}
"""
# The stack with `row` in layer `at`, and the row doubled.
STORED = """
%stored (into: f32[8,1024], row: f32[1024], at: s32[]) -> (f32[8,1024], f32[1024]) {
  %into = f32[8,1024]{1,0} parameter(0)
  %row = f32[1024]{0} parameter(1)
  %twice = f32[1024]{0} add(%row, %row)
  %wide = f32[1,1024]{1,0} bitcast(%twice)
  %at = s32[] parameter(2)
  %zero = s32[] constant(0)
  %updated = f32[8,1024]{1,0} dynamic-update-slice(%into, %wide, %at, %zero)
  ROOT %both = (f32[8,1024]{1,0}, f32[1024]{0}) tuple(%updated, %twice)
}
"""


def make_fusion(*lines):
    """A computation of (x, stack, i) with these lines, the last of them its root."""
    inside = [
        '%x = f32[1024]{0} parameter(0)',
        '%stack = f32[8,1024]{1,0} parameter(1)',
        '%i = s32[] parameter(2)',
        '%none = s32[] constant(0)',
        *lines[:-1],
        f'ROOT {lines[-1]}',
    ]
    return '%fused (x: f32[1024], stack: f32[8,1024], i: s32[]) -> f32[] {\n  ' + '\n  '.join(inside) + '\n}\n'


def bytes_of(computations, *body):
    """Of a loop of eight iterations over (i, x, stack), whose body makes y and z of them."""
    text = LOOP.format(computations=computations, body='\n  '.join(body))
    return memory_bytes(parse(text))


BITCAST = '%z = f32[8,1024]{1,0} bitcast(%stack)'
CALL = '%y = f32[1024]{0} fusion(%x, %stack, %i), kind=kLoop, calls=%fused'
# How one layer is taken out of the stack inside of a fusion, as %row.
WAYS_TO_SLICE = {
    'in the fusion itself': (
        '%cut = f32[1,1024]{1,0} dynamic-slice(%stack, %i, %none), dynamic_slice_sizes={1,1024}',
        '%row = f32[1024]{0} bitcast(%cut)',
    ),
    'in a nested fusion': ('%row = f32[1024]{0} fusion(%stack, %i), kind=kLoop, calls=%layer',),
    'two fusions deep': ('%row = f32[1024]{0} fusion(%i, %stack), kind=kLoop, calls=%passed',),
    'in a call': ('%row = f32[1024]{0} call(%i, %stack), to_apply=%passed',),
    'by a nested fusion of several results': (
        '%several = (f32[8,1024]{1,0}, f32[1024]{0}) fusion(%stack, %x, %i), kind=kLoop, calls=%stored',
        '%grown = f32[8,1024]{1,0} get-tuple-element(%several), index=0',
        '%row = f32[1024]{0} fusion(%grown, %i), kind=kLoop, calls=%layer',
    ),
    'of what is computed from all of it': (
        '%short = bf16[8,1024]{1,0} convert(%stack)',
        '%long = f32[8,1024]{1,0} convert(%short)',
        '%row = f32[1024]{0} fusion(%long, %i), kind=kLoop, calls=%layer',
    ),
    'a slice of a slice': (
        '%half = f32[4,1024]{1,0} slice(%stack), slice={[0:4], [0:1024]}',
        '%cut = f32[1,1024]{1,0} dynamic-slice(%half, %i, %none), dynamic_slice_sizes={1,1024}',
        '%row = f32[1024]{0} bitcast(%cut)',
    ),
}


@pytest.mark.parametrize('way', WAYS_TO_SLICE)
def test_a_stack_of_which_a_fusion_takes_one_layer_counts_as_that_layer(way):
    inside = make_fusion(*WAYS_TO_SLICE[way], '%sum = f32[1024]{0} add(%x, %row)')
    assert bytes_of(LAYER + PASSED + STORED + inside, CALL, BITCAST) == LAYERS * 3 * ROW  # x, the layer, and y


def test_a_layer_that_several_nested_fusions_take_counts_once_and_another_layer_again():
    same = '%row = f32[1024]{0} fusion(%stack, %i), kind=kLoop, calls=%layer'
    again = '%again = f32[1024]{0} fusion(%i, %stack), kind=kLoop, calls=%passed'
    other = '%again = f32[1024]{0} fusion(%stack, %none), kind=kLoop, calls=%layer'
    total = '%sum = f32[1024]{0} add(%row, %again)'
    once = bytes_of(LAYER + PASSED + make_fusion(same, again, total), CALL, BITCAST)
    twice = bytes_of(LAYER + PASSED + make_fusion(same, other, total), CALL, BITCAST)
    assert (once, twice) == (LAYERS * 2 * ROW, LAYERS * 3 * ROW)


@pytest.mark.parametrize(
    'reads_all',
    [
        '%sum = f32[1024]{0} reduce(%stack, %none), dimensions={0}, to_apply=%add',
        '%sum = f32[1024]{0} custom-call(%stack, %row), custom_call_target="anything"',
        '%sum = f32[1024]{0} operation-of-another-day(%stack, %row)',
    ],
)
def test_a_stack_that_is_also_used_completely_counts_completely(reads_all):
    row = '%row = f32[1024]{0} fusion(%stack, %i), kind=kLoop, calls=%layer'
    assert bytes_of(LAYER + make_fusion(row, reads_all), CALL, BITCAST) == LAYERS * (STACK + ROW)


STORE = '%both = (f32[8,1024]{1,0}, f32[1024]{0}) fusion(%stack, %x, %i), kind=kLoop, calls=%stored'
NESTED = """
%nested (i: s32[], row: f32[1024], into: f32[8,1024]) -> (f32[1024], f32[8,1024]) {
  %i = s32[] parameter(0)
  %row = f32[1024]{0} parameter(1)
  %into = f32[8,1024]{1,0} parameter(2)
  %inner = (f32[8,1024]{1,0}, f32[1024]{0}) fusion(%into, %row, %i), kind=kLoop, calls=%stored
  %grown = f32[8,1024]{1,0} get-tuple-element(%inner), index=0
  %twice = f32[1024]{0} get-tuple-element(%inner), index=1
  ROOT %turned = (f32[1024]{0}, f32[8,1024]{1,0}) tuple(%twice, %grown)
}
"""


@pytest.mark.parametrize(
    ('call', 'y', 'z'),
    [
        (STORE, 1, 0),
        ('%both = (f32[1024]{0}, f32[8,1024]{1,0}) fusion(%i, %x, %stack), kind=kLoop, calls=%nested', 0, 1),
    ],
)
def test_a_stack_that_a_fusion_updates_in_place_counts_as_the_update(call, y, z):
    parts = [
        f'%y = f32[1024]{{0}} get-tuple-element(%both), index={y}',
        f'%z = f32[8,1024]{{1,0}} get-tuple-element(%both), index={z}',
    ]
    assert bytes_of(STORED + NESTED, call, *parts) == LAYERS * 3 * ROW  # x, the layer of the stack, and y


def test_two_updates_of_one_stack_in_one_fusion_count_each():
    inside = make_fusion(
        '%first = (f32[8,1024]{1,0}, f32[1024]{0}) fusion(%stack, %x, %i), kind=kLoop, calls=%stored',
        '%grown = f32[8,1024]{1,0} get-tuple-element(%first), index=0',
        '%wide = f32[1,1024]{1,0} bitcast(%x)',
        '%updated = f32[8,1024]{1,0} dynamic-update-slice(%grown, %wide, %none, %none)',
    )
    call = '%z = f32[8,1024]{1,0} fusion(%x, %stack, %i), kind=kLoop, calls=%fused'
    assert bytes_of(STORED + inside, call, '%y = f32[1024]{0} bitcast(%x)') == LAYERS * 3 * ROW  # x, two layers


def test_an_update_of_what_is_no_operand_writes_all_of_it():
    inside = make_fusion(
        '%empty = f32[] constant(0)',
        '%zeros = f32[8,1024]{1,0} broadcast(%empty), dimensions={}',
        '%first = (f32[8,1024]{1,0}, f32[1024]{0}) fusion(%zeros, %x, %i), kind=kLoop, calls=%stored',
        '%grown = f32[8,1024]{1,0} get-tuple-element(%first), index=0',
    )
    call = '%z = f32[8,1024]{1,0} fusion(%x, %stack, %i), kind=kLoop, calls=%fused'
    assert bytes_of(STORED + inside, call, '%y = f32[1024]{0} bitcast(%x)') == LAYERS * (STACK + ROW)


def test_what_is_added_to_a_layer_in_place_reads_and_writes_that_layer():
    inside = make_fusion(
        *WAYS_TO_SLICE['in a nested fusion'],
        '%sum = f32[1024]{0} add(%x, %row)',
        '%wide = f32[1,1024]{1,0} bitcast(%sum)',
        '%updated = f32[8,1024]{1,0} dynamic-update-slice(%stack, %wide, %i, %none)',
    )
    call = '%z = f32[8,1024]{1,0} fusion(%x, %stack, %i), kind=kLoop, calls=%fused'
    assert bytes_of(LAYER + inside, call, '%y = f32[1024]{0} bitcast(%x)') == LAYERS * 3 * ROW


def test_a_scatter_into_a_table_reads_and_writes_the_rows_that_it_adds_to():
    """In a fusion and outside of one; two places of four bytes each are read, too."""
    scatter = (
        '%z = f32[8,1024]{1,0} scatter(%stack, %places, %rows), update_window_dims={1}, inserted_window_dims={0}, '
        'scatter_dims_to_operand_dims={0}, index_vector_dim=1, to_apply=%add'
    )
    rows = '%rows = f32[2,1024]{1,0:S(1)} broadcast(%x), dimensions={1}'
    places = '%places = s32[2]{0} constant({0, 1})'
    unfused = bytes_of('', rows, places, scatter, '%y = f32[1024]{0} bitcast(%x)')
    inside = make_fusion(rows, places, scatter)
    call = '%z = f32[8,1024]{1,0} fusion(%x, %stack, %i), kind=kLoop, calls=%fused'
    nested = bytes_of(inside, call, '%y = f32[1024]{0} bitcast(%x)')
    assert (unfused, nested) == (LAYERS * (ROW + 2 * 2 * ROW + 8), LAYERS * (ROW + 2 * 2 * ROW))


@pytest.mark.parametrize(
    ('body', 'rows'),
    [
        # The layer goes into VMEM, S(1): read, not written.
        ('%y = f32[1,1024]{1,0:S(1)} dynamic-slice(%stack, %i, %i), dynamic_slice_sizes={1,1024}', 1),
        ('%y = f32[1,1024]{1,0} dynamic-slice(%stack, %i, %i), dynamic_slice_sizes={1,1024}', 2),
        (
            '%s = ((f32[8,1024]{1,0}, s32[], s32[]), f32[1,1024]{1,0:S(1)}, u32[]) dynamic-slice-start(%stack, %i, %i)'
            '\n  %y = f32[1,1024]{1,0:S(1)} dynamic-slice-done(%s)',
            1,
        ),
        # It comes out of VMEM: written, not read.
        (
            '%row = f32[1,1024]{1,0:S(1)} bitcast(%x)\n'
            '  %y = f32[8,1024]{1,0} dynamic-update-slice(%stack, %row, %i, %i)',
            1,
        ),
        (
            '%row = f32[1,1024]{1,0} bitcast(%x)\n'
            '  %y = f32[8,1024]{1,0:S(1)} dynamic-update-slice(%stack, %row, %i, %i)',
            1,
        ),
        (
            '%row = f32[1,1024]{1,0} bitcast(%x)\n  %y = f32[8,1024]{1,0} dynamic-update-slice(%stack, %row, %i, %i)',
            2,
        ),
    ],
)
def test_only_what_lies_in_the_main_memory_counts(body, rows):
    assert bytes_of('', body, BITCAST) == LAYERS * rows * ROW
