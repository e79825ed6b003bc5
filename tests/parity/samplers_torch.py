"""diffusers' side of samplers.py: the two networks written again in torch, and the walk of a scheduler."""

import math
from unittest import mock

import diffusers
import numpy as np
import torch

from tests.parity.samplers import MODES, SHARES, WIDTH, Case, drawn, start
from vdm_jax.diffusion.ddpm import DDPM

KINDS = {'eps': 'epsilon', 'v': 'v_prediction', 'x0': 'sample', 'velocity': 'flow_prediction'}


def theirs(case: Case) -> np.ndarray:
    """Where their walk ends: (predictions, 2, T, H, W, C)."""
    return np.stack([_walk(case, kind) for kind in case.predictions])


@torch.no_grad()
def _walk(case: Case, kind: str) -> np.ndarray:
    config = dict(case.config)
    if not case.scheduler.startswith('FlowMatch'):
        config['prediction_type'] = KINDS[kind]
    scheduler = getattr(diffusers, case.scheduler)(**config)
    timestep_options = {'sigmas': list(case.sigmas)} if case.sigmas else {}
    scheduler.set_timesteps(case.steps, **timestep_options)
    noise = iter(_channels_first(frame) for frame in drawn(case))
    module = type(scheduler).__module__
    scaled = getattr(scheduler, 'scale_model_input', lambda x, t: x)
    x = _channels_first(start()) * getattr(scheduler, 'init_noise_sigma', 1.0)
    with mock.patch(f'{module}.randn_tensor', lambda *args, **kwargs: next(noise), create=True):
        for t in scheduler.timesteps:
            output = _predict(case, kind, scaled(x, t), t.float())
            x = scheduler.step(output, t, x, **case.step_options).prev_sample
    if case.scheduler.startswith(('Euler', 'Heun')):
        x = x / (scheduler.sigmas[-1] ** 2 + 1) ** 0.5  # they walk x / alpha
    return x.movedim(1, -1).numpy()


def _channels_first(x):
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def _predict(case: Case, kind: str, x, timestep):
    """The networks' output for x (2, C, T, H, W): the mixture's for the first video, the wave's for the second."""
    if isinstance(case.process, DDPM):
        u = (timestep + 1) / case.process.steps
        path = case.process.schedule
    else:
        u = timestep / 1000
        path = 'flow'
    alpha, sigma = _path(u, path)
    x0 = torch.stack([_mixture(x[0], alpha, sigma), _wave(x[1], u, alpha if path != 'flow' else 1, sigma)])
    eps = (x - alpha * x0) / sigma
    if kind == 'x0':
        output = x0
    elif kind == 'eps':
        output = eps
    elif kind == 'v':
        output = alpha * eps - sigma * x0
    else:
        output = eps - x0
    if case.config.get('variance_type') == 'learned_range':
        output = torch.cat([output, torch.tanh(x + torch.cos(3 * u))], 1)
    return output


def _mixture(x, alpha, sigma):
    variance = alpha**2 * WIDTH**2 + sigma**2
    weighted = torch.zeros_like(x)
    total = torch.zeros_like(x)
    nearest = torch.stack([(x - alpha * mode).square() for mode in MODES]).amin(0)
    for mode, share in zip(MODES, SHARES, strict=True):
        off = x - alpha * mode
        weight = share * torch.exp((nearest - off.square()) / (2 * variance))
        weighted += weight * (mode + alpha * WIDTH**2 * off / variance)
        total += weight
    return weighted / total


def _wave(x, u, share, sigma):
    bent = torch.tanh(0.9 * x + 0.5 * torch.roll(x, 1, dims=1) + torch.sin(4 * u))
    return share * x - sigma * bent * (0.8 + 0.2 * torch.cos(3 * u * x))


def _path(u, path):
    if path == 'flow':
        return 1 - u, u
    if path == 'cosine':
        angle = (u + 0.008) / 1.008 * math.pi / 2
        return torch.cos(angle), torch.sin(angle)
    log_alpha_bar = -(0.1 * u + 9.95 * u**2)
    return torch.exp(log_alpha_bar / 2), torch.sqrt(-torch.expm1(log_alpha_bar))
