"""Samplers are exact where the solution is known, and their error falls with the order they claim.

The probability flow of data N(MEAN, STD^2) keeps (x - alpha MEAN) / sqrt(alpha^2 STD^2 + sigma^2), so the video that
belongs to a noise is known. The reverse stochastic equation is the forward one turned round, so the mean of x_s given
x_t is known too: it is what a sampler that draws noise leads to where no noise is drawn.
"""

import contextlib
import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.diffusion.known import MEAN, MODES, SHARES, STD, WIDTH, flow_of, mixture, normal, spread
from tests.marks import rest_slow
from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.edm import EDM
from vdm_jax.diffusion.flow import RectifiedFlow
from vdm_jax.diffusion.logsnr_cosine import LogSNRCosine
from vdm_jax.diffusion.multistep import DPMSolverPP2M, DPMSolverPP2MSDE, Previous
from vdm_jax.diffusion.objective import Denoised
from vdm_jax.diffusion.prediction import to_x0_eps
from vdm_jax.diffusion.process import VariancePreserving, expand
from vdm_jax.diffusion.sample_loop import sample
from vdm_jax.diffusion.samplers import DDIM, Ancestral, Euler, Heun, Step, StochasticHeun
from vdm_jax.diffusion.spacing import LogSNR, StopAtFirst
from vdm_jax.diffusion.unipc import UniPC
from vdm_jax.experiment.registry import SAMPLERS

FLOW = RectifiedFlow()
GVP = RectifiedFlow('gvp')
COSINE = DDPM('cosine')
EDM5 = EDM(sigma_max=5.0, rho=3.0)
VP = RectifiedFlow('vp')
LOGSNR = LogSNRCosine(shift=0.5)
ZERO = DDPM(zero_terminal_snr=True)
PROCESSES = [COSINE, FLOW, GVP, VP, LOGSNR, EDM5]
each_process = pytest.mark.parametrize('process', rest_slow(PROCESSES, [FLOW, EDM5]), ids=str)

ORDER_1 = [DDIM, Euler]
ORDER_2 = [Heun, DPMSolverPP2M]
ORDER_3 = [UniPC]
# Those that walk straight along the process's own clock: of a variance-preserving one, along its angle.
ALONG_CLOCK = (Euler, Heun)
NOISY = [Ancestral, functools.partial(DDIM, eta=0.5), DPMSolverPP2MSDE, StochasticHeun]
ALL = [make() for make in ORDER_1 + ORDER_2 + ORDER_3 + NOISY]
each_sampler = pytest.mark.parametrize('sampler', ALL, ids=lambda s: f'{type(s).__name__}{getattr(s, "eta", "")}')


def test_every_sampler_of_the_index_is_here():
    assert {type(sampler) for sampler in ALL} == {*SAMPLERS.values()}


@each_sampler
def test_a_step_calls_the_network_as_often_as_its_sampler_declares(sampler):
    calls = []

    def denoise(x, t):
        calls.append(t)
        return normal(FLOW)(x, t)

    def step(x, t, s):
        return sampler.step(denoise, sampler.init(x), x, t, s, FLOW, x)

    jax.eval_shape(step, jnp.zeros((2, 1)), jnp.ones(2), jnp.zeros(2))
    assert len(calls) == sampler.evaluations


def walk(sampler, process, x, keys=None, data=normal):
    return jax.jit(lambda x, keys: sample(data(process), sampler, process, x, keys))(x, keys)


@functools.partial(jax.jit, static_argnums=(0, 1))
def steps_of(sampler, process, x, times, noise):
    """The sampler's walk over these times, for noise (steps, B, 1); x at the last."""

    def step(carry, moment):
        x, state = carry
        t, s, z = moment
        t, s = jnp.full(len(x), t), jnp.full(len(x), s)
        x, _, state = sampler.step(normal(process), state, x, t, s, process, z)
        return (x, state), None

    return jax.lax.scan(step, (x, sampler.init(x)), (times[:-1], times[1:], noise))[0][0]


def evenly(n):
    return jnp.asarray(np.linspace(FROM, TO, n + 1), jnp.float32)


