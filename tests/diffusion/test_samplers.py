"""Samplers are exact where the answer is known: data N(MEAN, STD^2), whose best denoiser is linear.

The probability-flow path of such data keeps (x - alpha MEAN) / sqrt(alpha^2 STD^2 + sigma^2), so the video that belongs
to a given noise is known, and a first-order sampler's error must fall as 1 / steps.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.diffusion.prediction import to_x0_eps
from vdm_jax.diffusion.process import DDPM, RectifiedFlow
from vdm_jax.diffusion.sample_loop import sample
from vdm_jax.diffusion.samplers import DDIM, Euler

MEAN, STD = 1.5, 0.4
PROCESSES = [DDPM('cosine'), RectifiedFlow(shift=3.0)]
each_process = pytest.mark.parametrize('process', PROCESSES, ids=str)


def spread(process, t):
    alpha, sigma = process.alpha_sigma(t)
    return alpha, sigma, jnp.sqrt(alpha**2 * STD**2 + sigma**2)


def denoiser(process):
    """(E[x0 | x_t], E[eps | x_t]) for x (B, 1)."""

    def denoise(x, t):
        alpha, sigma, std = (c[:, None] for c in spread(process, t))
        off = (x - alpha * MEAN) / std**2
        return MEAN + alpha * STD**2 * off, sigma * off

    return denoise


def walk(sampler, process, x, keys=None):
    return jax.jit(lambda x, keys: sample(denoiser(process), sampler, process, x, keys))(x, keys)


@pytest.mark.parametrize(
    'make, process',
    [
        (DDIM, RectifiedFlow()),
        (Euler, RectifiedFlow(shift=3.0)),
        (DDIM, DDPM('cosine')),
        (Euler, DDPM('cosine')),
    ],
)
def test_deterministic_samplers_follow_the_probability_flow_with_order_1(make, process):
    x1 = jnp.linspace(-2, 2, 9)[:, None]
    alpha, _, std = spread(process, jnp.float32(1))
    exact = MEAN + STD * (x1 - alpha * MEAN) / std
    steps = np.array([8, 40, 125])
    errors = [float(jnp.abs(walk(make(steps=int(n)), process, x1) - exact).max()) for n in steps]
    order = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert 0.8 < order < 1.3, (order, errors)
    assert errors[-1] < 0.05


@pytest.mark.parametrize('process, eta', [(DDPM('cosine'), 1.0), (RectifiedFlow(), 0.5)])
def test_noisy_samples_have_the_mean_and_spread_of_the_data(process, eta, normals):
    (x1,) = normals(1, 20000, 1)
    keys = jax.random.split(jax.random.key(1), len(x1))
    x0 = walk(DDIM(steps=100, eta=eta), process, x1, keys)
    np.testing.assert_allclose([x0.mean(), x0.std()], [MEAN, STD], atol=0.02)
    correlation = np.corrcoef(np.asarray(x0)[:, 0], np.asarray(x1)[:, 0])[0, 1]
    assert abs(correlation) < 0.9  # without noise it is 1: the sample would be a function of where it began


@each_process
def test_eta_1_is_a_draw_from_the_true_posterior(process):
    t, s = jnp.full(19, 0.6), jnp.full(19, 0.5)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = ([float(c[0]) for c in process.alpha_sigma(time)] for time in (t, s))
    x0, x_t = 0.7, 1.3
    forward = alpha_t / alpha_s  # x_t = forward x_s + noise of this variance
    added = sigma_t**2 - forward**2 * sigma_s**2
    variance = 1 / (1 / sigma_s**2 + forward**2 / added)
    mean = variance * (alpha_s * x0 / sigma_s**2 + forward * x_t / added)

    eps = (x_t - alpha_t * x0) / sigma_t
    for noise in (0.0, 1.0, -2.0):
        x = [jnp.full((19, 2, 3), value) for value in (x_t, x0, eps)]
        x_s, _ = DDIM(eta=1.0).step((), *x, t, s, process, jnp.full((19, 2, 3), noise))
        np.testing.assert_allclose(x_s, mean + np.sqrt(variance) * noise, rtol=1e-3)


@each_process
@pytest.mark.parametrize('sampler', [DDIM(), DDIM(eta=1.0), Euler()], ids=str)
def test_the_last_step_lands_on_x0(process, sampler, normals):
    t, s = jnp.full(19, 1e-3), jnp.zeros(19)
    x0, eps, noise = normals(3, 19, 2, 3)
    x, _ = sampler.step((), process.corrupt(x0, eps, t), x0, eps, t, s, process, noise)
    np.testing.assert_allclose(x, x0, atol=2e-4)


def test_euler_on_ddpm_goes_straight_along_v_for_the_angle_between():
    process, t, s = DDPM('cosine'), jnp.full(19, 0.8), jnp.full(19, 0.5)
    x, _ = Euler().step((), *(jnp.full((19, 2, 3), value) for value in (1.3, 0.7, -0.4)), t, s, process, None)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = ([float(c[0]) for c in process.alpha_sigma(time)] for time in (t, s))
    turn = np.arccos(alpha_s) - np.arccos(alpha_t)
    np.testing.assert_allclose(x, 1.3 + turn * (alpha_t * -0.4 - sigma_t * 0.7), rtol=1e-5)


def test_euler_on_a_flow_is_ddim():
    process, x1 = RectifiedFlow(shift=2.0), jnp.linspace(-2, 2, 9)[:, None]
    np.testing.assert_allclose(walk(Euler(steps=10), process, x1), walk(DDIM(steps=10), process, x1), atol=1e-5)


@each_process
@pytest.mark.parametrize('sampler', [DDIM(), DDIM(eta=0.5), Euler()], ids=str)
def test_a_time_per_frame_equals_a_time_per_video_when_constant(process, sampler, normals):
    x, x0, eps, noise = normals(4, 3, 4, 5, 5, 2)
    per_video = jnp.array([0.9, 0.4, 0.1]), jnp.array([0.8, 0.3, 0.0])
    per_frame = [jnp.broadcast_to(t[:, None], (3, 4)) for t in per_video]
    got, want = (sampler.step((), x, x0, eps, *times, process, noise)[0] for times in (per_frame, per_video))
    np.testing.assert_array_equal(got, want)


def test_an_eps_network_may_start_where_there_is_no_signal():
    process, x1 = RectifiedFlow(), jnp.linspace(-2, 2, 9)[:, None]
    wrong = 1.01  # not quite the noise in x_t, as from a network
    denoise = lambda x, t: to_x0_eps('eps', process, wrong * denoiser(process)(x, t)[1], x, t)
    x0 = sample(denoise, DDIM(steps=10), process, x1)
    assert np.abs(x0).max() < 10


@pytest.mark.parametrize(
    'make, key',
    [
        (lambda: DDIM(steps=0), r'config\.sampler\.steps'),
        (lambda: Euler(guidance=-1.0), r'config\.sampler\.guidance'),
        (lambda: DDIM(eta=1.5), r'config\.sampler\.eta'),
    ],
)
def test_bad_values_name_their_key(make, key):
    with pytest.raises(ValueError, match=key):
        make()
