"""Conditions of the network: kinds of modulation, scalars, text, its own estimate; one by one and together."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.marks import rest_slow
from tests.models.small import LABEL, SMALL, T, network, video
from vdm_jax.models.conditions import without
from vdm_jax.models.sizes import SIZES
from vdm_jax.nn.attention import CrossAttention
from vdm_jax.nn.modulation import MODULATIONS
from vdm_jax.nn.position import Rotary

TEXT = jax.random.normal(jax.random.key(3), (2, 5, 12))
MASK = jnp.array([[True] * 3 + [False] * 2, [True] * 5])


def test_lora_is_adaln_zero_of_low_rank():
    """shared + low rank is one linear map: the network with adaLN-zero of that map has the same output."""
    lora, params = network(dataclasses.replace(SMALL, modulation='adaln_lora', lora_rank=3))
    zero, same = network(dataclasses.replace(SMALL, modulation='adaln_zero'))
    same = same | {name: value for name, value in params.items() if name not in ('shared', 'layers')}
    for stack, block in params['layers'].items():
        low = block['modulation']['low']
        high = block['modulation']['high']
        kernel = params['shared']['kernel'][None] + low['kernel'] @ high['kernel']  # one layer of each
        bias = params['shared']['bias'][None] + (low['bias'][:, None] @ high['kernel'])[:, 0] + high['bias']
        same['layers'][stack] = block | {'modulation': {'kernel': kernel, 'bias': bias}}
    np.testing.assert_allclose(lora(params, video(), T, LABEL), zero(same, video(), T, LABEL), atol=1e-4, rtol=1e-4)


def test_single_is_one_map_for_all_blocks_and_a_table_in_each():
    make = MODULATIONS['adaln_single']
    width = 8
    block = make(width, 6, 0, rngs=nnx.Rngs(0))
    shared = make.make_shared(width, 6, rngs=nnx.Rngs(1))
    c = jax.random.normal(jax.random.key(0), (2, 1, width))
    shared_map = shared(jax.nn.silu(c))
    own_map = block(c, shared_map) - shared_map
    np.testing.assert_allclose(own_map, jnp.broadcast_to(block.table[...], (2, 1, 48)), atol=1e-6)
    apply, params = network(dataclasses.replace(SMALL, modulation='adaln_single', depth=4))
    assert params['layers']['space']['modulation']['table'].shape == (2, 6 * 32)
    assert params['shared']['kernel'].shape == (32, 6 * 32)
    assert np.abs(apply(params, video(), T, LABEL) - apply(params, video(), T + 50, LABEL)).max() > 1e-3


@pytest.mark.parametrize('kind', rest_slow(MODULATIONS, ['adaln_lora']))
def test_every_parameter_of_a_modulation_learns(kind):
    apply, params = network(dataclasses.replace(SMALL, modulation=kind))
    grads = jax.jit(jax.grad(lambda p: jnp.square(apply(p, video(), T, LABEL)).mean()))(params)
    for leaf in jax.tree.leaves((grads['layers'], grads.get('shared', {}), grads['head'])):
        assert np.abs(leaf).max() > 0


def test_scalars_count_several_at_once_and_unknown_is_a_value_of_its_own():
    apply, params = network(dataclasses.replace(SMALL, scalars=('fps', 'motion')))

    def apply_with(**scalars):
        return apply(params, video(), T, LABEL | {name: jnp.array(v) for name, v in scalars.items()})

    both = apply_with(fps=[8.0, 24.0], motion=[0.1, 0.02])
    nan = float('nan')
    for other in (
        apply_with(fps=[8.0, 24.0], motion=[0.1, 0.05]),
        apply_with(fps=[8.0, 12.0], motion=[0.1, 0.02]),
        apply_with(fps=[8.0, nan], motion=[0.1, 0.02]),
    ):
        assert np.abs(other - both)[0].max() == 0 and np.abs(other - both)[1].max() > 1e-4
    np.testing.assert_array_equal(apply_with(), apply_with(fps=[nan, nan], motion=[nan, nan]))
    grads = jax.grad(lambda p: apply(p, video(), T, LABEL).sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_images_behind_a_clip_do_not_depend_on_its_scalars():
    apply, params = network(dataclasses.replace(SMALL, scalars=('motion',)))
    x = video(5)
    t = jnp.full((2, 5), 300.0)

    def apply_with(*motion):
        return apply(params, x, t, LABEL | {'motion': jnp.array(motion)}, 2)

    moved = np.abs(apply_with(0.1, 0.2) - apply_with(0.5, 0.6)).max((0, 2, 3, 4))
    assert np.all(moved[:3] > 1e-4) and np.all(moved[3:] == 0)


def test_cross_attention_is_softmax_attention_over_the_text():
    """Against the definition, token by token."""
    layer = CrossAttention(8, 2, False, rngs=nnx.Rngs(0))
    layer.out.kernel[...] = jax.random.normal(jax.random.key(1), (8, 8))
    x, y = (jax.random.normal(jax.random.key(i), shape) for i, shape in ((2, (1, 2, 3, 8)), (3, (1, 4, 8))))
    mask = np.array([[True, False, True, True]])
    q = np.asarray(layer.q(x))
    kv = np.asarray(layer.kv(y))
    want = np.zeros((1, 2, 3, 8))
    for frame in range(2):
        for token in range(3):
            for head in range(2):  # the columns of kv go by head, then keys, values
                keys, values = np.split(kv[0, mask[0], 8 * head : 8 * head + 8], 2, -1)
                own = slice(4 * head, 4 * head + 4)
                share = np.exp(keys @ q[0, frame, token, own] / 2)
                want[0, frame, token, own] = share / share.sum() @ values
    np.testing.assert_allclose(layer(x, y, jnp.asarray(mask)), layer.out(jnp.asarray(want, jnp.float32)), atol=1e-5)


def test_text_is_looked_at_where_the_mask_is_true_and_nowhere_else():
    apply, params = network(dataclasses.replace(SMALL, text_width=12))

    def apply_with(text, mask):
        return apply(params, video(), T, LABEL | {'text': text, 'text_mask': mask})

    plain = apply_with(TEXT, MASK)
    np.testing.assert_array_equal(apply_with(TEXT.at[0, 3:].set(77.0), MASK), plain)
    assert np.abs(apply_with(TEXT.at[0, 2].set(1.0), MASK) - plain).max() > 1e-3
    longer = jnp.pad(TEXT, ((0, 0), (0, 4), (0, 0))), jnp.pad(MASK, ((0, 0), (0, 4)))
    np.testing.assert_allclose(apply_with(*longer), plain, atol=1e-5)
    reach = jax.grad(lambda text: apply_with(text, MASK).sum())(TEXT)
    np.testing.assert_array_equal(np.abs(reach).max(-1) > 0, MASK)


def test_no_text_is_a_vector_of_its_own_whatever_the_length():
    apply, params = network(dataclasses.replace(SMALL, text_width=12))
    left_out = apply(params, video(), T, LABEL)
    none = apply(params, video(), T, LABEL | {'text': TEXT, 'text_mask': jnp.zeros_like(MASK)})
    np.testing.assert_allclose(left_out, none, atol=1e-5)
    grads = jax.grad(lambda p: jnp.square(apply(p, video(), T, LABEL)).sum())(params)
    assert np.abs(grads['caption']['none']).max() > 0


def test_every_frame_looks_at_its_clip_s_own_text():
    apply, params = network(dataclasses.replace(SMALL, text_width=12))

    def apply_with(text):
        return apply(params, video(), T, LABEL | {'text': text, 'text_mask': MASK})

    moved = np.abs(apply_with(TEXT.at[1, 0].add(1.0)) - apply_with(TEXT)).max((2, 3, 4))
    assert np.all(moved[1] > 0) and np.all(moved[0] == 0)


@pytest.mark.slow
def test_a_fresh_network_ignores_text():
    """The output of cross-attention starts at zero, as PixArt's does."""
    from vdm_jax.models.dit import VideoDiT

    model = VideoDiT(dataclasses.replace(SMALL, text_width=12), rngs=nnx.Rngs(0))
    assert not np.asarray(model.layers.space.cross.out.kernel[...]).any()
    assert model.layers.time.cross is None  # as in Latte's text model


