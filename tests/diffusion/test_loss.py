"""Weights are the published ones, mean the same for every kind, and the loss is per example."""

import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.diffusion.loss import Constant, MinSNR, Velocity, loss_per_example
from vdm_jax.diffusion.prediction import KINDS, convert, to_x0_eps
from vdm_jax.diffusion.process import DDPM, RectifiedFlow

PROCESSES = [DDPM('cosine'), RectifiedFlow()]
each_process = pytest.mark.parametrize('process', PROCESSES, ids=str)
PUBLISHED = {
    'eps': lambda snr, gamma: np.minimum(1, gamma / snr),
    'x0': lambda snr, gamma: np.minimum(snr, gamma),
    'v': lambda snr, gamma: np.minimum(snr, gamma) / (snr + 1),
}


@pytest.mark.parametrize('kind', PUBLISHED)
@pytest.mark.parametrize('schedule', ['linear', 'cosine'])
@pytest.mark.parametrize('gamma', [1.0, 5.0])
def test_min_snr_has_the_published_weights(kind, schedule, gamma):
    process, t = DDPM(schedule), jnp.linspace(0.001, 1, 19)
    alpha, sigma = (np.asarray(c, np.float64) for c in process.alpha_sigma(t))
    want = PUBLISHED[kind]((alpha / sigma) ** 2, gamma)
    np.testing.assert_allclose(MinSNR(gamma).weight(kind, process, t), want, rtol=1e-5)


@each_process
def test_min_snr_weighs_the_same_error_of_x0_the_same_for_every_kind(process, normals):
    t = jnp.linspace(0.05, 0.95, 19)
    x_t, prediction, other = normals(3, 19)
    alpha, sigma = process.alpha_sigma(t)
    for kind in KINDS:
        error_x0 = (to_x0_eps(kind, process, prediction, x_t, t)[0] - to_x0_eps(kind, process, other, x_t, t)[0]) ** 2
        weighted = MinSNR().weight(kind, process, t) * (prediction - other) ** 2
        np.testing.assert_allclose(weighted, jnp.minimum((alpha / sigma) ** 2, 5) * error_x0, rtol=2e-3, atol=1e-6)


@each_process
@pytest.mark.parametrize('kind', KINDS)
def test_min_snr_is_finite_without_signal_and_without_noise(process, kind):
    weight = MinSNR().weight(kind, process, jnp.linspace(0, 1, 19))
    assert np.all(np.isfinite(weight)) and np.all(weight >= 0) and np.all(weight <= 5.001)


def test_min_snr_at_the_ends_of_a_flow_is_the_limit():
    weights = {kind: np.asarray(MinSNR(5.0).weight(kind, RectifiedFlow(), jnp.linspace(0, 1, 19))) for kind in KINDS}
    np.testing.assert_allclose(weights['eps'][[0, -1]], [0, 1], atol=1e-6)
    np.testing.assert_allclose(weights['x0'][[0, -1]], [5, 0], atol=1e-6)


@each_process
@pytest.mark.parametrize('kind', KINDS)
def test_velocity_weighs_every_kind_as_its_error_in_velocity(process, kind, normals):
    t = jnp.linspace(0.1, 0.9, 19)
    x_t, prediction, other = normals(3, 19)
    as_velocity = lambda p: convert(p, x_t, t, process, kind, 'velocity')
    weighted = Velocity(floor=1e-3).weight(kind, process, t) * (prediction - other) ** 2
    np.testing.assert_allclose(weighted, (as_velocity(prediction) - as_velocity(other)) ** 2, rtol=2e-3, atol=1e-5)


def test_velocity_weight_of_x0_on_a_flow_is_one_over_t_squared_down_to_the_floor():
    weight = Velocity(floor=0.1).weight('x0', RectifiedFlow(), jnp.array([1.0, 0.5, 0.1, 0.01, 0.0]))
    np.testing.assert_allclose(weight, [1, 4, 100, 100, 100], rtol=1e-5)


@each_process
def test_constant_weighs_every_time_alike(process):
    t = jnp.linspace(0, 1, 6).reshape(2, 3)
    np.testing.assert_array_equal(Constant().weight('eps', process, t), np.ones((2, 3)))


def test_loss_is_the_weighted_mean_of_each_example_alone(normals):
    prediction, target = normals(2, 3, 4, 5, 5, 2)
    weight = jnp.array([1.0, 2.0, 0.0])
    want = np.asarray(weight) * np.mean((np.asarray(prediction) - np.asarray(target)) ** 2, axis=(1, 2, 3, 4))
    loss = loss_per_example(prediction, target, weight)
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    np.testing.assert_allclose(loss_per_example(prediction[::-1], target[::-1], weight[::-1]), loss[::-1], rtol=1e-6)
    per_frame = jnp.broadcast_to(weight[:, None], (3, 4))
    np.testing.assert_allclose(loss_per_example(prediction, target, per_frame), loss, rtol=1e-6)


def test_loss_of_bfloat16_is_taken_in_float32():
    prediction, target = jnp.full((1, 4096), 1, jnp.bfloat16), jnp.zeros((1, 4096), jnp.bfloat16)
    loss = loss_per_example(prediction, target, jnp.full(1, 1 + 2**-12))
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, 1 + 2**-12, rtol=1e-6)


def test_mistakes_are_told():
    with pytest.raises(ValueError, match='shape'):
        loss_per_example(jnp.ones((2, 4, 2)), jnp.ones((2, 4, 1)), jnp.ones(2))
    with pytest.raises(ValueError, match=r'config\.diffusion\.weighting\.gamma'):
        MinSNR(0.0)
    with pytest.raises(ValueError, match=r'config\.diffusion\.weighting\.floor'):
        Velocity(0.0)
