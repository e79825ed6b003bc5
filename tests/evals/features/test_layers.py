"""Layers: TensorFlow's padding, pools and convolutions against numpy, at odd sizes."""

import itertools

import jax
import numpy as np
import pytest

from vdm_jax.evals.features import layers
from vdm_jax.pretrained.features import EPSILON, fold_bias, fold_kernel
from vdm_jax.pretrained.table import SAME

RNG = np.random.default_rng(0)


def windows(x, sides, stride, padding, fill):
    """((position), values under the window (*sides, C)) of x (*spatial, C)."""
    x = np.pad(x, (*padding, (0, 0)), constant_values=fill)
    counts = [(size - side) // step + 1 for size, side, step in zip(x.shape, sides, stride, strict=False)]
    for place in itertools.product(*map(range, counts)):
        index = tuple(slice(at * step, at * step + side) for at, step, side in zip(place, stride, sides, strict=True))
        yield place, x[index]


@pytest.mark.parametrize('size', range(1, 12))
@pytest.mark.parametrize('side, step', [(7, 2), (3, 2), (3, 1), (2, 2), (1, 1)])
def test_same_padding_gives_tensorflows_number_of_outputs_and_is_even(size, side, step):
    ((before, after),) = layers.pad_same([size], [side], [step])
    assert 0 <= after - before <= 1
    assert (size + before + after - side) // step + 1 == -(-size // step)
    # Not more than is needed: without the last column of padding there would be an output less.
    assert before == after == 0 or (size + before + after - 1 - side) // step + 1 < -(-size // step)


@pytest.mark.parametrize('convolution', ['direct', 'frames', 'platform'])
@pytest.mark.parametrize('channels, sides, stride', [
    (3, (3, 3, 2), (2, 2, 1)), (12, (3, 1, 3), (1, 1, 2)), (12, (4, 2, 1), (2, 1, 1)), (4, (1, 1, 1), (1, 1, 1)),
])  # fmt: skip
def test_convolutions_with_same_padding_equal_numpys(convolution, channels, sides, stride):
    x = RNG.standard_normal((5, 6, 7, channels), np.float32)
    layer = {
        'kernel': RNG.standard_normal((*sides, channels, 4), np.float32),
        'bias': RNG.standard_normal(4, np.float32),
    }
    padding = layers.pad_same(x.shape[:-1], sides, stride)
    y = np.asarray(layers.convolve_layer(x[None], layer, stride, padding, convolution))[0]
    for place, values in windows(x, sides, stride, padding, 0):
        np.testing.assert_allclose(
            y[place], np.einsum('tijc,tijco->o', values, layer['kernel']) + layer['bias'], atol=1e-3
        )
    assert y.shape == (*(-(-size // step) for size, step in zip(x.shape, stride, strict=False)), 4)


@pytest.mark.parametrize('frames, padding', [
    (1, ((1, 1), (1, 1), (1, 1))), (2, ((1, 1), (1, 1), (1, 1))), (5, ((1, 1), (1, 1), (1, 1))),
    (4, ((2, 0), (0, 0), (0, 1))), (5, ((0, 0), (1, 1), (1, 1))),
])  # fmt: skip
def test_three_frames_of_many_channels_equal_xlas_own(frames, padding):
    x = RNG.standard_normal((2, frames, 5, 4, 16), np.float32)
    layer = {'kernel': RNG.standard_normal((3, 3, 3, 16, 4), np.float32), 'bias': np.zeros(4, np.float32)}
    pairs, direct = (layers.convolve_layer(x, layer, (1, 1, 1), padding, each) for each in ('frames', 'direct'))
    assert pairs.shape == direct.shape
    np.testing.assert_allclose(pairs, direct, atol=1e-5 * np.abs(direct).max())


@pytest.mark.parametrize('sides, stride', [((3, 3, 3), (1, 1, 1)), ((1, 3, 3), (1, 2, 2)), ((2, 2, 2), (2, 2, 2))])
def test_max_pools_see_no_padding(sides, stride):
    # All below 0: zeros in the padding would win.
    x = -1 - np.abs(RNG.standard_normal((3, 5, 6, 2), np.float32))
    padding = layers.pad_same(x.shape[:-1], sides, stride)
    y = np.asarray(layers.max_pool(x[None], sides, stride, padding))[0]
    for place, values in windows(x, sides, stride, padding, -np.inf):
        np.testing.assert_array_equal(y[place], values.max((0, 1, 2)))


def test_mean_pools_count_no_padding():
    x = RNG.standard_normal((1, 4, 5, 2), np.float32)
    y = np.asarray(layers.mean_pool(x, 3))[0]
    for place, values in windows(x[0], (3, 3), (1, 1), ((1, 1), (1, 1)), np.nan):
        np.testing.assert_allclose(y[place], np.nanmean(values, (0, 1)), atol=1e-6)


@pytest.mark.parametrize('has_scale', [False, True])
def test_folded_norms_are_norms(has_scale):
    kernel = RNG.standard_normal((3, 3, 2, 5), np.float32)
    bias, mean, scale = RNG.standard_normal((3, 5), np.float32)
    variance = RNG.uniform(1e-6, 4, 5).astype(np.float32)
    scales = (scale,) if has_scale else ()
    x = RNG.standard_normal((1, 6, 6, 2), np.float32)

    def convolve(kernel, bias):
        return np.asarray(layers.convolve_layer(x, {'kernel': kernel, 'bias': bias}, (1, 1), ((1, 1), (1, 1))))

    normed = (convolve(kernel, np.zeros(5, np.float32)) - mean) / np.sqrt(variance + EPSILON)
    expected = normed * (scale if has_scale else 1) + bias
    fold = fold_kernel(SAME, has_scale), fold_bias(has_scale)
    folded_kernel = fold[0].to_ours(kernel, variance, *scales)
    folded_bias = fold[1].to_ours(bias, mean, variance, *scales)
    np.testing.assert_allclose(convolve(folded_kernel, folded_bias), expected, rtol=1e-4, atol=1e-4)
    # The way back has a norm that changes nothing, to the last bit.
    np.testing.assert_array_equal(fold[0].to_ours(*fold[0].to_theirs(folded_kernel)), folded_kernel)
    np.testing.assert_array_equal(fold[1].to_ours(*fold[1].to_theirs(folded_bias)), folded_bias)


def test_random_parameters_keep_features_alive():
    params = layers.init_params(layers.abstract_layer((3, 3), 64, 64), jax.random.key(0))
    x = RNG.standard_normal((1, 8, 8, 64), np.float32)
    y = layers.convolve_layer(x, params, (1, 1), ((0, 0), (0, 0)))
    assert 1 < float(np.std(y)) < 2 and float(np.std(params['bias'])) > 0
