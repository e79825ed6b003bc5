"""At which times a sampler stops. A spacing is one small class."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.diffusion.process import Process, check_positive
from vdm_jax.diffusion.training_times import shift_times

TIMESTEPS = 1000  # counted by leading and linear where the process has none of its own


class Spacing:
    """What every spacing answers."""

    def times(self, process: Process, steps: int) -> jax.Array:
        """(steps + 1,) float32, strictly falling to 0 from 1, or from below 1 where the spacing says so.

        Raises: ValueError unless 1 <= steps <= the timesteps of a discrete process, or where the times do not fall.
        """
        limit = process.steps or math.inf
        if not 1 <= steps <= limit:
            want = f'1 ... {limit}, the steps of the process' if process.steps else 'at least 1'
            raise ValueError(f'config.sampler.steps is {steps}: want {want}')
        times = jnp.append(jnp.asarray(self.moments(process, steps), jnp.float32), 0.0)
        if not isinstance(times, jax.core.Tracer) and not np.all(np.diff(times) < 0):
            raise ValueError(f'config.sampler.spacing: {self} does not fall with {steps} steps on {process}')
        return times

    def moments(self, process: Process, steps: int) -> np.ndarray | jax.Array:
        """The first `steps` of the times; 0 comes after them."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Trailing(Spacing):
    """Even steps back from t = 1, rounded to a discrete process's timesteps (Lin et al. 2024, table 2)."""

    def moments(self, process, steps):
        t = np.linspace(1, 0, steps + 1)[:-1]
        return np.round(t * process.steps) / process.steps if process.steps else t


@dataclasses.dataclass(frozen=True)
class Leading(Spacing):
    """Every (timesteps // steps)-th timestep from the paper's timestep 0 up, as DDIM's code has it (Lin et al., table
    2).

    The first time is below 1 though sampling starts from pure noise: a known flaw (their section 3.3), kept for numbers
    that were made with it.
    """

    def moments(self, process, steps):
        count = process.steps or max(TIMESTEPS, steps)
        return (np.arange(steps)[::-1] * (count // steps) + 1) / count


@dataclasses.dataclass(frozen=True)
class Linear(Spacing):
    """From the last timestep to the paper's timestep 0, both among them, evenly; rounded where time is discrete
    (Lin et al. 2024, table 2)."""

    def moments(self, process, steps):
        count = process.steps or max(TIMESTEPS, steps)
        index = np.linspace(count, 1, steps)
        return (np.round(index) if process.steps else index) / count


@dataclasses.dataclass(frozen=True)
class Karras(Spacing):
    """Even in (sigma / alpha)^(1 / rho), from the process's largest, bounded by sigma_max, to sigma_min
    (Karras et al. 2022, eq. 5). Where sigma_max is less than the process's own, t = 1 takes its place.

    Raises: ValueError unless 0 < sigma_min < sigma_max and rho is positive.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self):
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(
                f'config.sampler.spacing.sigma_min is {self.sigma_min}: want a number above 0 and below '
                f'sigma_max={self.sigma_max}'
            )
        check_positive(self, 'sampler.spacing', 'rho')

    def moments(self, process, steps):
        largest = jnp.minimum(jnp.exp(-process.logsnr(jnp.float32(1)) / 2), self.sigma_max)
        roots = jnp.linspace(largest ** (1 / self.rho), self.sigma_min ** (1 / self.rho), steps)
        return process.time_of(-2 * self.rho * jnp.log(roots)).at[0].set(1.0)


@dataclasses.dataclass(frozen=True)
class LogSNR(Spacing):
    """Even in the log signal-to-noise ratio (Lu et al. 2022, DPM-Solver), within +-bound at both ends; the
    first time is 1.

    Raises: ValueError for a bound that is not positive.
    """

    bound: float = 10.0

    def __post_init__(self):
        check_positive(self, 'sampler.spacing', 'bound')

    def moments(self, process, steps):
        noisy, clean = jnp.clip(process.logsnr(jnp.array([1.0, 0.0])), -self.bound, self.bound)
        return process.time_of(jnp.linspace(noisy, clean, steps + 1)[:-1]).at[0].set(1.0)


@dataclasses.dataclass(frozen=True)
class Shifted(Spacing):
    """Even steps with the odds of t multiplied (Esser et al. 2024, eq. 23; Wan's and SD3's `shift`).

    Raises: ValueError for a shift that is not positive.
    """

    shift: float = 3.0

    def __post_init__(self):
        check_positive(self, 'sampler.spacing', 'shift')

    def moments(self, process, steps):
        return shift_times(np.linspace(1, 0, steps + 1)[:-1], self.shift)
