"""Corruption has the statistics it claims, times run from noise to data, the velocity is the slope of the path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.diffusion.process import DDPM, RectifiedFlow, expand

PROCESSES = [DDPM(), DDPM('cosine'), RectifiedFlow(shift=3.0)]
MANY = (100, 200)  # 20000 times
each_process = pytest.mark.parametrize('process', PROCESSES, ids=str)


@each_process
@pytest.mark.parametrize('t', [0.0, 0.25, 0.7, 1.0])
def test_corrupt_has_the_mean_and_spread_of_alpha_and_sigma(process, t, normals):
    (eps,) = normals(1, 2, 50, 10, 10, 1)
    x_t = process.corrupt(jnp.full_like(eps, 3.0), eps, jnp.full(2, t))
    alpha, sigma = (c[0] for c in process.alpha_sigma(jnp.full(2, t)))
    np.testing.assert_allclose([np.mean(x_t), np.std(x_t)], [3 * alpha, sigma], atol=0.04)


@each_process
def test_corrupt_takes_a_time_per_video_or_per_frame(process, normals):
    x0, eps = normals(2, 3, 4, 5, 5, 2)
    t_B = np.array([0.1, 0.5, 1.0], np.float32)
    t_BT = np.repeat(t_B[:, None], 4, axis=1)
    np.testing.assert_array_equal(process.corrupt(x0, eps, t_B), process.corrupt(x0, eps, jnp.array(t_BT)))
    t_BT[1, 2] = 0
    x_t = process.corrupt(x0, eps, jnp.array(t_BT))  # one frame is left clean, the others are as they were
    np.testing.assert_array_equal(x_t[1, 2], x0[1, 2])
    np.testing.assert_array_equal(x_t[1, 3], process.corrupt(x0, eps, t_B)[1, 3])


@each_process
def test_corrupt_answers_in_float32(process):
    x0 = jnp.ones((2, 3), jnp.bfloat16)
    assert process.corrupt(x0, x0, jnp.full(2, 0.5)).dtype == jnp.float32


@each_process
def test_clean_end_is_clean_and_noise_end_is_noise(process):
    alpha, sigma = (np.asarray(c)[[0, -1]] for c in process.alpha_sigma(jnp.linspace(0, 1, 19)))
    np.testing.assert_allclose(alpha, [1, 0], atol=0.007)
    np.testing.assert_allclose(sigma, [0, 1], atol=1e-4)


@pytest.mark.parametrize('schedule', ['linear', 'cosine'])
def test_ddpm_keeps_the_variance_and_small_sigmas_are_precise(schedule):
    process = DDPM(schedule)
    alpha, sigma = map(np.asarray, process.alpha_sigma(jnp.arange(1, 1001) / 1000))
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=1e-6)
    if schedule == 'linear':
        np.testing.assert_allclose(sigma[0], 0.01, rtol=1e-6)  # 1 - alpha_bar in float32 would be off by 1e-4


@each_process
def test_rates_are_derivatives_by_the_clock(process):
    t, h = jnp.linspace(0.1, 0.9, 19), 0.001
    passed = process.clock(t + h) - process.clock(t - h)
    assert np.all(passed > 0)
    for rate, after, before in zip(
        process.rates(t), process.alpha_sigma(t + h), process.alpha_sigma(t - h), strict=True
    ):
        np.testing.assert_allclose((after - before) / passed, rate, atol=5e-3)


@each_process
def test_training_times_are_in_range_and_depend_on_the_key(process):
    t = process.sample_t(jax.random.key(0), MANY)
    assert t.shape == MANY and t.dtype == jnp.float32
    assert 0 < np.min(t) and np.max(t) <= 1
    assert not np.array_equal(t, process.sample_t(jax.random.key(1), MANY))


def test_ddpm_draws_every_timestep_alike():
    process = DDPM('cosine', steps=10)
    t = process.sample_t(jax.random.key(0), MANY)
    found, counts = np.unique(np.asarray(process.model_time(t)), return_counts=True)
    np.testing.assert_array_equal(found, np.arange(10))
    np.testing.assert_allclose(counts / 20000, 0.1, atol=0.01)


def test_logit_normal_has_its_mean_and_std_and_shift_multiplies_the_odds():
    key, logit = jax.random.key(0), lambda t: np.log(t / (1 - t))
    t = np.asarray(RectifiedFlow(mean=-0.5, std=0.8).sample_t(key, MANY))
    np.testing.assert_allclose([logit(t).mean(), logit(t).std()], [-0.5, 0.8], atol=0.02)
    shifted = np.asarray(RectifiedFlow(mean=-0.5, std=0.8, shift=3.0).sample_t(key, MANY))
    np.testing.assert_allclose(shifted, 3 * t / (1 + 2 * t), rtol=1e-5)


def test_uniform_times_are_uniform():
    t = np.sort(RectifiedFlow('uniform').sample_t(jax.random.key(0), MANY), axis=None)
    np.testing.assert_allclose(t, np.linspace(0, 1, 20000), atol=0.02)


@each_process
@pytest.mark.parametrize('steps', [1, 7])
def test_sampling_times_fall_from_exactly_1_to_exactly_0(process, steps):
    times = process.times(steps)
    assert times.shape == (steps + 1,) and times[0] == 1 and times[-1] == 0
    assert np.all(np.diff(times) < 0)


def test_sampling_times_are_trailing_for_ddpm_and_shifted_for_flow():
    timesteps = DDPM().model_time(DDPM().times(4))
    np.testing.assert_array_equal(timesteps, [999, 749, 499, 249, 0])
    u = np.linspace(1, 0, 5)
    np.testing.assert_allclose(RectifiedFlow(shift=1.7).times(4), 1.7 * u / (1 + 0.7 * u), rtol=1e-6)


def test_model_time_is_the_papers_timestep_for_ddpm_and_a_thousandfold_for_flow():
    every = jnp.arange(1, 1001) / 1000
    np.testing.assert_array_equal(DDPM().model_time(every), np.arange(1000))
    np.testing.assert_allclose(RectifiedFlow().model_time(every), np.arange(1, 1001), rtol=1e-6)


def test_processes_work_under_jit_and_leave_no_tracer_behind():
    alpha, _ = jax.jit(DDPM('cosine', 77).alpha_sigma)(jnp.array([0.5]))
    np.testing.assert_array_equal(alpha, DDPM('cosine', 77).alpha_sigma(jnp.array([0.5]))[0])


def test_expand_fills_up_on_the_right():
    assert expand(jnp.ones(()), 3).shape == (1, 1, 1)
    assert expand(jnp.ones((2, 3)), 5).shape == (2, 3, 1, 1, 1)


@pytest.mark.parametrize(
    'make, key',
    [
        (lambda: DDPM('sigmoid'), r'config\.diffusion\.process\.schedule'),
        (lambda: DDPM(steps=0), r'config\.diffusion\.process\.steps'),
        (lambda: RectifiedFlow('cosine'), r'config\.diffusion\.process\.time'),
        (lambda: RectifiedFlow(mean=float('nan')), r'config\.diffusion\.process\.mean'),
        (lambda: RectifiedFlow(std=0.0), r'config\.diffusion\.process\.std'),
        (lambda: RectifiedFlow(shift=-1.0), r'config\.diffusion\.process\.shift'),
        (lambda: DDPM(steps=100).times(101), r'config\.sampler\.steps'),
        (lambda: RectifiedFlow().times(0), r'config\.sampler\.steps'),
    ],
)
def test_bad_values_name_their_key(make, key):
    with pytest.raises(ValueError, match=key):
        make()
