"""Corruption has the statistics it claims, and the velocity is the slope of the path."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.edm import EDM
from vdm_jax.diffusion.flow import RectifiedFlow
from vdm_jax.diffusion.logsnr_cosine import LogSNRCosine
from vdm_jax.diffusion.process import expand

PROCESSES = [
    DDPM(),
    DDPM('cosine'),
    DDPM('sigmoid', zero_terminal_snr=True),
    RectifiedFlow(),
    RectifiedFlow('gvp'),
    RectifiedFlow('vp'),
    RectifiedFlow(numbering='sit'),
    EDM(sigma_max=5.0),
    LogSNRCosine(),
    LogSNRCosine(shift=0.5),
]
each_process = pytest.mark.parametrize('process', PROCESSES, ids=str)


@each_process
@pytest.mark.parametrize('t', [0.0, 0.25, 0.7, 1.0])
def test_corrupt_has_the_mean_and_spread_of_alpha_and_sigma(process, t, normals):
    (eps,) = normals(1, 2, 50, 10, 10, 1)
    x_t = process.corrupt(jnp.full_like(eps, 3.0), eps, jnp.full(2, t))
    alpha, sigma = (float(c[0]) for c in process.alpha_sigma(jnp.full(2, t)))
    np.testing.assert_allclose([np.mean(x_t), np.std(x_t)], [3 * alpha, sigma], atol=0.04 * max(1, sigma))


@each_process
def test_corrupt_takes_a_time_per_video_or_per_frame(process, normals):
    x0, eps = normals(2, 3, 4, 5, 5, 2)
    t_B = np.array([0.1, 0.5, 1.0], np.float32)
    t_BT = np.repeat(t_B[:, None], 4, axis=1)
    np.testing.assert_array_equal(process.corrupt(x0, eps, t_B), process.corrupt(x0, eps, jnp.array(t_BT)))
    t_BT[1, 2] = 0
    x_t = process.corrupt(x0, eps, jnp.array(t_BT))  # one frame is left clean, the others are as they were
    np.testing.assert_allclose(x_t[1, 2], x0[1, 2], atol=5e-4)
    np.testing.assert_array_equal(x_t[1, 3], process.corrupt(x0, eps, t_B)[1, 3])


@each_process
def test_corrupt_returns_float32(process):
    x0 = jnp.ones((2, 3), jnp.bfloat16)
    assert process.corrupt(x0, x0, jnp.full(2, 0.5)).dtype == jnp.float32


@each_process
def test_clean_end_is_clean_and_noise_end_is_noise(process):
    alpha, sigma = (np.asarray(c)[[0, -1]] for c in process.alpha_sigma(jnp.linspace(0, 1, 19)))
    np.testing.assert_allclose(alpha[0], 1, atol=1e-6)
    np.testing.assert_allclose(sigma[0], 0, atol=1e-4)
    assert alpha[1] < 0.01 * sigma[1] or process == EDM(sigma_max=5.0) and sigma[1] == 5


@each_process
def test_rates_are_derivatives_by_the_clock(process):
    t = jnp.linspace(0.1, 0.9, 19)
    h = 0.001
    passed = process.clock(t + h) - process.clock(t - h)
    assert np.all(passed * (-1 if process == RectifiedFlow(numbering='sit') else 1) > 0)
    for rate, after, before in zip(
        process.rates(t), process.alpha_sigma(t + h), process.alpha_sigma(t - h), strict=True
    ):
        np.testing.assert_allclose((after - before) / passed, rate, atol=5e-3)


@each_process
def test_logsnr_falls_and_time_of_is_its_inverse(process):
    t = jnp.linspace(0.3 if isinstance(process, EDM) else 0.02, 0.98, 61)  # EDM's sigma is below 1e-5 before 0.2
    logsnr = process.logsnr(t)
    assert np.all(np.diff(logsnr) < 0)
    np.testing.assert_allclose(process.time_of(logsnr), t, atol=1e-4)
    ends = process.time_of(jnp.array([300.0, -300.0]))
    np.testing.assert_allclose(ends, [0, 1], atol=2e-3)


def test_variance_preserving_processes_keep_the_variance_and_small_sigmas_are_precise():
    for process in (
        DDPM(),
        DDPM('cosine'),
        DDPM('sigmoid'),
        RectifiedFlow('gvp'),
        RectifiedFlow('vp'),
        LogSNRCosine(0.5),
    ):
        alpha, sigma = map(np.asarray, process.alpha_sigma(jnp.linspace(0, 1, 777)))  # between the table's entries too
        np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=1e-6)
    first = np.asarray(DDPM().alpha_sigma(jnp.array([0.001]))[1])
    np.testing.assert_allclose(first, 0.01, rtol=1e-6)  # 1 - alpha_bar in float32 would be off by 1e-4


def test_between_timesteps_the_path_is_continuous():
    process = DDPM('cosine', 100)
    alpha, _ = process.alpha_sigma(jnp.array([0.50, 0.505, 0.51]))
    assert alpha[0] > alpha[1] > alpha[2]
    np.testing.assert_allclose(np.arccos(alpha[1]), (np.arccos(alpha[0]) + np.arccos(alpha[2])) / 2, rtol=1e-5)


def test_zero_terminal_snr_leaves_nothing_and_keeps_the_first_step():
    plain = DDPM()
    rescaled = DDPM(zero_terminal_snr=True)
    first, last = (np.asarray(c) for c in rescaled.alpha_sigma(jnp.array([0.001, 1.0])))
    assert first[1] == 0 and last[1] == 1
    np.testing.assert_allclose(first[0], plain.alpha_sigma(jnp.array([0.001]))[0][0], rtol=1e-6)
    assert np.asarray(rescaled.model_input(jnp.ones(1), jnp.ones(1))) == 1


def test_sit_paths_are_the_paper_s():
    """As in SiT's code, in its time, where 1 is data: GVP is sines, VP has beta from 0.1 to 20."""
    t = np.array([0.1, 0.5, 0.9])
    alpha, sigma = RectifiedFlow('gvp').alpha_sigma(jnp.asarray(1 - t, jnp.float32))
    np.testing.assert_allclose([alpha, sigma], [np.sin(np.pi / 2 * t), np.cos(np.pi / 2 * t)], atol=1e-6)
    alpha, sigma = RectifiedFlow('vp').alpha_sigma(jnp.asarray(1 - t, jnp.float32))
    published = np.exp(-0.25 * (1 - t) ** 2 * (20 - 0.1) - 0.5 * (1 - t) * 0.1)
    np.testing.assert_allclose([alpha, sigma], [published, np.sqrt(1 - published**2)], atol=1e-5)