# Away from the ends: there the steps of samplers that count in log SNR do not shrink with their number.
FROM = 0.9
TO = 0.2
# An order is measured between walks of so many steps, where it has settled: within -0.03 and +0.06 of a whole number
# for every sampler and process here. With 16 and 32 steps those that remember the step before are still 0.1 off.
STEPS = 512, 1024
NOISY_STEPS = 128, 256  # where a walk depends on the noise of each of its steps


@contextlib.contextmanager
def double_precision():
    """Samplers and processes compute in float64: in float32 an error of order 3 is below the roundings long before.

    Processes turn times into jnp.float32 whatever these are, so that name stands for float64 here.
    """
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(jnp, 'float32', jnp.float64)
        yield


@pytest.fixture
def double():
    with double_precision():
        yield


def order(error_of, counts):
    """The power of the step's length that the error falls with; error_of: (number of steps) -> error."""
    few, many = (float(error_of(n)) for n in counts)
    return np.log(few / many) / np.log(counts[1] / counts[0])


def is_order(measured, declared):
    """Whether a measured order is the declared one: the same band for every sampler and order."""
    return declared - 0.1 < measured < declared + 0.2


def flow_error(make, process, n):
    """How far n steps of the sampler lead off the probability flow."""
    x = jnp.linspace(-2, 2, 9)[:, None]
    (alpha_t, _, std_t), (alpha_s, _, std_s) = (spread(process, jnp.float32(time)) for time in (FROM, TO))
    exact = alpha_s * MEAN + std_s / std_t * (x - alpha_t * MEAN)
    end = steps_of(make(steps=n), process, x, evenly(n), jnp.zeros((n, *x.shape)))
    assert end.dtype == jnp.float64
    return jnp.abs(end - exact).max()


class Slope(NamedTuple):
    """The step before: its slope, and how far it went."""

    slope: jax.Array
    length: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamsBashforth2(Euler):
    """A sampler that the package does not have: Adams and Bashforth's of two steps, of order 2; the first is Euler's.

    reach: the share of a step up to which the slope is extrapolated. Its middle makes the order 2, anything else 1.
    """

    reach: float = 0.5

    def init(self, x):
        return Slope(jnp.zeros_like(x), jnp.full((), jnp.inf))

    def step(self, denoise, state, x, t, s, process, noise):
        prediction = denoise(x, t)
        slope = self._slope(process, prediction, t)
        length = process.clock(s) - process.clock(t)
        share = expand(self.reach * length / state.length, x.ndim)
        x = x + expand(length, x.ndim) * (slope + share * (slope - state.slope))
        return Step(x, prediction.x0, Slope(slope, length[0]))


@each_process
@pytest.mark.parametrize(
    'make, declared',
    [(make, 1) for make in ORDER_1]
    + [(make, 2) for make in [*ORDER_2, functools.partial(Heun, clock='sigma'), AdamsBashforth2]],
)
def test_deterministic_samplers_follow_the_probability_flow_at_their_order(make, declared, process, double):
    measured = order(functools.partial(flow_error, make, process), STEPS)
    assert is_order(measured, declared), measured


@each_process
@pytest.mark.parametrize('make', ORDER_3)
def test_a_corrected_sampler_gains_an_order(make, process, double):
    """The prediction is of order 2; corrected by an evaluation of the network at its end, the walk is of order 3."""
    measured = order(functools.partial(flow_error, make, process), STEPS)
    assert is_order(measured, 3), measured
    assert flow_error(make, process, 64) < flow_error(DPMSolverPP2M, process, 64)


@pytest.mark.parametrize('process', rest_slow(PROCESSES, [EDM5]), ids=str)
@pytest.mark.parametrize(
    'make, wrong',
    [
        (Euler, 2), (Heun, 1), (Heun, 3), (DPMSolverPP2M, 3), (AdamsBashforth2, 3),
        (functools.partial(AdamsBashforth2, reach=1.0), 2), (functools.partial(AdamsBashforth2, reach=0.4), 2),
    ],
)  # fmt: skip
def test_an_order_that_a_sampler_does_not_have_is_refused(make, wrong, process, double):
    measured = order(functools.partial(flow_error, make, process), STEPS)
    assert not is_order(measured, wrong), measured


