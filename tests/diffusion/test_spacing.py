"""Spacings are the published ones."""

import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.edm import EDM
from vdm_jax.diffusion.flow import RectifiedFlow
from vdm_jax.diffusion.spacing import Karras, Leading, Linear, LogSNR, Shifted, Trailing

SPACINGS = [Trailing(), Leading(), Linear(), Karras(), LogSNR(), Shifted()]
PROCESSES = [DDPM(), DDPM('cosine', zero_terminal_snr=True), RectifiedFlow(), EDM()]
each_spacing = pytest.mark.parametrize('spacing', SPACINGS, ids=str)


@pytest.mark.parametrize('process', PROCESSES, ids=str)
@each_spacing
@pytest.mark.parametrize('steps', [1, 2, 7, 50])
def test_times_fall_to_exactly_0_from_1_but_for_leading(process, spacing, steps):
    times = np.asarray(spacing.times(process, steps))
    assert times.shape == (steps + 1,) and times[-1] == 0 and times.dtype == np.float32
    assert np.all(np.diff(times) < 0)
    assert times[0] == 1 or isinstance(spacing, Leading)


@pytest.mark.parametrize(
    'spacing, timesteps',
    [
        (Leading(), [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]),
        (Linear(), [1000, 889, 778, 667, 556, 445, 334, 223, 112, 1]),
        (Trailing(), [1000, 900, 800, 700, 600, 500, 400, 300, 200, 100]),
    ],
)
def test_timesteps_are_those_of_table_2(spacing, timesteps):
    """Lin et al. 2024, table 2: ten steps of a thousand, which they count from 1."""
    found = DDPM().model_time(spacing.times(DDPM(), 10)[:-1]) + 1
    np.testing.assert_allclose(found, timesteps, atol=1e-3)


def test_shifted_multiplies_the_odds():
    u = np.linspace(1, 0, 5)
    np.testing.assert_allclose(Shifted(1.7).times(RectifiedFlow(), 4), 1.7 * u / (1 + 0.7 * u), rtol=1e-6)


def test_karras_has_the_published_sigmas():
    """Karras et al. 2022, eq. 5, and with sigma_max = 80 on EDM from the first to the last."""
    i = np.arange(18) / 17
    published = (80 ** (1 / 7) + i * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(EDM().clock(Karras().times(EDM(), 18)[:-1]), published, rtol=1e-4)
    alpha, sigma = DDPM().alpha_sigma(Karras(sigma_min=0.03).times(DDPM(), 18)[:-1])
    largest = float(sigma[0] / alpha[0])
    published = np.array(80 ** (1 / 7) * (1 - i) + 0.03 ** (1 / 7) * i) ** 7  # bounded by sigma_max, but for the first
    np.testing.assert_allclose((sigma / alpha)[1:], published[1:], rtol=2e-2)
    assert largest == pytest.approx(157.4, rel=1e-2)


@pytest.mark.parametrize('process', [RectifiedFlow('gvp'), EDM()], ids=str)
def test_logsnr_is_even_in_the_log_signal_to_noise_ratio(process):
    times = LogSNR(bound=6.0).times(process, 8)
    steps = np.diff(process.logsnr(times[1:-1]))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-3)
    noisy = float(jnp.maximum(process.logsnr(jnp.float32(1)), -6.0))
    np.testing.assert_allclose(steps[0], (6 - noisy) / 8, rtol=1e-3)


def test_too_many_steps_name_the_key():
    with pytest.raises(ValueError, match=r'config\.sampler\.steps is 101: want 1 ... 100'):
        Trailing().times(DDPM(steps=100), 101)
    with pytest.raises(ValueError, match=r'config\.sampler\.steps is 0'):
        Shifted().times(RectifiedFlow(), 0)


def test_times_that_do_not_fall_are_refused():
    with pytest.raises(ValueError, match=r'config\.sampler\.spacing: Karras'):
        Karras(sigma_min=10.0).times(EDM(sigma_max=5.0), 4)


@pytest.mark.parametrize(
    'make', [lambda: Shifted(0.0), lambda: LogSNR(-1.0), lambda: Karras(sigma_min=90.0), lambda: Karras(rho=0.0)]
)
def test_bad_values_name_their_key(make):
    with pytest.raises(ValueError, match=r'config\.sampler\.spacing\.'):
        make()
