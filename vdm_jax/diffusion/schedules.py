"""The noise schedules of the discrete process, as tables of alpha_bar: SCHEDULES names them.

Each is a function of the number of steps and returns (steps + 1,) float64, alpha_bar at t = i / steps:
[0] is 1 (clean), [i] is the paper's timestep i - 1.
"""

from collections.abc import Callable

import numpy as np


def linear_alpha_bar(steps: int) -> np.ndarray:
    """Return the linear schedule of DDPM (Ho et al. 2020, section 4): betas from 1e-4 to 0.02 at 1000 steps.

    For other numbers of steps the betas are scaled by 1000 / steps, which keeps the last alpha_bar about where it was
    (Nichol & Dhariwal 2021, and their code).

    Raises:
      ValueError: steps <= 20, where the scaled betas would reach 1.
    """
    if steps <= 20:
        raise ValueError(
            f'config.diffusion.process.steps={steps}: the linear schedule needs more than 20 steps, '
            "since its betas grow as 1 / steps and must stay below 1; raise it or choose schedule = 'cosine'"
        )
    return _alpha_bar(np.linspace(1e-4, 0.02, steps) * (1000 / steps))


def cosine_alpha_bar(steps: int) -> np.ndarray:
    """Return the cosine schedule (Nichol & Dhariwal 2021, eq. 17) with s = 0.008 and betas clipped at 0.999.

    Raises:
      ValueError: steps < 1.
    """
    return _from_curve(steps, lambda t: np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2)


def sigmoid_alpha_bar(steps: int) -> np.ndarray:
    """Return the sigmoid schedule (Jabri et al. 2022, arXiv:2212.11972) from -3 to 3, betas clipped at 0.999.

    Raises:
      ValueError: steps < 1.
    """

    def sigmoid(z: np.ndarray | float) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-z)))

    return _from_curve(steps, lambda t: (sigmoid(3) - sigmoid(6 * t - 3)) / (sigmoid(3) - sigmoid(-3)))


SCHEDULES = {'linear': linear_alpha_bar, 'cosine': cosine_alpha_bar, 'sigmoid': sigmoid_alpha_bar}


def zero_terminal_snr(alpha_bar: np.ndarray) -> np.ndarray:
    """Shift and scale sqrt(alpha_bar) so that the last is 0 and the first timestep's stays (Lin et al. 2024, alg. 1).

    alpha_bar: (steps + 1,) as above; so is the answer.
    """
    alpha = np.sqrt(alpha_bar[1:])
    alpha = (alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])
    return np.concatenate([alpha_bar[:1], alpha**2])


def _from_curve(steps: int, curve: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    if steps < 1:
        raise ValueError(f'config.diffusion.process.steps={steps}: want 1 or more')
    # IDDPM defines betas by ratios of the curve and clips them at 0.999, against a singular last step.
    values = curve(np.linspace(0, 1, steps + 1))
    return _alpha_bar(np.minimum(1 - values[1:] / values[:-1], 0.999))


def _alpha_bar(betas: np.ndarray) -> np.ndarray:
    """Ho et al. 2020, below eq. 4, with the clean end put in front. float64: 1 - alpha_bar is to come out exactly."""
    return np.concatenate([[1.0], np.cumprod(1 - betas)])