@pytest.mark.parametrize('process', rest_slow(PROCESSES, [VP]), ids=str)
@each_sampler
def test_float32_walks_where_float64_does(process, sampler):
    """Orders are measured in float64; what is lost in float32 is less than any of the walks' errors at 32 steps."""
    x = np.linspace(-2, 2, 9)[:, None]
    noise = np.random.default_rng(0).normal(size=(32, 9, 1))
    sampler = dataclasses.replace(sampler, steps=32)

    def walk_in_dtype():
        end = steps_of(sampler, process, jnp.asarray(x, jnp.float32), evenly(32), jnp.asarray(noise, jnp.float32))
        return end.dtype, np.asarray(end)

    single, end = walk_in_dtype()
    with double_precision():
        precise, expected = walk_in_dtype()
    assert (single, precise) == (np.float32, np.float64)
    np.testing.assert_allclose(end, expected, atol=1e-5)


@each_process
@pytest.mark.parametrize('make', ORDER_1 + ORDER_2 + ORDER_3)
def test_the_complete_walk_ends_where_the_probability_flow_does(make, process):
    x1 = jnp.linspace(-2, 2, 9)[:, None]
    exact = flow_of(process, process.start(x1, jnp.float32(1)), 1.0)
    errors = [float(jnp.abs(walk(make(steps=n), process, x1) - exact).max()) for n in (25, 125)]
    assert errors[1] < errors[0] / 2.5 and errors[1] < (0.05 if make in ORDER_1 else 0.02), errors


def test_order_2_is_nearer_than_order_1_for_as_many_evaluations():
    x1 = jnp.linspace(-2, 2, 9)[:, None]
    process = RectifiedFlow('gvp')
    exact = flow_of(process, x1, 1.0)

    def error(sampler):
        return float(jnp.abs(walk(sampler, process, x1) - exact).max())

    once = error(DDIM(steps=40))
    assert error(Heun(steps=20)) < once / 2 and error(DPMSolverPP2M(steps=40)) < once / 2


def response(sampler, process, times):
    """How x at the last of the times hangs on (x at the first, the noise of each step), (1 + steps,): all is linear."""
    n = len(times) - 1
    x, *impulses = jnp.eye(n + 2)[: n + 1, :, None]  # the last row is the response to no noise
    end = steps_of(sampler, process, x, times, jnp.stack(impulses))[:, 0]
    return np.asarray(end[: n + 1] - end[n + 1], np.float64)


@each_process
@pytest.mark.parametrize(
    'make, declared',
    [(Ancestral, 1), (functools.partial(Ancestral, variance='large'), 1), (functools.partial(DDIM, eta=1.0), 1)]
    + [(DPMSolverPP2MSDE, 2)],
)
def test_noisy_samplers_draw_from_the_reverse_equation_at_their_order(make, declared, process, double):
    """x_s given x_t is normal, with the mean and variance that the forward process gives the pair."""
    (alpha_t, _, std_t), (alpha_s, _, std_s) = (spread(process, jnp.float32(time)) for time in (FROM, TO))
    slope = alpha_t / alpha_s * (std_s / std_t) ** 2  # covariance of the two over the variance of x_t
    variance = std_s**2 - (slope * std_t) ** 2

    def error(n):
        of_x, *of_noise = response(make(steps=n), process, evenly(n))
        np.testing.assert_allclose(of_x, slope, rtol=1e-12)
        return abs(np.square(of_noise).sum() - variance)

    measured = order(error, NOISY_STEPS)
    assert is_order(measured, declared), measured


@each_process
def test_stochastic_heun_keeps_the_spread_of_every_time_at_order_2(process, double):
    (_, _, std_t), (_, _, std_s) = (spread(process, jnp.float32(time)) for time in (FROM, TO))

    def error(n):
        sampler = StochasticHeun(steps=n, churn=3.0, churn_min=0.0, churn_max=1e9, churn_noise=1.0)
        of_x, *of_noise = response(sampler, process, evenly(n))
        assert max(of_noise) > 0.35 / np.sqrt(n)
        return abs((of_x * std_t) ** 2 + np.square(of_noise).sum() - std_s**2)

    measured = order(error, NOISY_STEPS)
    assert is_order(measured, 2), measured


