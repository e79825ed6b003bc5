"""Spacings are the published ones."""

import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.edm import EDM
from vdm_jax.diffusion.flow import RectifiedFlow
from vdm_jax.diffusion.spacing import (
    DropLast,
    Karras,
    Leading,
    Linear,
    LogSNR,
    Shifted,
    StopAtFirst,
    Trailing,
)

SPACINGS = [Trailing(), Leading(), Linear(), Karras(), LogSNR(), Shifted(), DropLast(Trailing())]
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
        (Leading(offset=1), [902, 802, 702, 602, 502, 402, 302, 202, 102, 2]),
        (DropLast(Leading()), [901, 811, 721, 631, 541, 451, 361, 271, 181, 91]),
        (DropLast(Linear()), [1000, 900, 800, 700, 600, 500, 401, 301, 201, 101]),
    ],
)
def test_timesteps_are_those_of_table_2(spacing, timesteps):
    """Lin et al. 2024, table 2: ten steps of a thousand, which they count from 1."""
    model_timesteps = DDPM().model_time(spacing.times(DDPM(), 10)[:-1]) + 1
    np.testing.assert_allclose(model_timesteps, timesteps, atol=1e-3)


def test_halves_are_rounded_as_they_are_counted_or_not_at_all():
    middles = [DDPM().model_time(Linear(rounding).times(DDPM(), 5)[2]) for rounding in ('one', 'zero', 'none')]
    np.testing.assert_allclose(middles, [499, 500, 499.5], atol=1e-3)


@pytest.mark.parametrize('steps', [48, 61, 240])
def test_trailing_is_the_formula_of_the_table_at_any_count(steps):
    """At halves another way to the same number rounds elsewhere, and from float steps arange may have one too many."""
    published = np.round(np.arange(1000, 0, -1000 / steps))[:steps]
    np.testing.assert_allclose(Trailing().times(DDPM(), steps)[:-1] * 1000, published, atol=1e-3)


def test_a_walk_may_end_at_the_first_timestep_and_no_spacing_stops_there_twice():
    times = np.asarray(StopAtFirst(Leading(offset=1)).times(DDPM(), 5))
    np.testing.assert_allclose(times * 1000, [802, 602, 402, 202, 2, 1], rtol=1e-6)
    assert DropLast(StopAtFirst()).end(DDPM(steps=50)) == 0.02
    with pytest.raises(ValueError, match=r'config\.sampler\.spacing: StopAtFirst\(of=Leading.* does not fall'):
        StopAtFirst(Leading()).times(DDPM(), 5)
    with pytest.raises(ValueError, match=r'config\.sampler\.spacing\.name is stop_at_first'):
        StopAtFirst().times(RectifiedFlow(), 5)


def test_shifted_may_start_below_1_and_stop_above_0():
    even = np.linspace(0.9, 0.1, 4)
    times = Shifted(2.0, start=0.9, stop=0.1).times(RectifiedFlow(), 4)
    np.testing.assert_allclose(times, [*(2 * even / (1 + even)), 0], rtol=1e-6)


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


def test_karras_takes_the_sigmas_of_the_process_or_starts_below_its_noise():
    def sigmas(spacing):
        return np.divide(*DDPM().alpha_sigma(spacing.times(DDPM(), 6)[:-1])[::-1])

    alpha, sigma = DDPM().alpha_sigma(jnp.array([1.0, 0.001]))
    np.testing.assert_allclose(sigmas(Karras(None, None))[[0, -1]], sigma / alpha, rtol=1e-5)
    np.testing.assert_allclose(sigmas(Karras(0.1, 20.0, from_noise=False))[[0, -1]], [20, 0.1], rtol=1e-4)
    with pytest.raises(ValueError, match=r'config\.sampler\.spacing\.sigma_min is None'):
        Karras(None).times(RectifiedFlow(), 6)


@pytest.mark.parametrize('process', [RectifiedFlow('gvp'), EDM()], ids=str)
def test_logsnr_is_even_in_the_log_signal_to_noise_ratio(process):
    times = LogSNR(bound=6.0).times(process, 8)
    steps = np.diff(process.logsnr(times[1:-1]))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-3)
    noisy = float(jnp.maximum(process.logsnr(jnp.float32(1)), -6.0))
    np.testing.assert_allclose(steps[0], (6 - noisy) / 8, rtol=1e-3)


def test_too_many_steps_name_the_key():
    with pytest.raises(ValueError, match=r'config\.sampler\.steps=101: want 1 to 100'):
        Trailing().times(DDPM(steps=100), 101)
    with pytest.raises(ValueError, match=r'config\.sampler\.steps=0'):
        Shifted().times(RectifiedFlow(), 0)


def test_times_that_do_not_fall_are_refused():
    with pytest.raises(ValueError, match=r'config\.sampler\.spacing: Karras'):
        Karras(sigma_min=10.0).times(EDM(sigma_max=5.0), 4)
    with pytest.raises(ValueError, match=r'config\.sampler\.spacing: Leading.* does not fall from 1 or less'):
        Leading(offset=1).times(DDPM(), 1000)


@pytest.mark.parametrize(
    'make',
    [
        lambda: Shifted(0.0),
        lambda: Shifted(start=0.5, stop=0.5),
        lambda: LogSNR(-1.0),
        lambda: Karras(sigma_min=90.0),
        lambda: Karras(None, sigma_max=0.0),
        lambda: Karras(rho=0.0),
        lambda: Leading(offset=-1),
    ],
)
def test_bad_values_name_their_key(make):
    with pytest.raises(ValueError, match=r'config\.sampler\.spacing\.'):
        make()
