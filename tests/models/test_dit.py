"""VideoDiT: what it computes, not only its shapes."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.marks import rest_slow
from tests.models.small import FIRST, LABEL, SMALL, T, in_layout, network, video
from vdm_jax.models.dit import VideoDiT, VideoDiTConfig
from vdm_jax.models.flops import flops_per_video
from vdm_jax.models.layouts import LAYOUTS
from vdm_jax.parallel.rules import path_name
from vdm_jax.train.state import init_params

POSITIONS = ('sincos', 'learned', 'rope', 'sincos_rope')
# test_layouts.py shows clips of one frame and times per frame to every layout, so here one stands for all by default.
each_layout = pytest.mark.parametrize('layout', rest_slow(LAYOUTS, ['interleaved']))


@pytest.mark.parametrize(
    'layout, position',
    rest_slow([('interleaved', 'rope'), ('full', 'sincos'), ('late_fusion', 'learned'), ('windows', 'sincos_rope')], 1),
)
def test_scanned_and_sliced_stacks_are_one_network(layout, position):
    config = dataclasses.replace(SMALL, layout=layout, position=position, qk_norm=True, depth=4)
    outputs = []
    trees = []
    grads = []

    for scan in (True, False):
        apply, params = network(dataclasses.replace(config, scan=scan))
        trees.append(jax.tree.map(jnp.shape, params))

        def loss(p, apply=apply):
            return (jnp.square(out := apply(p, video(), T, LABEL)).mean(), out)

        grad, output = jax.jit(jax.grad(loss, has_aux=True))(params)
        outputs.append(output), grads.append(grad)
    assert trees[0] == trees[1]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *grads)
    for path, grad in jax.tree_util.tree_flatten_with_path(grads[0])[0]:
        assert np.abs(grad).max() > 0, path_name(path)  # every parameter takes part
    assert np.std(outputs[0]) > 0.1


def test_a_fresh_network_returns_zero():
    apply, _ = network(SMALL)
    params = jax.jit(lambda: init_params(lambda rngs: VideoDiT(SMALL, rngs=rngs), jax.random.key(0)))()
    np.testing.assert_array_equal(apply(params, video(), T, LABEL), 0)  # adaLN-zero and a zero head
    kernels = params['layers']['space']['mlp']['up']['kernel']
    assert kernels.shape == (1, 32, 128) and abs(kernels.std() / np.sqrt(2 / 160) - 1) < 0.05  # xavier uniform


@each_layout
def test_layouts_reach_the_documented_frames(layout):
    """Through one unit every frame reaches the last one, in windows those of its own, in `frames` only itself."""
    apply, params = network(in_layout(layout, units=1))
    reach = jax.grad(lambda x: apply(params, x, T[:1], FIRST)[0, -1, 0, 0, 0])(video(batch=1))[0]
    seen = np.abs(reach).max((1, 2, 3)) > 0
    itself = layout in ('windows', 'frames')  # windows of 3
    np.testing.assert_array_equal(seen, [False] * 3 + [True] if itself else [True] * 4)


def test_each_half_of_a_pair_mixes_its_own_axis():
    without_time, params = network(dataclasses.replace(SMALL, layout='interleaved', depth=2))
    params['layers']['time']['attention']['out'] = jax.tree.map(
        jnp.zeros_like, params['layers']['time']['attention']['out']
    )
    reach = jax.grad(lambda x: without_time(params, x, T[:1], FIRST)[0, 0, 0, 0, 0])(video(batch=1))[0]
    assert np.abs(reach[0]).max() > 0 and np.abs(reach[1:]).max() == 0  # without time attention, only its own frame
    still, params = network(dataclasses.replace(SMALL, layout='interleaved', depth=2))
    params['layers']['space']['attention']['out'] = jax.tree.map(
        jnp.zeros_like, params['layers']['space']['attention']['out']
    )
    reach = np.abs(jax.grad(lambda x: still(params, x, T[:1], FIRST)[0, 0, 0, 0, 0])(video(batch=1))[0]).max((0, 3))
    assert reach[:2, :2].min() > 0 and reach[2:].max() == reach[:, 2:].max() == 0  # without space, only its own patch


@each_layout
def test_times_per_frame(layout):
    apply, params = network(in_layout(layout, time_patch=2))
    per_frame = jnp.broadcast_to(T[:, None], (2, 4))
    np.testing.assert_allclose(apply(params, video(), T, LABEL), apply(params, video(), per_frame, LABEL), atol=1e-5)
    other = apply(params, video(), per_frame.at[:, 3].set(0.0), LABEL)
    assert np.abs(other - apply(params, video(), per_frame, LABEL)).max() > 1e-3


@pytest.mark.parametrize(
    'layout, position',
    rest_slow(
        [('interleaved', position) for position in POSITIONS] + [(layout, 'sincos_rope') for layout in LAYOUTS], 2
    ),
)
def test_images_and_larger_clips_run(layout, position):
    apply, params = network(in_layout(layout, position=position))
    for frames, side in ((1, 8), (7, 8), (4, 12)):
        x = video(frames, side)
        assert apply(params, x, T, LABEL).shape == x.shape
    still = jnp.concatenate([video(1)] * 4, 1)
    frames = apply(params, still, T, LABEL)
    # Rotary positions are relative, and so are those in windows.
    is_relative = position == 'rope' or layout == 'windows'
    apart = np.abs(frames[:, 0] - frames[:, 1]).max()
    assert apart == 0 if layout == 'frames' else apart > 1e-4 or is_relative  # a frame by itself has no place in time


@each_layout
def test_positions_make_the_output_depend_on_order(layout):
    """Without positions attention would be a set operation: permuted frames would give permuted outputs, as they do
    where every frame stands by itself."""
    for position in ('sincos', 'rope', 'learned') if layout == 'interleaved' else ('sincos',):
        apply, params = network(in_layout(layout, position=position, windows=('4x2x2', '4x4x4')))
        order = jnp.array([2, 0, 3, 1])
        straight = apply(params, video(), T, LABEL)[:, order]
        depends_on_order = np.abs(apply(params, video()[:, order], T, LABEL) - straight).max() > 1e-3
        assert depends_on_order == (layout != 'frames'), position


def test_labels_count_and_null_is_a_class_of_its_own():
    apply, params = network(SMALL)
    outputs = [apply(params, video(), T, {'label': jnp.full(2, label)}) for label in range(6)]
    assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(outputs, outputs[1:], strict=False))
    unconditional, params = network(dataclasses.replace(SMALL, classes=0))
    assert 'label_embed' not in params
    assert unconditional(params, video(), T, {'label': jnp.zeros(2, int)}).shape == video().shape


def test_learned_variance_doubles_the_channels():
    apply, params = network(dataclasses.replace(SMALL, learn_variance=True))
    assert apply(params, video(), T, LABEL).shape == (2, 4, 8, 8, 6)


def test_bfloat16_is_close_and_params_stay_float32():
    apply, params = network(SMALL)
    half, params_half = network(dataclasses.replace(SMALL, dtype='bfloat16'))
    assert {leaf.dtype for leaf in jax.tree.leaves(params_half)} == {jnp.dtype('float32')}
    full = apply(params, video(), T, LABEL)
    low = half(params, video(), T, LABEL)
    assert low.dtype == jnp.float32
    assert 1e-4 < np.abs(full - low).mean() / np.abs(full).mean() < 0.1


# Latte's sizes as its code counts them: unconditional, learned sigma, patch 2, 4 latent channels. S and XL are its
# published rounded counts; B and L are quoted at second hand.
@pytest.mark.parametrize('size, millions', [('S', 32.48), ('B', 129.54), ('L', 456.81), ('XL', 673.68)])
def test_sizes_are_the_papers(size, millions):
    config = VideoDiTConfig(size=size, patch=2, channels=4, classes=0, learn_variance=True)
    shapes = jax.eval_shape(lambda: init_params(lambda rngs: VideoDiT(config, rngs=rngs), jax.random.key(0)))
    count = sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) / 1e6
    # the official count holds the fixed position table as well, (256 + 16) x width
    assert abs(count + 272 * config.sizes.width / 1e6 - millions) < 0.02 * millions


@each_layout
def test_counted_flops_are_the_compilers(layout):
    config = in_layout(layout, width=64, scan=False, windows=('1x4x4', '2x4x4'))
    apply, params = network(config)
    compiled = jax.jit(apply).lower(params, video(8, 16, 1), T[:1], FIRST).compile().cost_analysis()['flops']
    counted = flops_per_video(config, (8, 16, 16))
    assert 0.75 < counted / compiled < 1.02  # the compiler also counts norms, softmax and GELU


@pytest.mark.slow
@pytest.mark.parametrize(
    'changes, images, text, per_frame',
    [
        ({'modulation': 'adaln_single'}, 0, 0, False),
        ({'modulation': 'adaln_lora'}, 0, 0, True),
        ({'text_width': 64}, 0, 96, False),
        ({}, 3, 0, True),
        ({'self_condition': True, 'learn_variance': True}, 0, 0, False),
    ],
)
def test_counted_flops_of_conditions_and_images_are_the_compilers(changes, images, text, per_frame):
    config = dataclasses.replace(SMALL, width=64, scan=False, **changes)
    apply, params = network(config)
    conditions = FIRST | ({'text': jnp.ones((1, text, 64)), 'text_mask': jnp.ones((1, text), bool)} if text else {})
    t = jnp.ones((1, 8 + images)) if per_frame else T[:1]
    lowered = jax.jit(apply, static_argnums=4).lower(params, video(8 + images, 16, 1), t, conditions, images)
    counted = flops_per_video(config, (8, 16, 16), images, per_frame, text)
    assert 0.75 < counted / lowered.compile().cost_analysis()['flops'] < 1.02


def test_flops_of_latte_xl():
    config = VideoDiTConfig(size='XL', patch=2, channels=4, learn_variance=True)
    assert abs(flops_per_video(config, (16, 32, 32)) / 3.726e12 - 1) < 0.01  # 2 x 1863 GMACs


@pytest.mark.parametrize(
    'wrong, key',
    [
        ({'heads': 5}, 'config.model.heads'),
        ({'depth': 3}, 'config.model.depth'),
        ({'patch': 0}, 'config.model.patch'),
        ({'width': 30, 'heads': 3}, 'config.model.width'),
        ({'windows': ('5x8',)}, 'config.model.windows'),
        ({'lora_rank': 0}, 'config.model.lora_rank'),
    ],
)
def test_sizes_that_do_not_go_together_are_refused(wrong, key):
    with pytest.raises(ValueError, match=key):
        dataclasses.replace(SMALL, **wrong)


def test_sides_that_do_not_divide_are_refused():
    apply, params = network(SMALL)
    with pytest.raises(ValueError, match='config.model.patch=2'):
        apply(params, video(side=9), T, LABEL)
