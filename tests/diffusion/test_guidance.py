"""Guidance 1 is none, 0 is unconditional, and it does not matter which kind of prediction is guided."""

import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.flow import RectifiedFlow
from vdm_jax.diffusion.guidance import Guidance, guide, rescale_std
from vdm_jax.diffusion.prediction import KINDS, convert


def test_known_scales(normals):
    c, u = normals(2, 19, 2, 3)
    np.testing.assert_array_equal(guide(c, u, 1.0), c)
    np.testing.assert_array_equal(guide(c, u, 0.0), u)
    np.testing.assert_allclose(guide(c, u, 7.5), u + 7.5 * (c - u), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('process', [DDPM('cosine'), RectifiedFlow()], ids=str)
@pytest.mark.parametrize('kind', KINDS)
def test_any_kind_may_be_guided(process, kind, normals):
    t = jnp.linspace(0.2, 0.8, 19)
    x_t, c, u = normals(3, 19, 2, 3)

    def as_kind(eps):
        return convert(eps, x_t, t, process, 'eps', kind)

    np.testing.assert_allclose(as_kind(guide(c, u, 4.0)), guide(as_kind(c), as_kind(u), 4.0), rtol=1e-3, atol=1e-3)


def test_outside_the_interval_there_is_no_guidance(normals):
    c, u = normals(2, 5, 2, 3)
    t = jnp.array([0.1, 0.2, 0.5, 0.8, 0.9])
    guided = Guidance(interval=(0.2, 0.8)).apply(c, u, 3.0, t)
    for row, scale in enumerate([1, 3, 3, 3, 1]):
        np.testing.assert_allclose(guided[row], guide(c[row], u[row], scale), rtol=1e-6)


@pytest.mark.parametrize('schedule', ['constant', 'linear', 'cosine'])
def test_schedules_grow_towards_the_data_and_keep_the_mean(schedule):
    t = (jnp.arange(1000) + 0.5) / 1000
    scales = np.asarray(Guidance(schedule=schedule).scale_at(jnp.float32(4.0), t))
    np.testing.assert_allclose(scales.mean(), 4, rtol=1e-4)
    assert schedule == 'constant' or (np.diff(scales) < 0).all()
    np.testing.assert_array_equal(Guidance(schedule=schedule).scale_at(jnp.float32(1.0), t), 1)


def test_rescaling_brings_back_the_spread_of_the_conditional(normals):
    c, u = normals(2, 3, 4, 5)
    u = 2 * u
    guided = guide(c, u, 5.0)

    def spread(x):
        return np.std(x, axis=(1, 2))

    np.testing.assert_allclose(spread(Guidance(rescale=1.0).apply(c, u, 5.0, jnp.ones(3))), spread(c), rtol=1e-5)
    half = (spread(c) + spread(guided)) / 2
    np.testing.assert_allclose(spread(rescale_std(guided, c, 0.5)), half, rtol=1e-5)
    np.testing.assert_array_equal(Guidance().apply(c, u, 5.0, jnp.ones(3)), guided)


@pytest.mark.parametrize(
    'wrong, key',
    [
        ({'scale': -1.0}, 'scale'),
        ({'interval': (0.8, 0.2)}, 'interval'),
        ({'rescale': 2.0}, 'rescale'),
        ({'channels': 0}, 'channels'),
    ],
)
def test_bad_values_name_their_key(wrong, key):
    with pytest.raises(ValueError, match=rf'config\.guidance\.{key}'):
        Guidance(**wrong)


def test_rescaling_a_constant_prediction_is_finite():
    still = jnp.zeros((1, 2, 3))
    np.testing.assert_array_equal(Guidance(rescale=0.7).apply(still, still, 2.0, jnp.ones(1)), still)


def test_channels_that_are_not_guided_are_the_conditional_ones(normals):
    """DiT's and SiT's formula, by hand: u + scale (c - u) in the first three, c in the rest."""
    c, u = normals(2, 5, 3, 2, 2, 4)
    t = jnp.linspace(0.1, 0.9, 5)
    guided = Guidance(channels=3).apply(c, u, 4.0, t)
    np.testing.assert_allclose(guided[..., :3], u[..., :3] + 4 * (c - u)[..., :3], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(guided[..., 3], c[..., 3])
    np.testing.assert_array_equal(Guidance(channels=3).apply(c, u, 1.0, t), c)
    np.testing.assert_array_equal(Guidance(channels=4).apply(c, u, 4.0, t), Guidance().apply(c, u, 4.0, t))
    rescaled = Guidance(channels=3, rescale=0.7).apply(c, u, 4.0, t)  # by the spread of what is guided
    np.testing.assert_array_equal(rescaled[..., :3], Guidance(rescale=0.7).apply(c[..., :3], u[..., :3], 4.0, t))
    np.testing.assert_array_equal(rescaled[..., 3], c[..., 3])
