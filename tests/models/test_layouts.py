"""Layouts: who sees whom, and which of them are one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.marks import rest_slow
from tests.models.small import FIRST, LABEL, SMALL, T, in_layout, network, video
from vdm_jax.models.flops import flops_per_video
from vdm_jax.models.layouts import LAYOUTS


def laid_out(layout, **changes):
    return network(in_layout(layout, units=2, position='sincos_rope', **changes))


def test_a_small_network_has_complete_units():
    for layout in LAYOUTS:
        config = in_layout(layout)
        blocks = len(LAYOUTS[layout].block_specs(config))
        assert config.layout == layout and config.depth >= 2 and config.depth % blocks == 0, layout
        assert in_layout(layout, units=1).depth == blocks
    three = ('1x4x4', '2x2x2', '4x1x1')
    assert in_layout('windows', windows=three).depth == 3 and in_layout('windows', units=2, windows=three).depth == 6


def reach_of(apply, params):
    """(frame) -> how much each frame of a clip of 4 moves the output of that one, (4,)."""
    grad = jax.jit(jax.grad(lambda x, frame: apply(params, x, T[:1], FIRST)[0, frame].sum()))
    return lambda frame: np.abs(grad(video(batch=1), frame)[0]).max((1, 2, 3))


@pytest.mark.parametrize('layout', ['causal', 'full_causal'])
def test_causal_layouts_see_no_later_frame(layout):
    apply, params = laid_out(layout)
    reach = reach_of(apply, params)
    for frame in range(4):
        assert np.all(reach(frame)[: frame + 1] > 0) and np.all(reach(frame)[frame + 1 :] == 0)
    free = {'causal': 'interleaved', 'full_causal': 'full'}[layout]
    assert np.all(reach_of(*laid_out(free))(0) > 0)  # not so without


@pytest.mark.parametrize('size', rest_slow(['9x9x9', '4x4x4'], 1))
def test_a_window_as_large_as_the_clip_is_full_attention(size):
    windows, params = laid_out('windows', windows=(size,))
    full, params_full = laid_out('full')
    params_full['layers'] = {'block': params['layers']['window0']}
    params_full = params_full | {name: params[name] for name in params if name != 'layers'}
    np.testing.assert_allclose(
        windows(params, video(), T, LABEL), full(params_full, video(), T, LABEL), atol=1e-5, rtol=1e-5
    )


def test_windows_that_do_not_divide_the_clip_are_cut_short():
    """Frames 0-1 and frame 2, rows and columns 0-2 and 3: each piece is independent (positions are relative)."""
    config = dataclasses.replace(SMALL, layout='windows', windows=('2x3x3',), depth=2, position='rope')
    apply, params = network(config)
    x = video(frames=3, side=8)  # 4 x 4 patches of 2 pixels
    output = apply(params, x, T, LABEL)
    first = (slice(0, 2), slice(0, 6), slice(0, 6))
    last = (slice(2, 3), slice(6, 8), slice(6, 8))
    for piece in (first, last, (first[0], last[1], first[2]), (last[0], first[1], last[2])):
        of_piece = apply(params, x[:, *piece], T, LABEL)
        np.testing.assert_allclose(output[:, *piece], of_piece, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_alternating_windows_reach_further_than_each():
    one, params = laid_out('windows', windows=('2x4x4',))
    assert np.all(reach_of(one, params)(0)[2:] == 0)
    two, params = laid_out('windows', windows=('2x4x4', '4x1x1'))
    assert np.all(reach_of(two, params)(0) > 0)


def test_late_fusion_is_interleaved_where_there_is_one_pair_of_blocks():
    interleaved, params = network(dataclasses.replace(SMALL, depth=2))
    late, _ = network(dataclasses.replace(SMALL, depth=2, layout='late_fusion'))
    np.testing.assert_allclose(
        late(params, video(), T, LABEL), interleaved(params, video(), T, LABEL), atol=1e-5, rtol=1e-5
    )
    interleaved, params = network(dataclasses.replace(SMALL, depth=4))
    late, _ = network(dataclasses.replace(SMALL, depth=4, layout='late_fusion'))
    assert np.abs(late(params, video(), T, LABEL) - interleaved(params, video(), T, LABEL)).max() > 1e-3


def test_sequential_is_a_pair_of_blocks_whose_first_has_no_mlp():
    """Latte's variant 3 is its variant 1 where the MLP after attention over space is left out."""
    sequential, params = network(dataclasses.replace(SMALL, depth=1, layout='sequential', position='rope'))
    interleaved, pair = network(dataclasses.replace(SMALL, depth=2, position='rope'))
    block = params['layers']['block']
    width = 32
    first, second, last = (slice(i * 3 * width, (i + 1) * 3 * width) for i in range(3))

    def cut(*parts):
        return {
            name: jnp.concatenate([array[..., part] for part in parts], -1)
            for name, array in block['modulation'].items()
        }

    space = {'attention': block['attention'], 'mlp': block['mlp'], 'modulation': cut(first, last)}
    gate = slice(5 * width, 6 * width)
    space['modulation'] = jax.tree.map(lambda array: array.at[..., gate].set(0), space['modulation'])
    time = {'attention': block['attention2'], 'mlp': block['mlp'], 'modulation': cut(second, last)}
    pair = (
        pair | {name: params[name] for name in params if name != 'layers'} | {'layers': {'space': space, 'time': time}}
    )
    np.testing.assert_allclose(
        sequential(params, video(), T, LABEL), interleaved(pair, video(), T, LABEL), atol=1e-5, rtol=1e-5
    )