@pytest.mark.parametrize('process', rest_slow([FLOW, COSINE], 1), ids=str)
@pytest.mark.parametrize('make', NOISY)
def test_noisy_samples_have_the_mean_and_spread_of_the_data(process, make, normals):
    (x1,) = normals(1, 20000, 1)
    keys = jax.random.split(jax.random.key(1), len(x1))
    x0 = walk(make(steps=100, spacing=LogSNR(8.0)), process, x1, keys)
    np.testing.assert_allclose([x0.mean(), x0.std()], [MEAN, STD], atol=0.03)
    correlation = np.corrcoef(np.asarray(x0)[:, 0], np.asarray(x1)[:, 0])[0, 1]
    assert abs(correlation) < 0.97  # without noise it is 1: the sample would be a function of where it began


@pytest.mark.parametrize('process', rest_slow([FLOW, EDM(), VP, LOGSNR, ZERO], 1), ids=str)
@each_sampler
def test_both_modes_of_a_mixture_are_found_with_their_weights(process, sampler, normals):
    (x1,) = normals(1, 4000, 1)
    sampler = type(sampler)(**vars(sampler) | {'steps': 60, 'spacing': LogSNR(8.0)})
    x0 = np.asarray(walk(sampler, process, x1, jax.random.split(jax.random.key(2), len(x1)), mixture))[:, 0]
    for mode, share in zip(MODES, SHARES, strict=True):
        mine = x0[np.abs(x0 - mode) < 1]
        assert abs(len(mine) / len(x0) - share) < 0.03
        np.testing.assert_allclose([mine.mean(), mine.std()], [mode, WIDTH], atol=0.03)


@pytest.mark.parametrize('process', rest_slow([FLOW, EDM(), LOGSNR, ZERO], 1), ids=str)
@each_sampler
def test_one_step_ends_at_the_predicted_x0_of_noise(process, sampler, normals):
    """At t = 1 nothing, or next to nothing, of the data is left: the best guess is its mean, and there the step leads.

    Straight along the angle of a variance-preserving process, pi / 2 in all, it leads past it and keeps the noise.
    """
    (x1,) = normals(1, 5, 1)
    sampler = type(sampler)(**vars(sampler) | {'steps': 1})
    ends = walk(sampler, process, x1, jax.random.split(jax.random.key(0), 5))
    along_angle = isinstance(process, VariancePreserving) and isinstance(sampler, ALONG_CLOCK)
    expected = x1 + np.pi / 2 * MEAN if along_angle else np.full((5, 1), MEAN)
    np.testing.assert_allclose(ends, expected, atol=0.02)


@each_process
def test_eta_1_is_a_draw_from_the_true_posterior_and_so_is_the_ancestral_step(process):
    t = jnp.full(19, 0.6)
    s = jnp.full(19, 0.5)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = ([float(c[0]) for c in process.alpha_sigma(time)] for time in (t, s))
    x0 = 0.7
    x_t = 1.3
    forward = alpha_t / alpha_s  # x_t = forward x_s + noise of this variance
    added = sigma_t**2 - forward**2 * sigma_s**2
    variance = 1 / (1 / sigma_s**2 + forward**2 / added)
    mean = variance * (alpha_s * x0 / sigma_s**2 + forward * x_t / added)

    eps = (x_t - alpha_t * x0) / sigma_t
    denoised = Denoised(*(jnp.full((19, 2, 3), value) for value in (x0, eps)))
    for noise in (0.0, 1.0, -2.0):
        x = jnp.full((19, 2, 3), x_t)
        drawn = jnp.full((19, 2, 3), noise)
        for sampler, wanted in (
            (DDIM(eta=1.0), variance),
            (Ancestral(), variance),
            (Ancestral(variance='large'), added),
        ):
            end = sampler.step(lambda x, t: denoised, (), x, t, s, process, drawn).x
            np.testing.assert_allclose(end, mean + np.sqrt(wanted) * noise, rtol=1e-3)


