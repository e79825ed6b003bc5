"""The two noise schedules of the discrete processes, as tables of alpha_bar."""

import numpy as np


def linear_alpha_bar(steps: int) -> np.ndarray:
    """The linear schedule of DDPM (Ho et al. 2020, section 4): betas from 1e-4 to 0.02 at 1000 steps.

    For other numbers of steps the betas are scaled by 1000 / steps, which keeps the last alpha_bar about where it was
    (Nichol & Dhariwal 2021, and their code).

    Returns: (steps + 1,) float64, alpha_bar at t = i / steps; [0] is 1 (clean), [i] is the paper's timestep i - 1.
    Raises: ValueError for steps <= 20, where the scaled betas would reach 1.
    """
    if steps <= 20:
        raise ValueError(
            f'config.diffusion.process.steps is {steps}: the linear schedule needs more than 20 steps, '
            "since its betas grow as 1 / steps and must stay below 1; raise it or choose schedule = 'cosine'"
        )
    return _alpha_bar(np.linspace(1e-4, 0.02, steps) * (1000 / steps))


def cosine_alpha_bar(steps: int) -> np.ndarray:
    """The cosine schedule (Nichol & Dhariwal 2021, eq. 17) with s = 0.008 and betas clipped at 0.999.

    Returns: (steps + 1,) float64, alpha_bar at t = i / steps; [0] is 1 (clean), [i] is the paper's timestep i - 1.
    Raises: ValueError for steps < 1.
    """
    if steps < 1:
        raise ValueError(f'config.diffusion.process.steps is {steps}: want at least 1')
    t = np.linspace(0, 1, steps + 1)
    curve = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
    return _alpha_bar(np.minimum(1 - curve[1:] / curve[:-1], 0.999))


def _alpha_bar(betas: np.ndarray) -> np.ndarray:
    """Ho et al. 2020, below eq. 4, with the clean end put in front. float64: 1 - alpha_bar is to come out exactly."""
    return np.concatenate([[1.0], np.cumprod(1 - betas)])
