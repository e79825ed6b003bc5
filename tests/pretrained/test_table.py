"""Tables of names: every conversion goes there and back bit for bit, and what does not fit is reported, not loaded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.errors import UserError
from vdm_jax.pretrained.report import Report
from vdm_jax.pretrained.table import (
    CONV,
    LINEAR,
    SAME,
    build_tree,
    by_head,
    export_tensors,
    import_tensors,
    patches,
    reshape,
    row,
    split_by_head,
)

NOISE = np.random.default_rng(0)


def noise(*shape):
    return NOISE.normal(size=shape).astype(np.float32)


CONVERSIONS = {
    'same': (SAME, [(5,)], (5,)),
    'linear': (LINEAR, [(3, 5)], (5, 3)),
    'conv': (CONV, [(4, 3, 2, 2)], (2, 2, 3, 4)),
    'conv over time': (CONV, [(4, 3, 5, 1, 1)], (5, 1, 1, 3, 4)),
    'reshaped': (reshape(6, 4), [(6, 4)], (24,)),
    'patches': (patches(2, 3), [(8, 3, 2, 2)], (12, 8)),
    'qkv': (by_head(2, 3), [(12, 7)], (7, 12)),
    'qkv bias': (by_head(2, 3), [(12,)], (12,)),
    'split kv': (split_by_head(2, 2), [(4, 7), (4, 7)], (7, 8)),
    'split kv bias': (split_by_head(2, 2), [(4,), (4,)], (8,)),
}


@pytest.mark.parametrize('name', CONVERSIONS)
def test_every_kind_is_there_and_back(name):
    conversion, theirs, ours = CONVERSIONS[name]
    tensors = tuple(noise(*shape) for shape in theirs)
    array = conversion.to_ours(*tensors)
    assert array.shape == ours
    back = conversion.to_theirs(array)
    assert len(back) == len(tensors)
    for a, b in zip(back, tensors, strict=True):
        np.testing.assert_array_equal(a, b)


def test_heads_come_first_and_in_each_q_k_and_v():
    heads = 3
    width = 4
    inner = 2
    qkv = np.arange(3 * heads * inner * width, dtype=np.float32).reshape(3, heads, inner, width)
    ours = by_head(heads, 3).to_ours(qkv.reshape(-1, width)).reshape(width, heads, 3, inner)
    for part in range(3):
        for head in range(heads):
            np.testing.assert_array_equal(ours[:, head, part], qkv[part, head].T)


def test_a_patch_embedding_is_the_convolution():
    x = noise(1, 4, 6, 3)
    weight = noise(5, 3, 2, 2)
    conv = jax.lax.conv_general_dilated(x, weight, (2, 2), 'VALID', dimension_numbers=('NHWC', 'OIHW', 'NHWC'))
    cut = x.reshape(1, 2, 2, 3, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(1, 2, 3, -1)
    np.testing.assert_allclose(cut @ patches(2, 3).to_ours(weight), conv, rtol=1e-5, atol=1e-5)


ROWS = [
    row('in/kernel', 'first.weight', LINEAR),
    row('layers/kernel', 'blocks.{}.weight', LINEAR, (0, 2)),
    row('layers/bias', 'blocks.{}.bias', SAME, (0, 2)),
    row('qkv/kernel', ('q', 'k', 'v'), split_by_head(2, 3)),
]
PLACES = {'place': np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}
SHAPES = {
    'in': {'kernel': jax.ShapeDtypeStruct((2, 3), jnp.float32)},
    'layers': {
        'kernel': jax.ShapeDtypeStruct((2, 3, 3), jnp.float32),
        'bias': jax.ShapeDtypeStruct((2, 3), jnp.float32),
    },
    'qkv': {'kernel': jax.ShapeDtypeStruct((3, 12), jnp.float32)},
    'none': jax.ShapeDtypeStruct((4,), jnp.float32),
}
NOT_STORED = {'none': 'no checkpoint has it'}


def checkpoint(**changed):
    arrays = {'first.weight': noise(3, 2), 'q': noise(4, 3), 'k': noise(4, 3), 'v': noise(4, 3), **PLACES}
    for i in (0, 2):
        arrays |= {f'blocks.{i}.weight': noise(3, 3), f'blocks.{i}.bias': noise(3)}
    arrays |= changed
    return {name: array for name, array in arrays.items() if array is not None}


def import_all(arrays):
    return import_tensors(ROWS, arrays, SHAPES, PLACES, NOT_STORED)


def test_a_complete_checkpoint_is_imported_and_exported_bit_for_bit():
    arrays = checkpoint()
    imported, report = import_all(arrays)
    params = build_tree(imported, SHAPES)
    assert sorted(report.used) == sorted(arrays)
    assert not (report.unused or report.missing or report.differing)
    np.testing.assert_array_equal(params['layers']['kernel'][1], arrays['blocks.2.weight'].T)
    np.testing.assert_array_equal(params['none'], 0)
    back = export_tensors(ROWS, params, PLACES)
    assert back.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == np.float32 and back[name].flags.c_contiguous


def test_a_report_names_what_is_unused_missing_and_different():
    wrong = {'blocks.2.bias': None, 'extra': noise(1), 'first.weight': noise(5, 2), 'place': PLACES['place'] + 1e-3}
    imported, report = import_all(checkpoint(**wrong))
    assert imported.keys() == {'layers/kernel', 'qkv/kernel', 'none'}
    assert report.unused == ('extra',)
    assert report.missing == ('blocks.2.bias',)
    assert report.differing == (
        'first.weight is (5, 2), from which in/kernel (2, 3) does not come',
        'place is not what this network computes, of shape (3, 4)',
    )
    text = str(report)
    assert text.startswith('8 tensors used, 1 unused, 1 missing, 2 differing')
    for line in ('unused   extra', 'missing  blocks.2.bias', 'differs  first.weight', 'ours     none: no checkpoint'):
        assert f'  {line}' in text
    with pytest.raises(
        UserError,
        match=r'missing: blocks.2.bias; differs: first.weight.*with --allow-missing.*positions, stays its own',
    ):
        report.check()
    assert report.check(allow_missing=True) is report


@pytest.mark.parametrize(
    'name, array',
    [
        ('blocks.2.weight', noise(4, 3)),  # layers of two shapes
        ('first.weight', noise(3)),
        ('first.weight', noise(3, 2, 1)),
        ('q', noise(5, 3)),  # parts of two sizes, which make no heads
        ('q', noise(4, 2)),
        ('q', noise(4)),
    ],
)
def test_tensors_that_do_not_fit_are_reported_as_different(name, array):
    _, report = import_all(checkpoint(**{name: array}))
    assert len(report.differing) == 1
    assert str(array.shape) in report.differing[0]


def test_many_mistakes_are_counted():
    with pytest.raises(UserError, match='missing: a; missing: b; missing: c, and 2 more; with'):
        Report((), missing=tuple('abcd'), differing=('e',)).check()


@pytest.mark.parametrize('dtype', [np.float32, np.float16, jnp.bfloat16])
def test_what_is_computed_may_be_stored_in_less_precision(dtype):
    rounded = (PLACES['place'] * (1 + 1e-7)).astype(dtype)
    assert not import_all(checkpoint(place=rounded))[1].differing
    assert not import_all(checkpoint(place=rounded.astype(np.float32)))[1].differing
    assert import_all(checkpoint(place=(PLACES['place'] + 0.02).astype(dtype)))[1].differing
    assert import_all(checkpoint(place=PLACES['place'][:2].astype(dtype)))[1].differing


def test_a_table_of_another_network_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match='differ in in/kernel'):
        import_tensors(ROWS[1:], checkpoint(), SHAPES, PLACES, NOT_STORED)
    with pytest.raises(ValueError, match='differ in none'):
        import_tensors(ROWS, checkpoint(), SHAPES, PLACES)


def test_what_is_missing_is_filled_only_if_there_is_a_fill():
    imported, _ = import_all(checkpoint(q=None))
    with pytest.raises(UserError, match='nothing for qkv/kernel'):
        build_tree(imported, SHAPES)

    def fill():
        return jax.tree.map(lambda leaf: jnp.full(leaf.shape, 7.0), SHAPES)

    params = build_tree(imported, SHAPES, fill)
    np.testing.assert_array_equal(params['qkv']['kernel'], 7)
    np.testing.assert_array_equal(params['none'], 0)
    np.testing.assert_array_equal(params['in']['kernel'], imported['in/kernel'])