def test_split_heads_are_half_over_space_and_half_over_time():
    """What enters through the value columns of one half of the heads spreads only over its own axis."""
    for half, axis in ((slice(0, 16), 'space'), (slice(16, 32), 'time')):
        apply, params = network(dataclasses.replace(SMALL, depth=1, layout='split_heads', position='rope'))
        out = params['layers']['block']['attention']['out']
        mine = jnp.zeros_like(out['kernel']).at[:, half].set(out['kernel'][:, half])
        params['layers']['block']['attention']['out'] = out | {'kernel': mine}
        reach = jax.grad(lambda x: apply(params, x, T[:1], FIRST)[0, 1, 0, 0, 0])(video(batch=1))[0]  # noqa: B023
        reach = np.abs(reach).max(-1).reshape(4, 4, 2, 4, 2).max((2, 4)) > 0  # frames, rows, columns of patches
        want = np.zeros((4, 4, 4), bool)
        want[(1,) if axis == 'space' else (slice(None), 0, 0)] = True
        np.testing.assert_array_equal(reach, want)


@pytest.mark.parametrize(
    'layout, position',
    rest_slow(
        [(layout, 'sincos_rope') for layout in LAYOUTS] + [('interleaved', 'learned')],
        [(layout, 'sincos_rope') for layout in ('interleaved', 'full', 'causal', 'windows')],
    ),
)
def test_images_behind_a_clip_and_the_clip_are_independent(layout, position):
    """A clip of 3 frames and 2 images at once: each is what it is by itself, with its own time and label."""
    config = in_layout(layout, position=position, windows=('2x3x3', '4x4x4'))
    apply, params = network(config)
    clip = video(3)
    images = video(2, seed=5)
    t = jnp.array([[500.0, 500.0, 500.0, 100.0, 900.0], [20.0, 300.0, 800.0, 700.0, 0.0]])
    label = jnp.array([[1, 1, 1, 4, 5], [2, 2, 2, 0, 3]])
    joint = apply(params, jnp.concatenate([clip, images], 1), t, {'label': label}, 2)
    of_clip = apply(params, clip, t[:, :3], {'label': label[:, :3]}, 0)
    np.testing.assert_allclose(joint[:, :3], of_clip, atol=2e-5, rtol=1e-4)
    for i in range(2):
        image = apply(params, images[:, i : i + 1], t[:, 3 + i : 4 + i], {'label': label[:, 3 + i : 4 + i]}, 0)
        np.testing.assert_allclose(joint[:, 3 + i : 4 + i], image, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize('layout', ['interleaved', 'late_fusion'])
def test_images_set_aside_enter_no_block_over_time(layout):
    """What those blocks have learned, and their positions in time, do not affect images then."""
    config = in_layout(layout, images='aside')
    apply, params = network(config)
    x = jnp.concatenate([video(3), video(2, seed=5)], 1)
    t = jnp.array([10.0, 700.0])
    joint = apply(params, x, t, LABEL, 2)
    other = params | {'layers': params['layers'] | {'time': jax.tree.map(lambda w: 2 * w, params['layers']['time'])}}
    changed = np.abs(apply(other, x, t, LABEL, 2) - joint).max((0, 2, 3, 4)) > 1e-3
    np.testing.assert_array_equal(changed, [True] * 3 + [False] * 2)
    np.testing.assert_allclose(joint[:, :3], apply(params, x[:, :3], t, LABEL, 0), atol=2e-5)
    flops_alone = flops_per_video(dataclasses.replace(config, images='alone'), (3, 8, 8), images=2)
    assert flops_per_video(config, (3, 8, 8)) < flops_per_video(config, (3, 8, 8), images=2) < flops_alone


def test_images_are_single_frames():
    apply, params = network(dataclasses.replace(SMALL, time_patch=2))
    with pytest.raises(ValueError, match='config.model.time_patch=2'):
        apply(params, video(6), jnp.ones((2, 6)), LABEL, 2)
