"""What an autoencoder is trained on: errors, divergence and LPIPS add up by their weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.codecs.small_lpips import small_lpips
from tests.codecs.small_video import network, pixels
from vdm_jax.codecs import lpips
from vdm_jax.codecs.posterior import draw, kl_divergence
from vdm_jax.codecs.reconstruction import Reconstruction
from vdm_jax.errors import UserError

X = pixels()
Y = pixels(seed=5)
MEAN = np.random.default_rng(0).standard_normal((2, 3, 2, 3, 2), np.float32)
LOGVAR = np.random.default_rng(1).standard_normal((2, 3, 2, 3, 2), np.float32)


def test_the_divergence_is_the_expected_difference_of_log_densities():
    mean = jnp.array([0.0, 1.0, -2.0])
    logvar = jnp.array([0.0, -1.0, 0.7])
    np.testing.assert_allclose(kl_divergence(mean, logvar)[0], 0, atol=1e-7)

    def wide(a):
        return jnp.broadcast_to(a, (40_000, 3))

    z = draw(wide(mean), wide(logvar), jax.random.split(jax.random.key(0), 40_000))

    def log_density(z, mean, logvar):
        return -0.5 * (logvar + (z - mean) ** 2 / jnp.exp(logvar))

    apart = log_density(z, wide(mean), wide(logvar)) - log_density(z, 0, 0)
    np.testing.assert_allclose(apart.mean(0), kl_divergence(mean, logvar), atol=0.03)


@pytest.mark.parametrize(
    'kind, error', [('l1', np.abs), ('l2', np.square), ('charbonnier', lambda e: np.sqrt(e**2 + 1e-6))]
)
def test_the_error_is_a_mean_over_pixel_values(kind, error):
    result = Reconstruction(kind=kind, kl_weight=0.0)(X, Y, MEAN, LOGVAR)
    np.testing.assert_allclose(result.loss, error(Y - X).mean((1, 2, 3, 4)), rtol=1e-5)
    np.testing.assert_allclose(result.by_frame, error(Y - X).mean((2, 3, 4)), rtol=1e-5)


def test_the_divergence_counts_for_each_pixel_value():
    """A beta-VAE: (sum of errors + weight * sum of divergences) / number of pixel values."""
    plain, weighted = (Reconstruction(kl_weight=weight)(X, Y, MEAN, LOGVAR) for weight in (0.0, 0.25))
    nats = np.asarray(kl_divergence(MEAN, LOGVAR)).sum((1, 2, 3, 4))
    np.testing.assert_allclose(weighted.loss - plain.loss, 0.25 * nats / X[0].size, rtol=1e-4)
    np.testing.assert_allclose(weighted.parts['kl'], nats / MEAN[0].size, rtol=1e-5)


def test_psnr_is_that_of_bytes_and_cuts_off():
    y = np.clip(X + 0.1, -1, 1)
    expected = 10 * np.log10(255**2 / np.square((y - X) * 127.5).mean((1, 2, 3, 4)))
    beyond = np.where(y >= 1, 3, y)
    for decoded in (y, beyond):
        psnr = Reconstruction()(X, decoded, MEAN, LOGVAR).parts['psnr']
        np.testing.assert_allclose(psnr, expected, rtol=1e-5)
    assert np.all(np.isfinite(Reconstruction()(X, X, MEAN, LOGVAR).parts['psnr']))


def test_lpips_is_added_by_its_weight():
    x = pixels(frames=2, height=16, width=16)
    y = pixels(frames=2, height=16, width=16, seed=5)
    arguments = (x, y, MEAN[:, :1], LOGVAR[:, :1])
    weights = small_lpips()
    plain = Reconstruction()(*arguments)
    with_lpips = Reconstruction(lpips_weight=2.0, lpips_path='lpips.safetensors')(*arguments, weights)
    looks = lpips.distance(weights, x, y).mean(1)
    np.testing.assert_allclose(with_lpips.loss - plain.loss, 2 * looks, rtol=1e-3)
    np.testing.assert_allclose(with_lpips.parts['lpips'], looks, rtol=1e-6)
    assert np.all(looks > 0.001)


def test_weights_of_lpips_are_needed_only_with_a_weight():
    assert Reconstruction().abstract_frozen == {}
    shapes = Reconstruction(lpips_weight=1.0, lpips_path='x').abstract_frozen['lpips']
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 14_714_688 + 1472  # VGG-16's convolutions, and lines
    with pytest.raises(UserError, match='lpips_weight=1.0: set lpips_path'):
        Reconstruction(lpips_weight=1.0)
    with pytest.raises(UserError, match='kl_weight=-1'):
        Reconstruction(kl_weight=-1)


@functools.cache
def gradients():
    graphdef, state = nnx.split(network())
    loss = Reconstruction(kl_weight=0.01, lpips_weight=1.0, lpips_path='x')
    weights = small_lpips()

    def cost(state, x):
        autoencoder = nnx.merge(graphdef, state)
        mean, logvar = autoencoder.moments(x)
        z = draw(mean, logvar, jax.random.split(jax.random.key(0), len(x)))
        return loss(x, autoencoder.decode(z), mean, logvar, weights).loss.mean()

    return functools.partial(jax.jit(jax.grad(cost)), state)


@pytest.mark.parametrize('still', [False, True])
def test_gradients_are_finite_and_reach_every_weight(still):
    """Of a clip of one colour, too, whose features have no length."""
    x = pixels(frames=5, height=16, width=16, batch=1)
    for path, grad in jax.tree_util.tree_flatten_with_path(gradients()(np.zeros_like(x) if still else x))[0]:
        assert np.all(np.isfinite(grad)), path
        assert still or np.abs(grad).max() > 0, path
