"""Our samplers beside the schedulers of the diffusers that is installed, and where these leave their papers."""

import dataclasses
import functools
from importlib.metadata import version

import numpy as np
import pytest

pytest.importorskip('torch', reason='PyTorch is not installed: pip install torch')
pytest.importorskip('diffusers', reason='diffusers is not installed: pip install diffusers')

import diffusers
import torch

from tests.parity import table
from tests.parity.samplers import CASES, LINEAR, PLAIN, TOLERANCE, Case, errors, load_stored, ours
from tests.parity.samplers_torch import theirs
from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.multistep import DPMSolverPP2M
from vdm_jax.diffusion.samplers import DDIM
from vdm_jax.diffusion.schedules import SCHEDULES
from vdm_jax.diffusion.unipc import UniPC

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')]


@functools.cache
def live() -> dict[str, np.ndarray]:
    return {case.key: theirs(case) for case in CASES}


def test_final_samples_are_those_of_diffusers():
    rows = errors(live(), f'diffusers {version("diffusers")}')
    table.write('samplers', rows)
    far = [row for row in rows if not row['sampler'] <= TOLERANCE]
    assert rows and not far, far


def test_the_fixtures_equal_the_results_of_diffusers():
    then = load_stored()
    for key, end in live().items():
        np.testing.assert_allclose(then[key], end, atol=1e-5, err_msg=f'{key}: run tests/parity/make_samplers.py again')


@pytest.mark.parametrize('name, there', [('linear', 'linear'), ('cosine', 'squaredcos_cap_v2')])
def test_alpha_bar_is_theirs_in_float64(name, there):
    alpha_bar = diffusers.DDIMScheduler(beta_schedule=there).alphas_cumprod
    np.testing.assert_allclose(alpha_bar, SCHEDULES[name](1000)[1:], rtol=2e-5)


def case(config: dict, sampler, process=None) -> Case:
    scheduler = {DDIM: 'DDIMScheduler', UniPC: 'UniPCMultistepScheduler', DPMSolverPP2M: 'DPMSolverMultistepScheduler'}
    clip = {'clip_sample': False} if type(sampler) is DDIM else {}
    return Case('', '', scheduler[type(sampler)], LINEAR | clip | config, sampler, process or DDPM(), ('v',))


def loud(configuration: str, steps: int) -> Case:
    """A case of CASES with the noise of its last step."""
    (quiet,) = (case for case in CASES if case.configuration == configuration and case.steps == steps)
    return dataclasses.replace(quiet, still=False)


TRAILING = {'timestep_spacing': 'trailing'}
ZERO = DDPM(zero_terminal_snr=True)
# The figures of docs/diffusion.md: how far their final sample is from the paper's, which is ours.
DEPARTURES = {
    'DDIM, linspace': (case({'timestep_spacing': 'linspace'}, DDIM(steps=10, spacing=PLAIN['linspace'])), 0.15),
    'DDIM, trailing, steps that do not divide': (case(TRAILING, DDIM(steps=30)), 0.011),
    'DDIM, clipped': (case(TRAILING | {'clip_sample': True, 'clip_sample_range': 0.7}, DDIM(clip=0.7)), 0.20),
    'DDPM, noise at last': (loud('DDPM fixed_large, trailing', 10), 0.79),
    'DDPM, learned noise at last': (loud('DDPM learned_range, trailing', 10), 0.63),
    'DPM-Solver++, zero SNR': (case(TRAILING | {'rescale_betas_zero_snr': True}, DPMSolverPP2M(steps=5), ZERO), 1.7e-3),
    'UniPC, zero SNR': (case(TRAILING | {'rescale_betas_zero_snr': True}, UniPC(steps=5), ZERO), 1.4e-3),
}


@pytest.mark.parametrize('what', DEPARTURES)
def test_they_depart_where_the_documentation_says(what):
    case, figure = DEPARTURES[what]
    (end,) = ours([case])
    assert np.abs(end - theirs(case)).max() == pytest.approx(figure, rel=0.1)


def test_trailing_of_some_counts_has_a_step_too_many():
    scheduler = diffusers.DDIMScheduler(timestep_spacing='trailing')
    scheduler.set_timesteps(61)
    assert len(scheduler.timesteps) == 62 and scheduler.timesteps[-1] == -1


def test_fixed_large_log_is_no_number():
    scheduler = diffusers.DDPMScheduler(variance_type='fixed_large_log')
    scheduler.set_timesteps(10)
    x = torch.zeros(1, 1, 1, 1)
    assert scheduler.step(x, 900, x).prev_sample.isnan().all()


def test_float32_leaves_four_digits_of_their_smallest_sigma():
    smallest_sigma = float(diffusers.EulerDiscreteScheduler().sigmas[-2])
    assert abs(smallest_sigma / (1e-4 / 0.9999) ** 0.5 - 1) == pytest.approx(8.3e-5, rel=0.1)