def test_edm_preconditions_as_the_paper_does(normals):
    """Karras et al. 2022, table 1: D = c_skip x + c_out F, c_in and c_noise."""
    from vdm_jax.diffusion.prediction import to_x0_eps

    process = EDM()
    t = jnp.array([0.2, 0.4, 0.7])
    x, output = normals(2, 3, 5)
    sigma = np.asarray(process.clock(t), np.float64)[:, None]
    np.testing.assert_allclose(sigma[:, 0], 80 * np.array([0.2, 0.4, 0.7]) ** 7, rtol=1e-5)
    c_skip = 0.25 / (sigma**2 + 0.25)
    c_out = sigma * 0.5 / np.sqrt(sigma**2 + 0.25)
    denoised, eps = to_x0_eps('edm', process, output, x * sigma, t)
    np.testing.assert_allclose(denoised, c_skip * x * sigma + c_out * output, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(denoised + sigma * eps, x * sigma, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(process.model_input(x, t), x / np.sqrt(sigma**2 + 0.25), rtol=1e-5)
    np.testing.assert_allclose(process.model_time(t), np.log(sigma[:, 0]) / 4, rtol=1e-4)
    np.testing.assert_allclose(process.start(x, jnp.float32(1)), 80 * x, rtol=1e-6)


def test_continuous_cosine_is_vdm_s_and_its_shift_adds_to_logsnr():
    """Ho et al. 2022, appendix A: logsnr = -2 log tan(a t + b) between 20 and -20; simple diffusion adds 2
    log(shift)."""
    t = np.linspace(0, 1, 23)
    b = np.arctan(np.exp(-10))
    a = np.arctan(np.exp(10)) - np.arctan(np.exp(-10))
    published = -2 * np.log(np.tan(a * t + b))
    np.testing.assert_allclose(LogSNRCosine().logsnr(t), published, atol=2e-4)
    np.testing.assert_allclose(LogSNRCosine(shift=0.125).logsnr(t), published + 2 * np.log(0.125), atol=2e-4)
    plain, shifted = (process.alpha_sigma(jnp.asarray(t)) for process in (LogSNRCosine(), LogSNRCosine(shift=0.5)))
    np.testing.assert_allclose(shifted[0] / shifted[1], 0.5 * plain[0] / plain[1], rtol=1e-3)


TABLE = Path(__file__).parents[2] / 'docs' / 'diffusion.md'


def rows_of_the_table():
    """(process as Python, [(t, time fed to the network)]) of each row of the table of times in docs/diffusion.md."""
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if len(cells) == 6 and (match := re.fullmatch(r'`(\w+\(.*\))`', cells[1])):
            yield match[1], [float(number) for number in cells[2:6]]


def test_the_documented_table_of_times_has_the_times_fed_to_networks():
    from vdm_jax.experiment.registry import PROCESSES as INDEX

    known = {cls.__name__: cls for cls in INDEX.values()}
    seen = set()
    for expression, times in rows_of_the_table():
        process = eval(expression, known)  # our own documentation
        seen.add(type(process))
        model_times = process.model_time(jnp.array([1.0, 0.5, 0.001, 0.0]))
        np.testing.assert_allclose(model_times, times, rtol=1e-3, atol=1e-3, err_msg=expression)
    assert seen == set(INDEX.values())  # every process has a row


def test_between_timesteps_the_network_may_be_fed_rounded_ones():
    t = jnp.array([1.0, 0.8432, 0.0014])
    np.testing.assert_allclose(DDPM().model_time(t), [999, 842.2, 0.4], atol=1e-3)
    np.testing.assert_array_equal(DDPM(numbering='rounded').model_time(t), [999, 842, 0])
    np.testing.assert_array_equal(RectifiedFlow(numbering='thousand_floor').model_time(t), [1000, 843, 1])


def test_model_time_of_every_timestep_is_exact():
    every = jnp.arange(1, 1001) / 1000
    np.testing.assert_allclose(DDPM().model_time(every), np.arange(1000), atol=1e-4)


def test_tables_are_the_same_traced_and_not():
    alpha, _ = jax.jit(DDPM('cosine', 77).alpha_sigma)(jnp.array([0.5]))
    np.testing.assert_allclose(alpha, DDPM('cosine', 77).alpha_sigma(jnp.array([0.5]))[0], rtol=1e-6)


def test_expand_fills_up_on_the_right():
    assert expand(jnp.ones(()), 3).shape == (1, 1, 1)
    assert expand(jnp.ones((2, 3)), 5).shape == (2, 3, 1, 1, 1)


@pytest.mark.parametrize(
    'make, key',
    [
        (lambda: DDPM('squared'), r'config\.diffusion\.process\.schedule'),
        (lambda: DDPM(steps=0), r'config\.diffusion\.process\.steps'),
        (lambda: RectifiedFlow('cosine'), r'config\.diffusion\.process\.path'),
        (lambda: RectifiedFlow(numbering='edm'), r'config\.diffusion\.process\.numbering'),
        (lambda: EDM(sigma_max=0.0), r'config\.diffusion\.process\.sigma_max'),
        (lambda: LogSNRCosine(logsnr_min=30.0), r'config\.diffusion\.process\.logsnr_min'),
        (lambda: LogSNRCosine(logsnr_min=-1500.0), r'config\.diffusion\.process\.logsnr_min'),
        (lambda: DDPM('cosine', 1, zero_terminal_snr=True), r'config\.diffusion\.process\.steps'),
        (lambda: LogSNRCosine(shift=0.0), r'config\.diffusion\.process\.shift'),
    ],
)
def test_bad_values_name_their_key(make, key):
    with pytest.raises(ValueError, match=key):
        make()
