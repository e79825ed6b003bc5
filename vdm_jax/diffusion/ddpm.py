"""The discrete variance-preserving process."""

import dataclasses
import functools
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.config.ranges import Between, OneOf
from vdm_jax.diffusion.process import Pair, VariancePreserving
from vdm_jax.diffusion.schedules import SCHEDULES, zero_terminal_snr


@dataclasses.dataclass(frozen=True)
class DDPM(VariancePreserving):
    """The discrete variance-preserving process of Ho et al. 2020, eq. 4.

    alpha = sqrt(alpha_bar), sigma = sqrt(1 - alpha_bar), from a table of steps + 1 entries at t = i / steps; i = 0 is
    clean, i > 0 is the paper's timestep i - 1. Training visits only i > 0; between two entries, where some spacings
    of a sampler lie, (alpha, sigma) go along the chord, set back on the unit circle.

    Attributes:
      schedule: Of alpha_bar (schedules.py).
      steps: Of the table.
      zero_terminal_snr: Whether the table is rescaled so that nothing of the data is left at t = 1 (Lin et al. 2024,
        alg. 1); an 'eps' network cannot be sampled from there.
      numbering: What the network is fed between two entries: the timestep with its fraction, or 'rounded' to a whole
        one, for a network that knows no others (diffusers' DPM-Solver++ and UniPC with Karras' sigmas).

    Raises:
      ValueError: fewer steps than the schedule can take.
    """

    schedule: Annotated[str, OneOf(SCHEDULES)] = 'linear'
    steps: Annotated[int, Between(1, 10_000)] = 1000  # float32 tells no more of them apart
    zero_terminal_snr: bool = False
    numbering: Literal['exact', 'rounded'] = 'exact'

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.zero_terminal_snr and self.steps < 2:
            raise ValueError(f'config.diffusion.process.steps={self.steps}: zero_terminal_snr needs at least 2')
        self._table  # noqa: B018, raises for too few steps

    def alpha_sigma(self, t: jax.Array) -> Pair:
        i = jnp.asarray(t, jnp.float32) * self.steps
        # t = i / steps is exact for hardly any i in float32: what is nearly an entry of the table is one.
        i = jnp.where(jnp.abs(i - jnp.round(i)) < 1e-3, jnp.round(i), i)

        # The last entry ends the last interval and begins none.
        low = jnp.clip(jnp.floor(i), 0, self.steps - 1).astype(jnp.int32)
        share = i - low

        def interpolate(entries: np.ndarray) -> jax.Array:
            table = jnp.asarray(entries, jnp.float32)
            return (1 - share) * table[low] + share * table[low + 1]

        alpha, sigma = map(interpolate, self._table)
        # Entries are returned as they are: a division by their norm, nearly 1, would round them.
        norm = jnp.hypot(alpha, sigma)
        is_entry = (share == 0) | (share == 1)
        return jnp.where(is_entry, alpha, alpha / norm), jnp.where(is_entry, sigma, sigma / norm)

    def time_of(self, logsnr: jax.Array) -> jax.Array:
        # By the angle, which is finite and strictly rising in t, also where the ratio is 0 or infinite.
        # Of the entries as `alpha_sigma` has them, so that the one inverts the other.
        alpha, sigma = (entries.astype(np.float32).astype(np.float64) for entries in self._table)
        angles = np.arctan2(sigma, alpha)

        angle = jnp.arctan(jnp.exp(-jnp.asarray(logsnr, jnp.float32) / 2))
        return jnp.interp(angle, jnp.asarray(angles, jnp.float32), jnp.linspace(0, 1, self.steps + 1))

    def model_time(self, t: jax.Array) -> jax.Array:
        """Return the paper's timestep, 0 ... steps - 1, as float; the clean end shares timestep 0."""
        timestep = jnp.maximum(jnp.asarray(t, jnp.float32) * self.steps - 1, 0)
        return jnp.round(timestep) if self.numbering == 'rounded' else timestep

    def snap(self, t: jax.Array) -> jax.Array:
        # The 1e-3 keeps a t that float32 rounded up from an entry from moving to the next; a draw next to 0 is the
        # first timestep.
        return jnp.maximum(jnp.ceil(jnp.asarray(t, jnp.float32) * self.steps - 1e-3), 1) / self.steps

    @property
    def _table(self) -> tuple[np.ndarray, np.ndarray]:
        return _table(self.schedule, self.steps, self.zero_terminal_snr)


@functools.cache
def _table(schedule: str, steps: int, zero_terminal: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return alpha and sigma at t = i / steps, (steps + 1,) float64; numpy, so that the cache holds no traced value."""
    alpha_bar = SCHEDULES[schedule](steps)
    if zero_terminal:
        alpha_bar = zero_terminal_snr(alpha_bar)
    # In float64: at the first timesteps 1 - alpha_bar would keep four digits in float32.
    return np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)