def test_a_learned_variance_goes_from_small_to_large_in_its_logarithm():
    t = jnp.full(3, 0.6)
    s = jnp.full(3, 0.5)
    x = jnp.ones((3, 2))

    def std(share, variance):
        def denoise(x, t):
            return Denoised(0.3 * x, -0.2 * x, share)

        def step(z):
            return Ancestral(variance=variance).step(denoise, (), x, t, s, COSINE, z * x).x

        return step(1.0) - step(0.0)

    small = std(None, 'small')
    large = std(None, 'large')
    for share, wanted in ((-1.0, small), (1.0, large), (0.0, jnp.sqrt(small * large))):
        np.testing.assert_allclose(std(share * x, 'learned'), wanted, rtol=1e-4)


@each_process
@each_sampler
def test_the_last_step_lands_on_x0(process, sampler, normals):
    # VP's sigma is a square root of t
    t = jnp.full(19, {EDM5: 0.05, VP: 1e-5}.get(process, 1e-3))
    s = jnp.zeros(19)
    x0, eps, noise = normals(3, 19, 2, 3)
    x = process.corrupt(x0, eps, t)
    step = sampler.step(lambda x, t: Denoised(x0, eps), sampler.init(x), x, t, s, process, noise)
    np.testing.assert_allclose(step.x, x0, atol=4e-3)
    np.testing.assert_array_equal(step.x0, x0)


def test_euler_on_ddpm_goes_straight_along_v_for_the_angle_between():
    process = COSINE
    t = jnp.full(19, 0.8)
    s = jnp.full(19, 0.5)
    denoised = Denoised(*(jnp.full((19, 2, 3), value) for value in (0.7, -0.4)))
    x = Euler().step(lambda x, t: denoised, (), jnp.full((19, 2, 3), 1.3), t, s, process, None).x
    (alpha_t, sigma_t), (alpha_s, sigma_s) = ([float(c[0]) for c in process.alpha_sigma(time)] for time in (t, s))
    turn = np.arccos(alpha_s) - np.arccos(alpha_t)
    np.testing.assert_allclose(x, 1.3 + turn * (alpha_t * -0.4 - sigma_t * 0.7), rtol=1e-5)


@pytest.mark.parametrize('process', [FLOW, EDM()], ids=str)
def test_euler_on_a_flow_and_on_edm_is_ddim(process):
    x1 = jnp.linspace(-2, 2, 9)[:, None]
    np.testing.assert_allclose(walk(Euler(steps=10), process, x1), walk(DDIM(steps=10), process, x1), atol=1e-4)


@pytest.mark.parametrize('process', [FLOW, COSINE, ZERO], ids=str)
def test_euler_in_sigma_is_ddim_on_any_process(process):
    x1 = jnp.linspace(-2, 2, 9)[:, None]
    along = walk(Euler(steps=10, clock='sigma'), process, x1)
    np.testing.assert_allclose(along, walk(DDIM(steps=10), process, x1), atol=1e-6)


def test_a_walk_may_begin_without_the_variance_of_the_data():
    process = DDPM()
    t = jnp.float32(0.3)
    noise = jnp.linspace(-2, 2, 9)[:, None]

    np.testing.assert_array_equal(Euler().begin(process, noise, t), noise)
    sigma = process.alpha_sigma(t)[1]
    np.testing.assert_allclose(Heun(start='sigma').begin(process, noise, t), sigma * noise, rtol=1e-6)


def test_the_last_step_may_forget_the_one_before_where_noise_is_left(normals):
    """At clean data it always does, as there the predicted x0 is the result."""
    x, x0, eps, before = normals(4, 3, 4)
    process = DDPM()
    t = jnp.full(3, 0.2)
    for lower, end, forgets in ((False, 0.0, True), (False, 0.001, False), (True, 0.001, True)):
        sampler = DPMSolverPP2M(spacing=StopAtFirst(), lower_order_final=lower)
        s = jnp.full(3, end)
        states = [Previous(previous_x0, jnp.ones(())) for previous_x0 in (before, x0)]
        ends = [sampler.step(lambda x, t: Denoised(x0, eps), state, x, t, s, process, None) for state in states]
        assert (np.abs(ends[0].x - ends[1].x).max() < 1e-6) == forgets


