"""The parts of a network against what they are by definition."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vdm_jax.nn import position
from vdm_jax.nn.attention import rotate
from vdm_jax.nn.attention_backends import attend
from vdm_jax.nn.conv import Conv, GroupNorm, by_taps, convolve
from vdm_jax.nn.embed import patchify, unpatchify
from vdm_jax.nn.mlp import gelu
from vdm_jax.nn.norm import layer_norm


@pytest.mark.parametrize('time_patch, patch', [(1, 1), (1, 2), (2, 4), (4, 8)])
def test_patches_come_back(time_patch, patch):
    x = jax.random.normal(jax.random.key(0), (2, 4, 8, 16, 3))
    tokens = patchify(x, time_patch, patch)
    assert tokens.shape == (2, 4 // time_patch, 8 * 16 // patch**2, time_patch * patch**2 * 3)
    np.testing.assert_array_equal(unpatchify(tokens, (4, 8, 16), time_patch, patch), x)


def test_a_patch_holds_neighbours():
    x = jnp.arange(8 * 8.0).reshape(1, 1, 8, 8, 1)
    np.testing.assert_array_equal(patchify(x, 1, 2)[0, 0, 5], [18, 19, 26, 27])  # row 1, column 1 of a 4 x 4 grid


def test_attention_is_a_weighted_mean():
    q, k, v = (jax.random.normal(jax.random.key(i), (2, 3, 5, 4)) for i in range(3))
    expected = np.zeros_like(v)
    for b in range(2):
        for h in range(3):
            scores = np.exp(np.array(q[b, h]) @ np.array(k[b, h]).T / 2)
            expected[b, h] = scores / scores.sum(-1, keepdims=True) @ np.array(v[b, h])
    np.testing.assert_allclose(attend(q, k, v), expected, atol=1e-5)


def test_rotary_scores_depend_only_on_distance():
    q, k = (jax.random.normal(jax.random.key(i), (1, 8)) for i in range(2))
    angles = position.rope((np.arange(20),), (8,))

    def score(i, j):
        return float((rotate(q, angles[i : i + 1]) * rotate(k, angles[j : j + 1])).sum())

    assert abs(score(3, 7) - score(11, 15)) < 1e-4
    assert abs(score(3, 7) - score(3, 9)) > 1e-3


def test_rotation_keeps_lengths():
    x = jax.random.normal(jax.random.key(0), (2, 6, 8))
    turned = rotate(x, position.rope((np.arange(6),), (8,)))
    np.testing.assert_allclose(jnp.linalg.norm(turned, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)


@pytest.mark.parametrize('head, axes', [(64, 3), (72, 3), (128, 3), (32, 2), (64, 2), (6, 3)])
def test_axes_share_a_head(head, axes):
    dims = position.split_head(head, axes)
    assert sum(dims) == head and all(dim % 2 == 0 and dim > 0 for dim in dims)


def test_sincos_is_the_official_layout():
    """DiT's pos_embed[1] of a 2 x 2 grid at width 8: column 1 first, then row 0."""
    omega = 1 / 10000 ** (np.arange(2) / 2)
    expected = np.concatenate([np.sin(omega), np.cos(omega), np.sin(0 * omega), np.cos(0 * omega)])
    np.testing.assert_allclose(position.sincos_space(2, 2, 8)[1], expected, atol=1e-7)


def test_layer_norm_is_float32_inside():
    x = (1000 + jax.random.normal(jax.random.key(0), (4, 64))).astype(jnp.bfloat16)
    normed = layer_norm(x).astype(jnp.float32)
    assert abs(float(normed.mean())) < 0.02 and abs(float(normed.std()) - 1) < 0.05


def test_fenced_gelu_is_gelu():
    x = jnp.linspace(-4, 4, 101)
    np.testing.assert_allclose(gelu(x), jax.nn.gelu(x, approximate=True), atol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(gelu))(x), jax.vmap(jax.grad(jax.nn.gelu))(x), atol=1e-6)


@pytest.mark.parametrize('kernel', [(3, 3), (3, 1, 1), (1, 3, 5)])
def test_a_convolution_is_a_sum_over_shifted_places(kernel):
    conv = Conv(2, 3, kernel, rngs=nnx.Rngs(0))
    x = jax.random.normal(jax.random.key(1), (2, 4, 5, 6, 2))
    sides = (1,) * (3 - len(kernel)) + kernel
    padded = np.pad(x, [(0, 0), *((side // 2, side // 2) for side in sides), (0, 0)])
    weights = np.array(conv.kernel[...]).reshape(*sides, 2, 3)
    expected = sum(
        padded[:, i : i + 4, j : j + 5, k : k + 6] @ weights[i, j, k]
        for i, j, k in itertools.product(*map(range, sides))
    )
    np.testing.assert_allclose(conv(x), expected, atol=1e-5)


@pytest.mark.parametrize('stride', [(1, 1, 1), (2, 2, 2), (2, 1, 3)])
def test_by_taps_is_the_convolution_of_accelerators(stride):
    """And so are its gradients."""
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 7, 3))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 2, 3, 4))
    padding = ((2, 0), (1, 1), (0, 1))
    by_taps_vjp, expected_vjp = (
        jax.vjp(lambda x, kernel, call=call: call(x, kernel, stride, padding), x, kernel)
        for call in (by_taps, convolve)
    )
    np.testing.assert_allclose(by_taps_vjp[0], expected_vjp[0], atol=1e-4)
    weights = jax.random.normal(jax.random.key(2), expected_vjp[0].shape)
    for one, other in zip(by_taps_vjp[1](weights), expected_vjp[1](weights), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize('places, axes', [(2, (2, 3, 5)), (3, (1, 2, 3, 5))])
def test_group_norm_makes_each_group_normal_of_each_frame_or_clip(places, axes):
    norm = GroupNorm(6, groups=2, spatial_dims=places, rngs=nnx.Rngs(0))
    x = jnp.arange(3.0)[None, :, None, None, None] + 2 * jax.random.normal(jax.random.key(1), (2, 3, 4, 5, 6))
    y = np.array(norm(x)).reshape(2, 3, 4, 5, 2, 3)
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axes), 1, atol=1e-5)
    norm.scale[...] = jnp.arange(6.0)
    norm.bias[...] = jnp.ones(6)
    np.testing.assert_allclose(norm(x), 1 + y.reshape(x.shape) * np.arange(6), atol=1e-5)
