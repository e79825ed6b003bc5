"""At which times a sampler stops. A spacing is one small class."""

import dataclasses
import math
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.config.ranges import Above0, Ranged, Share, Whole
from vdm_jax.diffusion.process import Process
from vdm_jax.diffusion.training_times import Shift, shift_times

TIMESTEPS = 1000  # counted by leading and linear where the process has none of its own


class Spacing(Ranged, where='config.sampler.spacing'):
    """Base of all spacings."""

    def times(self, process: Process, steps: int) -> jax.Array:
        """Return (steps + 1,) float32 times, strictly falling from 1 to `end`, mostly 0; some begin below 1.

        Raises:
          ValueError: not 1 <= steps <= the timesteps of a discrete process, or the times do not fall.
        """
        limit = process.steps or math.inf
        if not 1 <= steps <= limit:
            want = f'1 to {limit}, the steps of the process' if process.steps else '1 or more'
            raise ValueError(f'config.sampler.steps={steps}: want {want}')
        times = jnp.append(jnp.asarray(self.start_times(process, steps), jnp.float32), jnp.float32(self.end(process)))

        # Inside of jit the values are not known.
        if not isinstance(times, jax.core.Tracer) and not (times[0] <= 1 and np.all(np.diff(times) < 0)):
            raise ValueError(
                f'config.sampler.spacing: {self} does not fall from 1 or less with {steps} steps on {process}'
            )
        return times

    def start_times(self, process: Process, steps: int) -> np.ndarray | jax.Array:
        """Return the first `steps` of the times; the end comes after them."""
        raise NotImplementedError

    def end(self, process: Process) -> float:
        """Return the last of the times."""
        return 0.0


@dataclasses.dataclass(frozen=True)
class Trailing(Spacing):
    """Even steps back from t = 1, rounded to a discrete process's timesteps (Lin et al. 2024, table 2)."""

    def start_times(self, process: Process, steps: int) -> np.ndarray:
        if not process.steps:
            return np.linspace(1, 0, steps + 1)[:-1]
        # The table's own formula, as at halves another one rounds elsewhere; some counts make it one too long.
        return np.round(np.arange(process.steps, 0, -process.steps / steps))[:steps] / process.steps