def test_churn_adds_as_much_noise_as_the_paper_says():
    """Karras et al. 2022, algorithm 2, lines 4 to 6: x_hat has sigma_hat = sigma (1 + gamma), S_noise 1."""
    process = EDM()
    x = jnp.ones((40000, 1))
    calls = []
    t, s = (process.time_of(-2 * jnp.log(jnp.full(40000, sigma))) for sigma in (2.0, 1.0))

    def denoise(x, t):
        calls.append((x, process.clock(t)))
        return Denoised(0 * x, x / process.clock(t)[:, None])

    sampler = StochasticHeun(steps=10, churn=3.0, churn_noise=1.0)
    noise = jax.random.normal(jax.random.key(0), x.shape)
    sampler.step(denoise, (), x, t, s, process, noise)
    (x_hat, sigma_hat), _ = calls
    np.testing.assert_allclose(sigma_hat, 2.0 * 1.3, rtol=1e-4)
    np.testing.assert_allclose([x_hat.mean(), x_hat.std()], [1, np.sqrt(2.6**2 - 2.0**2)], atol=0.02)

    def first_call(**churn):
        calls.clear()
        StochasticHeun(steps=10, **churn).step(denoise, (), x, t, s, process, noise)
        return calls[0]

    for still in ({'churn': 3.0, 'churn_max': 1.5}, {'churn': 3.0, 'churn_min': 2.5}):
        np.testing.assert_array_equal(first_call(**still)[0], x)  # outside these nothing is added
    np.testing.assert_allclose(first_call(churn=40.0)[1], 2 * np.sqrt(2), rtol=1e-4)  # never more than that factor
    louder = first_call(churn=3.0, churn_noise=1.5)[0]
    np.testing.assert_allclose(louder.std(), 1.5 * np.sqrt(2.6**2 - 2.0**2), rtol=0.02)


def test_without_churn_it_is_heun():
    x1 = jnp.linspace(-2, 2, 9)[:, None]
    np.testing.assert_array_equal(walk(StochasticHeun(steps=8, churn=0.0), FLOW, x1), walk(Heun(steps=8), FLOW, x1))


@each_process
@each_sampler
def test_a_time_per_frame_equals_a_time_per_video_when_constant(process, sampler, normals):
    x, x0, eps, noise = normals(4, 3, 4, 5, 5, 2)
    per_video = jnp.array([0.8, 0.8, 0.8]), jnp.array([0.5, 0.5, 0.5])
    per_frame = [jnp.broadcast_to(t[:, None], (3, 4)) for t in per_video]

    def step_at(times):
        return sampler.step(lambda x, t: Denoised(x0, eps), sampler.init(x), x, *times, process, noise).x

    np.testing.assert_allclose(step_at(per_frame), step_at(per_video), rtol=1e-5, atol=1e-6)


def test_an_eps_network_may_start_where_there_is_no_signal():
    process = FLOW
    x1 = jnp.linspace(-2, 2, 9)[:, None]
    wrong = 1.01  # not quite the noise in x_t, as from a network

    def denoise(x, t, before):
        return Denoised(*to_x0_eps('eps', process, wrong * normal(process)(x, t).eps, x, t))

    x0 = sample(denoise, DDIM(steps=10), process, x1)
    assert np.abs(x0).max() < 10


@pytest.mark.parametrize(
    'make, key',
    [
        (lambda: DDIM(steps=0), r'config\.sampler\.steps'),
        (lambda: DDIM(eta=1.5), r'config\.sampler\.eta'),
        (lambda: Euler(clip=0.0), r'config\.sampler\.clip'),
        (lambda: StochasticHeun(churn=-1.0), r'config\.sampler\.churn'),
    ],
)
def test_bad_values_name_their_key(make, key):
    with pytest.raises(ValueError, match=key):
        make()
