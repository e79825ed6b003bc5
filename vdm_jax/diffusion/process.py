"""How clean video becomes noise: x_t = alpha x0 + sigma eps, and in what time it goes."""

import dataclasses
import functools
import math
from typing import Literal, Protocol, get_args

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.diffusion.schedules import cosine_alpha_bar, linear_alpha_bar

Pair = tuple[jax.Array, jax.Array]


class Process(Protocol):
    """What every process answers. t is float in [0, 1], 1 = noise, of any shape; answers are float32 of t's shape."""

    def sample_t(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Draws training times in (0, 1]."""

    def alpha_sigma(self, t: jax.Array) -> Pair:
        """The shares of signal and noise in x_t."""

    def clock(self, t: jax.Array) -> jax.Array:
        """The time in which the path from noise to data is walked; grows with t."""

    def rates(self, t: jax.Array) -> Pair:
        """(d alpha, d sigma) / d clock, so that the 'velocity' is dalpha x0 + dsigma eps."""

    def corrupt(self, x0: jax.Array, eps: jax.Array, t: jax.Array) -> jax.Array:
        """x_t of x0, eps (B, T, ...) at t (B,) or (B, T), or any other leading dimensions; float32."""

    def model_time(self, t: jax.Array) -> jax.Array:
        """The number the network is fed, in [0, 1000) or [0, 1000] at the usual settings."""

    def times(self, steps: int) -> jax.Array:
        """(steps + 1,) decreasing from 1 to 0: the times a sampler stops at."""


def expand(t: jax.Array, ndim: int) -> jax.Array:
    """Gives t (B,) or (B, T) trailing dimensions of 1 up to rank ndim, so that it meets x (B, T, ...) from the left."""
    return jnp.expand_dims(t, range(t.ndim, ndim))


@dataclasses.dataclass(frozen=True)
class DDPM:
    """The discrete variance-preserving process of Ho et al. 2020, eq. 4.

    alpha = sqrt(alpha_bar), sigma = sqrt(1 - alpha_bar), from a table of steps + 1 entries:
    t is rounded to the nearest index i = t * steps of the table; i = 0 is clean, i > 0 is the paper's timestep i - 1.
    The clock is the angle of (alpha, sigma), in which 'velocity' and 'v' are one (Salimans & Ho 2022, appendix D).

    Raises: ValueError for an unknown schedule, or fewer steps than it can take.
    """

    schedule: Literal['linear', 'cosine'] = 'linear'
    steps: int = 1000

    def __post_init__(self):
        _check_choice(self, 'schedule')
        _table(self.schedule, self.steps)

    def sample_t(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Uniform over i / steps, i = 1 ... steps."""
        return jax.random.randint(key, shape, 1, self.steps + 1).astype(jnp.float32) / self.steps

    def alpha_sigma(self, t: jax.Array) -> Pair:
        alpha, sigma = _table(self.schedule, self.steps)
        i = self._index(t)
        return jnp.asarray(alpha)[i], jnp.asarray(sigma)[i]

    def clock(self, t: jax.Array) -> jax.Array:
        """The angle in [0, pi / 2]."""
        alpha, sigma = self.alpha_sigma(t)
        return jnp.arctan2(sigma, alpha)

    def rates(self, t: jax.Array) -> Pair:
        alpha, sigma = self.alpha_sigma(t)
        return -sigma, alpha

    def corrupt(self, x0: jax.Array, eps: jax.Array, t: jax.Array) -> jax.Array:
        return _mix(*self.alpha_sigma(t), x0, eps)

    def model_time(self, t: jax.Array) -> jax.Array:
        """The paper's timestep, 0 ... steps - 1, as float; the clean end shares timestep 0."""
        return jnp.maximum(self._index(t) - 1, 0).astype(jnp.float32)

    def times(self, steps: int) -> jax.Array:
        """'Trailing' spacing, which starts from the last timestep (Lin et al. 2024, table 2).

        Raises: ValueError unless 1 <= steps <= the steps of the process.
        """
        if not 1 <= steps <= self.steps:
            raise ValueError(f'config.sampler.steps is {steps}: want 1 ... {self.steps}, the steps of the process')
        return jnp.asarray(np.round(np.linspace(self.steps, 0, steps + 1)) / self.steps, jnp.float32)

    def _index(self, t: jax.Array) -> jax.Array:
        return jnp.round(jnp.asarray(t, jnp.float32) * self.steps).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class RectifiedFlow:
    """The straight path x_t = (1 - t) x0 + t eps, whose velocity is eps - x0 (Liu et al. 2023, eq. 1).

    time: how training times are drawn: uniform, or sigmoid(N(mean, std^2)) (Esser et al. 2024, eq. 19).
    shift: multiplies the odds of t, t' = s t / (1 + (s - 1) t), in training and in sampling alike, so that larger
        videos, which noise hides less well, see more of it (Esser et al. 2024, eq. 23); 1 leaves t as it is.

    Raises: ValueError for an unknown time, a mean that is not finite, or a std or shift that is not positive.
    """

    time: Literal['uniform', 'logit_normal'] = 'logit_normal'
    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0

    def __post_init__(self):
        _check_choice(self, 'time')
        if not math.isfinite(self.mean):
            raise ValueError(f'config.diffusion.process.mean is {self.mean}: want a finite number')
        for name in ('std', 'shift'):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f'config.diffusion.process.{name} is {getattr(self, name)}: want a number above 0')

    def sample_t(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        if self.time == 'uniform':
            t = 1 - jax.random.uniform(key, shape)  # uniform draws from [0, 1), and 0 is the end to leave out
        else:
            t = jax.nn.sigmoid(self.mean + self.std * jax.random.normal(key, shape))
        return self._shifted(t)

    def alpha_sigma(self, t: jax.Array) -> Pair:
        t = jnp.asarray(t, jnp.float32)
        return 1 - t, t

    def clock(self, t: jax.Array) -> jax.Array:
        """t itself."""
        return jnp.asarray(t, jnp.float32)

    def rates(self, t: jax.Array) -> Pair:
        one = jnp.ones_like(t, jnp.float32)
        return -one, one

    def corrupt(self, x0: jax.Array, eps: jax.Array, t: jax.Array) -> jax.Array:
        return _mix(*self.alpha_sigma(t), x0, eps)

    def model_time(self, t: jax.Array) -> jax.Array:
        """1000 t, the range that sinusoidal embeddings were made for."""
        return 1000 * jnp.asarray(t, jnp.float32)

    def times(self, steps: int) -> jax.Array:
        """Evenly spaced, then shifted. Raises: ValueError for steps < 1."""
        if steps < 1:
            raise ValueError(f'config.sampler.steps is {steps}: want at least 1')
        return self._shifted(jnp.linspace(1, 0, steps + 1))

    def _shifted(self, t: jax.Array) -> jax.Array:
        signal, noise = 1 - t, self.shift * t
        return noise / (signal + noise)  # the docstring's formula, written so that 0 and 1 are kept exactly


def _mix(alpha: jax.Array, sigma: jax.Array, x0: jax.Array, eps: jax.Array) -> jax.Array:
    return expand(alpha, x0.ndim) * x0 + expand(sigma, x0.ndim) * eps


@functools.cache
def _table(schedule: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """alpha and sigma at t = i / steps, (steps + 1,) float32; numpy, so that the cache never holds a traced value."""
    alpha_bar = {'linear': linear_alpha_bar, 'cosine': cosine_alpha_bar}[schedule](steps)
    return np.sqrt(alpha_bar).astype(np.float32), np.sqrt(1 - alpha_bar).astype(np.float32)


def _check_choice(process: Process, name: str) -> None:
    choices = get_args(type(process).__annotations__[name])
    if getattr(process, name) not in choices:
        raise ValueError(f'config.diffusion.process.{name} is {getattr(process, name)!r}: want one of {choices}')
