"""Training times have the distributions they claim, on every process."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.edm import EDM
from vdm_jax.diffusion.flow import RectifiedFlow
from vdm_jax.diffusion.training_times import (
    Discrete,
    LogitNormal,
    LogNormalSigma,
    Mode,
    ShiftedUniform,
    Uniform,
)

MANY = (100, 200)  # 20000 times
FLOW = RectifiedFlow()
SAMPLERS = [Uniform(), Discrete(50), LogitNormal(0.5, 1.2), Mode(), Mode(-0.5), ShiftedUniform(), LogNormalSigma()]


def drawn(sampler, process=FLOW, key=0):
    return np.asarray(process.snap(sampler.sample(jax.random.key(key), MANY, process)))


@pytest.mark.parametrize('process', [FLOW, DDPM('cosine', 50), EDM()], ids=str)
@pytest.mark.parametrize('sampler', SAMPLERS, ids=str)
def test_times_are_in_range_and_depend_on_the_key(process, sampler):
    t = drawn(sampler, process)
    assert t.shape == MANY and t.dtype == np.float32 and 0 < t.min() and t.max() <= 1
    assert not np.array_equal(t, drawn(sampler, process, key=1))


def quantiles(t):
    return np.sort(t, axis=None)


EVEN = (np.arange(20000) + 0.5) / 20000


def test_uniform_times_are_uniform():
    np.testing.assert_allclose(quantiles(drawn(Uniform())), EVEN, atol=0.02)


def test_a_discrete_process_draws_every_timestep_equally_often():
    process = DDPM('cosine', steps=10)
    timesteps, counts = np.unique(np.round(process.model_time(drawn(Uniform(), process)), 3), return_counts=True)
    np.testing.assert_allclose(timesteps, np.arange(10), atol=1e-3)
    np.testing.assert_allclose(counts / 20000, 0.1, atol=0.01)
    grid = np.arange(1, 1001, dtype=np.float32) / 1000
    np.testing.assert_allclose(DDPM().snap(grid), grid, rtol=1e-6)  # what lies on the grid stays there


def test_discrete_times_of_a_continuous_process_are_so_many():
    unique_times, counts = np.unique(drawn(Discrete(10)), return_counts=True)
    np.testing.assert_allclose(unique_times, np.arange(1, 11) / 10, rtol=1e-6)
    np.testing.assert_allclose(counts / 20000, 0.1, atol=0.01)


def test_logit_normal_has_its_mean_and_std_and_a_shift_is_added_to_the_mean():
    def logit(t):
        return np.log(t / (1 - t))

    t = drawn(LogitNormal(-0.5, 0.8))
    np.testing.assert_allclose([logit(t).mean(), logit(t).std()], [-0.5, 0.8], atol=0.02)
    np.testing.assert_allclose(drawn(LogitNormal(-0.5 + math.log(3), 0.8)), 3 * t / (1 + 2 * t), rtol=1e-4)


@pytest.mark.parametrize('scale', [-1.0, 0.0, 0.81, 1.75])
def test_mode_times_have_the_published_quantiles(scale):
    """Esser et al. 2024, eq. 20, falls with u, so its quantiles are those of u turned round."""
    u = 1 - EVEN
    published = 1 - u - scale * (np.cos(np.pi / 2 * u) ** 2 - 1 + u)
    np.testing.assert_allclose(quantiles(drawn(Mode(scale))), published, atol=0.02)


def test_shifted_times_multiply_the_odds():
    np.testing.assert_allclose(quantiles(drawn(ShiftedUniform(3.0))), 3 * EVEN / (1 + 2 * EVEN), atol=0.02)


@pytest.mark.parametrize('process', [EDM(), RectifiedFlow()], ids=str)
def test_log_normal_sigma_is_edm_s_whatever_the_process(process):
    alpha, sigma = process.alpha_sigma(jnp.asarray(drawn(LogNormalSigma(), process)))
    log_sigma = np.log(sigma / alpha)
    np.testing.assert_allclose([log_sigma.mean(), log_sigma.std()], [-1.2, 1.2], atol=0.03)


@pytest.mark.parametrize(
    'make, key',
    [
        (lambda: LogitNormal(mean=float('nan')), 'mean'),
        (lambda: LogNormalSigma(std=0.0), 'std'),
        (lambda: Mode(2.0), 'scale'),
        (lambda: ShiftedUniform(-1.0), 'shift'),
        (lambda: Discrete(0), 'steps'),
    ],
)
def test_bad_values_name_their_key(make, key):
    with pytest.raises(ValueError, match=rf'config\.diffusion\.time\.{key}'):
        make()
