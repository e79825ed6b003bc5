"""How training times are drawn. A time sampler is one small class; a discrete process snaps what it draws to its grid.

Every t is in (0, 1], 1 = noise.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from vdm_jax.diffusion.process import Process, check_finite, check_positive


class TimeSampler:
    """What every time sampler answers."""

    def sample(self, key: jax.Array, shape: tuple[int, ...], process: Process) -> jax.Array:
        """Times of this shape, float32 in (0, 1], before `process.snap`."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Uniform(TimeSampler):
    """Every time, or every timestep of a discrete process, alike (Ho et al. 2020, algorithm 1)."""

    def sample(self, key, shape, process):
        return 1 - jax.random.uniform(key, shape)  # uniform draws from [0, 1), and 0 is the end to leave out


@dataclasses.dataclass(frozen=True)
class Discrete(TimeSampler):
    """Uniform over k / steps, k = 1 ... steps, for a continuous process that is to know these times alone.

    Raises: ValueError for steps < 1.
    """

    steps: int = 1000

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f'config.diffusion.time.steps is {self.steps}: want at least 1')

    def sample(self, key, shape, process):
        return jax.random.randint(key, shape, 1, self.steps + 1).astype(jnp.float32) / self.steps


@dataclasses.dataclass(frozen=True)
class LogitNormal(TimeSampler):
    """sigmoid(N(mean, std^2)) (Esser et al. 2024, eq. 19). A shift of s (eq. 23) is log(s) added to the mean.

    Raises: ValueError for a mean that is not finite or a std that is not positive.
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self):
        check_finite(self, 'diffusion.time', 'mean')
        check_positive(self, 'diffusion.time', 'std')

    def sample(self, key, shape, process):
        return jax.nn.sigmoid(self.mean + self.std * jax.random.normal(key, shape))


@dataclasses.dataclass(frozen=True)
class Mode(TimeSampler):
    """1 - u - scale (cos^2(pi u / 2) - 1 + u), u uniform: more of the middle for scale > 0 (Esser et al. 2024, eq. 20).

    Raises: ValueError for a scale outside [-1, 2 / (pi - 2)], where this would leave [0, 1].
    """

    scale: float = 1.29

    def __post_init__(self):
        if not -1 <= self.scale <= 2 / (math.pi - 2):
            raise ValueError(
                f'config.diffusion.time.scale is {self.scale}: want -1 ... {2 / (math.pi - 2):.4f}, '
                'where t stays in [0, 1]'
            )

    def sample(self, key, shape, process):
        u = jax.random.uniform(key, shape)
        t = 1 - u - self.scale * (jnp.cos(math.pi / 2 * u) ** 2 - 1 + u)
        return jnp.clip(t, jnp.finfo(jnp.float32).tiny, 1)


@dataclasses.dataclass(frozen=True)
class ShiftedUniform(TimeSampler):
    """Uniform times with their odds multiplied, s u / (1 + (s - 1) u): above 1, more noise, as larger videos want it
    (Esser et al. 2024, eq. 23). The same shift belongs into config.sampler.spacing.

    Raises: ValueError for a shift that is not positive.
    """

    shift: float = 3.0

    def __post_init__(self):
        check_positive(self, 'diffusion.time', 'shift')

    def sample(self, key, shape, process):
        return shift_times(1 - jax.random.uniform(key, shape), self.shift)


@dataclasses.dataclass(frozen=True)
class Noise(TimeSampler):
    """Always 1, where nothing of the data is left: a network that predicts x0 is then a regressor, and samples in one
    step."""

    def sample(self, key, shape, process):
        return jnp.ones(shape)


@dataclasses.dataclass(frozen=True)
class LogNormalSigma(TimeSampler):
    """log(sigma / alpha) ~ N(mean, std^2), whatever the process: EDM's training noise (Karras et al. 2022, table 1).

    Raises: ValueError for a mean that is not finite or a std that is not positive.
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self):
        check_finite(self, 'diffusion.time', 'mean')
        check_positive(self, 'diffusion.time', 'std')

    def sample(self, key, shape, process):
        t = process.time_of(-2 * (self.mean + self.std * jax.random.normal(key, shape)))
        return jnp.clip(t, jnp.finfo(jnp.float32).tiny, 1)


def shift_times(t: jax.Array, shift: float) -> jax.Array:
    """The odds of t in [0, 1] multiplied by shift; 0 and 1 are kept exactly."""
    signal, noise = 1 - t, shift * t
    return noise / (signal + noise)
