"""How training times are drawn. A time sampler is one small class; a discrete process snaps its times to a grid.

Every t is in (0, 1], 1 = noise.
"""

import dataclasses
import math
from typing import Annotated, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.config.ranges import Above0, Between, Ranged
from vdm_jax.diffusion.process import Process

Location = Annotated[float, Between(-20, 20)]  # of a distribution of logarithms, and how wide it is
Width = Annotated[float, Above0(1e-6, 20)]
Shift = Annotated[float, Above0(1e-3, 1000)]  # what odds are multiplied by
TINY = np.finfo(np.float32).tiny  # the least time
Times = TypeVar('Times', jax.Array, np.ndarray)


class TimeSampler(Ranged, where='config.diffusion.time'):
    """Base of all time samplers."""

    def sample(self, key: jax.Array, shape: tuple[int, ...], process: Process) -> jax.Array:
        """Draw times of this shape, float32 in (0, 1], before `process.snap`."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Uniform(TimeSampler):
    """Every time, or every timestep of a discrete process, equally likely (Ho et al. 2020, algorithm 1)."""

    def sample(self, key: jax.Array, shape: tuple[int, ...], process: Process) -> jax.Array:
        # jax draws from [0, 1), and it is 0 that is to be left out: clean data have no noise to be predicted.
        return 1 - jax.random.uniform(key, shape)


@dataclasses.dataclass(frozen=True)
class Discrete(TimeSampler):
    """Uniform over k / steps, k = 1 ... steps, for a continuous process that is to know no other times.

    Attributes:
      steps: Number of times.
    """

    steps: Annotated[int, Between(1, 2**24)] = 1000  # float32 counts no further

    def sample(self, key: jax.Array, shape: tuple[int, ...], process: Process) -> jax.Array:
        return jax.random.randint(key, shape, 1, self.steps + 1).astype(jnp.float32) / self.steps


@dataclasses.dataclass(frozen=True)
class LogitNormal(TimeSampler):
    """sigmoid(N(mean, std^2)) (Esser et al. 2024, eq. 19).

    Attributes:
      mean: Of the logits of t; a shift of s (eq. 23) is log(s) added to it.
      std: Of the logits of t.
    """

    mean: Location = 0.0
    std: Width = 1.0

    def sample(self, key: jax.Array, shape: tuple[int, ...], process: Process) -> jax.Array:
        t = jax.nn.sigmoid(self.mean + self.std * jax.random.normal(key, shape))
        # In float32 a sigmoid far out is exactly 0.
        return jnp.clip(t, TINY, 1)


@dataclasses.dataclass(frozen=True)
class Mode(TimeSampler):
    """1 - u - scale (cos^2(pi u / 2) - 1 + u), u uniform (Esser et al. 2024, eq. 20).

    Attributes:
      scale: Above 0: more of the middle.
    """

    scale: Annotated[float, Between(-1, 2 / (math.pi - 2))] = 1.29  # beyond, t would leave [0, 1]

    def sample(self, key: jax.Array, shape: tuple[int, ...], process: Process) -> jax.Array:
        u = jax.random.uniform(key, shape)
        t = 1 - u - self.scale * (jnp.cos(math.pi / 2 * u) ** 2 - 1 + u)
        return jnp.clip(t, TINY, 1)


@dataclasses.dataclass(frozen=True)
class ShiftedUniform(TimeSampler):
    """Uniform times with their odds multiplied, s u / (1 + (s - 1) u): a shift above 1 is more noise.

    Larger videos want more (Esser et al. 2024, eq. 23). The same shift belongs into config.sampler.spacing.

    Attributes:
      shift: What the odds are multiplied by.
    """

    shift: Shift = 3.0

    def sample(self, key: jax.Array, shape: tuple[int, ...], process: Process) -> jax.Array:
        return shift_times(1 - jax.random.uniform(key, shape), self.shift)


@dataclasses.dataclass(frozen=True)
class Noise(TimeSampler):
    """Always 1, where nothing of the data is left.

    A network that predicts x0 is then a regressor, and samples in one step.
    """

    def sample(self, key: jax.Array, shape: tuple[int, ...], process: Process) -> jax.Array:
        return jnp.ones(shape)


@dataclasses.dataclass(frozen=True)
class LogNormalSigma(TimeSampler):
    """log(sigma / alpha) ~ N(mean, std^2), whatever the process: EDM's training noise (Karras et al. 2022, table 1).

    Attributes:
      mean: Of the logarithm.
      std: Of the logarithm.
    """

    mean: Location = -1.2
    std: Width = 1.2

    def sample(self, key: jax.Array, shape: tuple[int, ...], process: Process) -> jax.Array:
        t = process.time_of(-2 * (self.mean + self.std * jax.random.normal(key, shape)))
        return jnp.clip(t, TINY, 1)


def shift_times(t: Times, shift: float) -> Times:
    """Multiply the odds of t in [0, 1] by shift; 0 and 1 are kept exactly."""
    noise = shift * t
    # Of the two shares and not by 1 + (s - 1) t, which rounds t = 1 for some shifts.
    return noise / ((1 - t) + noise)