@dataclasses.dataclass(frozen=True)
class Leading(Spacing):
    """Every (timesteps // steps)-th timestep from the paper's timestep 0 up, as in DDIM's code (Lin et al., table 2).

    The first time is below 1 though sampling starts from pure noise: a known flaw (their section 3.3), kept for numbers
    that were made with it.

    Attributes:
      offset: Added to every timestep; Stable Diffusion was sampled with 1.
    """

    offset: Whole = 0

    def start_times(self, process: Process, steps: int) -> np.ndarray:
        # Of continuous time no fewer timesteps than steps, which would fall together.
        count = process.steps or max(TIMESTEPS, steps)
        return (np.arange(steps)[::-1] * (count // steps) + 1 + self.offset) / count


@dataclasses.dataclass(frozen=True)
class Linear(Spacing):
    """Even steps from the last timestep to the paper's timestep 0, both included (Lin et al. 2024, table 2).

    Where time is discrete they are rounded.

    Attributes:
      rounding: Halves go to the even timestep, counted from 'one', as the table counts, or from 'zero', as diffusers
        does (five steps of a thousand pass 499.5); 'none' stops between timesteps, as its Euler and Heun do.
    """

    rounding: Literal['one', 'zero', 'none'] = 'one'

    def start_times(self, process: Process, steps: int) -> np.ndarray:
        count = process.steps or max(TIMESTEPS, steps)
        first = 0 if self.rounding == 'zero' else 1
        last = count - 1 + first
        index = np.linspace(first, last, steps)[::-1] if steps > 1 else np.array([last])
        if process.steps and self.rounding != 'none':
            index = np.round(index)
        return (index + 1 - first) / count


@dataclasses.dataclass(frozen=True)
class Karras(Spacing):
    """Even in (sigma / alpha)^(1 / rho), from the process's largest, bounded by sigma_max, to sigma_min.

    Karras et al. 2022, eq. 5. Where sigma_max is less than the process's own, t = 1 takes its place.

    Attributes:
      sigma_min: sigma / alpha at the last start; None is the process's own, of the first timestep, as in diffusers.
      sigma_max: sigma / alpha at the first start; None is the process's own, of t = 1, as in diffusers.
      rho: The larger, the more of the times have little noise.
      from_noise: Whether the first start is t = 1; false starts at sigma_max itself.

    Raises:
      ValueError: not sigma_min < sigma_max, or a process without timesteps is to have a sigma_min of its own.
    """

    sigma_min: Annotated[float, Above0(high=1e9)] | None = 0.002
    sigma_max: Annotated[float, Above0(high=1e9)] | None = 80.0
    rho: Annotated[float, Above0(0.1, 1000)] = 7.0
    from_noise: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma_min is not None and self.sigma_max is not None and self.sigma_min >= self.sigma_max:
            raise ValueError(
                f'config.sampler.spacing.sigma_min={self.sigma_min}: want a number below sigma_max={self.sigma_max}'
            )

    def start_times(self, process: Process, steps: int) -> jax.Array:
        def sigma_at(t: float) -> jax.Array:
            return jnp.exp(-process.logsnr(jnp.float32(t)) / 2)

        smallest: jax.Array | float
        if self.sigma_min is not None:
            smallest = self.sigma_min
        elif process.steps:
            smallest = sigma_at(1 / process.steps)
        else:
            raise ValueError('config.sampler.spacing.sigma_min is None: want a number, as the process has no timesteps')

        largest = jnp.minimum(sigma_at(1), math.inf if self.sigma_max is None else self.sigma_max)
        roots = jnp.linspace(largest ** (1 / self.rho), smallest ** (1 / self.rho), steps)

        # logsnr = -2 log(sigma / alpha), of which these are the roots.
        times = process.time_of(-2 * self.rho * jnp.log(roots))
        # Where sigma_max bounds the first time below 1, x is pure noise all the same.
        return times.at[0].set(1.0) if self.from_noise else times


@dataclasses.dataclass(frozen=True)
class LogSNR(Spacing):
    """Even in the log signal-to-noise ratio, within +-bound at both ends (Lu et al. 2022, DPM-Solver).

    The first time is 1.

    Attributes:
      bound: On the absolute value of the ratio.
    """

    bound: Annotated[float, Above0(high=1e9)] = 10.0

    def start_times(self, process: Process, steps: int) -> jax.Array:
        noisy, clean = jnp.clip(process.logsnr(jnp.array([1.0, 0.0])), -self.bound, self.bound)
        # The bound may put the first time below 1, but x is pure noise there.
        return process.time_of(jnp.linspace(noisy, clean, steps + 1)[:-1]).at[0].set(1.0)


@dataclasses.dataclass(frozen=True)
class Shifted(Spacing):
    """Even steps with the odds of t multiplied (Esser et al. 2024, eq. 23; Wan's and SD3's `shift`).

    Attributes:
      shift: What the odds are multiplied by.
      start: Where the even times begin before they are shifted.
      stop: Where they end; none is 0, which comes after them. SD3's code stops at its smallest sigma,
        shift / (999 + shift), which so is shifted twice, as in diffusers.

    Raises:
      ValueError: not stop < start.
    """

    shift: Shift = 3.0
    start: Share = 1.0
    stop: Share | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.stop or 0) < self.start:
            raise ValueError(f'config.sampler.spacing.stop={self.stop}: want stop < start={self.start}')

    def start_times(self, process: Process, steps: int) -> np.ndarray:
        if self.stop is None:
            return shift_times(np.linspace(self.start, 0, steps + 1)[:-1], self.shift)
        return shift_times(np.linspace(self.start, self.stop, steps), self.shift)


@dataclasses.dataclass(frozen=True)
class DropLast(Spacing):
    """Another spacing with one time more, whose last is left out: from the one before, the walk goes to the end.

    So diffusers' DPM-Solver and UniPC schedulers have 'leading' and 'linspace' (here linear), whose last time is the
    paper's timestep 0: a step from there would hardly change anything.

    Attributes:
      of: The other spacing.
    """

    of: Spacing = Linear()

    def start_times(self, process: Process, steps: int) -> np.ndarray | jax.Array:
        return self.of.start_times(process, steps + 1)[:-1]

    def end(self, process: Process) -> float:
        return self.of.end(process)


@dataclasses.dataclass(frozen=True)
class StopAtFirst(Spacing):
    """Another spacing that ends at the paper's timestep 0 instead of at clean data, whose little noise stays.

    What diffusers calls final_sigmas_type='sigma_min', and DDIM with set_alpha_to_one=False, which made the numbers of
    Stable Diffusion.

    Attributes:
      of: The other spacing.

    Raises:
      ValueError: a process without timesteps, or the other spacing itself stops at timestep 0.
    """

    of: Spacing = Trailing()

    def start_times(self, process: Process, steps: int) -> np.ndarray | jax.Array:
        return self.of.start_times(process, steps)

    def end(self, process: Process) -> float:
        if not process.steps:
            raise ValueError('config.sampler.spacing.name is stop_at_first: the process has no timesteps to stop at')
        return 1 / process.steps