def test_self_conditioning_shows_an_estimate_of_x0():
    apply, params = network(dataclasses.replace(SMALL, self_condition=True))
    plain = apply(params, video(), T, LABEL)
    np.testing.assert_array_equal(apply(params, video(), T, LABEL | {'x0': jnp.zeros_like(video())}), plain)
    assert np.abs(apply(params, video(), T, LABEL | {'x0': video(seed=9)}) - plain).max() > 1e-3


def test_without_leaves_out_label_and_text_of_some_rows():
    conditions = {
        'label': jnp.array([0, 1, 2]),
        'fps': jnp.ones(3),
        'text': jnp.ones((3, 2, 4)),
        'text_mask': jnp.ones((3, 2), bool),
    }
    some = without(conditions, 5, jnp.array([True, False, True]))
    np.testing.assert_array_equal(some['label'], [5, 1, 5])
    np.testing.assert_array_equal(some['text_mask'], [[False] * 2, [True] * 2, [False] * 2])
    np.testing.assert_array_equal(some['fps'], conditions['fps'])
    np.testing.assert_array_equal(without(conditions, 5, label=3)['label'], [3, 3, 3])
    unmasked = without({'text': jnp.ones((2, 3, 4))}, 0, jnp.array([True, False]))
    np.testing.assert_array_equal(unmasked['text_mask'], [[False] * 3, [True] * 3])
    per_frame = without({'label': jnp.array([[0, 1], [2, 3]])}, 5, jnp.array([True, False]))
    np.testing.assert_array_equal(per_frame['label'], [[5, 5], [2, 3]])


def test_learned_positions_end_where_training_did():
    apply, params = network(dataclasses.replace(SMALL, position='learned', grid=(4, 4, 4)))
    assert apply(params, video(3, 6), T, LABEL).shape == (2, 3, 6, 6, 3)
    with pytest.raises(ValueError, match='config.model.position=learned'):
        apply(params, video(5), T, LABEL)


def test_interpolated_rotary_positions_of_a_longer_clip_lie_between_the_known_ones():
    known = Rotary(8)
    squeezed = Rotary(8, (0.5, 1.0, 1.0))

    def angles(rotary, positions):
        return rotary.angles({0: np.asarray(positions)})

    np.testing.assert_allclose(angles(squeezed, range(8)), angles(known, np.arange(8) / 2))
    np.testing.assert_array_equal(angles(squeezed.within(), range(8)), angles(known, range(8)))


@pytest.mark.slow
def test_interpolation_changes_only_longer_clips():
    plain = dataclasses.replace(SMALL, position='rope', grid=(4, 4, 4))
    apply, params = network(plain)
    other, _ = network(dataclasses.replace(plain, rope_interpolate=True))
    np.testing.assert_array_equal(other(params, video(4), T, LABEL), apply(params, video(4), T, LABEL))
    assert np.abs(other(params, video(8), T, LABEL) - apply(params, video(8), T, LABEL)).max() > 1e-4


def test_presets_with_heads_of_128_dimensions():
    for name in ('S', 'B', 'L', 'XL'):
        paper = SIZES[name]
        ours = SIZES[f'{name}128']
        assert ours.width // ours.heads == 128
        assert (ours.depth, ours.width) == (paper.depth, paper.width)
