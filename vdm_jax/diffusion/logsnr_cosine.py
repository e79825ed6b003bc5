"""The continuous cosine process, defined by its log signal-to-noise ratio."""

import dataclasses
import math
from typing import Annotated

import jax
import jax.numpy as jnp

from vdm_jax.config.ranges import Above0, Between
from vdm_jax.diffusion.process import Pair, VariancePreserving

End = Annotated[float, Between(-40, 40)]


@dataclasses.dataclass(frozen=True)
class LogSNRCosine(VariancePreserving):
    """logsnr(t) = -2 log tan(a t + b) + 2 log(shift), from logsnr_max at t = 0 to logsnr_min at t = 1 before the shift.

    VDM (Ho et al. 2022, appendix A: [-20, 20]). At t = 0 a noise of sigma = exp(-logsnr_max / 2) / shift is left.

    Attributes:
      shift: The resolution shift of simple diffusion (Hoogeboom et al. 2023): (reference side) / (side), below 1 for
        videos larger than the reference, which noise hides less well; DFoT has 0.125 = 32 / 256.
      logsnr_min: At t = 1, before the shift.
      logsnr_max: At t = 0, before the shift.

    Raises:
      ValueError: a logsnr_min that is not at least 1 below logsnr_max.
    """

    shift: Annotated[float, Above0(1e-3, 1000)] = 1.0
    logsnr_min: End = -20.0
    logsnr_max: End = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.logsnr_max - self.logsnr_min < 1:
            raise ValueError(
                f'config.diffusion.process.logsnr_min={self.logsnr_min}: want it at least 1 below '
                f'logsnr_max={self.logsnr_max}'
            )

    def logsnr(self, t: jax.Array) -> jax.Array:
        first, last = self._angles
        # From whichever end is nearer, as tan at pi / 2 less a small angle loses that angle in float32.
        t = jnp.asarray(t, jnp.float32)
        angle = first + (last - first) * t
        complement = (math.pi / 2 - last) + (last - first) * (1 - t)

        near_data = angle < math.pi / 4
        # log tan(a) = -log tan(pi / 2 - a).
        sign = jnp.where(near_data, 1.0, -1.0)
        nearer_angle = jnp.where(near_data, angle, complement)
        log_tan = sign * jnp.log(jnp.tan(nearer_angle))
        return 2 * (math.log(self.shift) - log_tan)

    def alpha_sigma(self, t: jax.Array) -> Pair:
        logsnr = self.logsnr(t)
        # Both by a sigmoid of their own, as 1 - alpha^2 has no digits left where sigma is small.
        return jnp.sqrt(jax.nn.sigmoid(logsnr)), jnp.sqrt(jax.nn.sigmoid(-logsnr))

    def time_of(self, logsnr: jax.Array) -> jax.Array:
        first, last = self._angles
        angle = jnp.arctan(self.shift * jnp.exp(-jnp.asarray(logsnr, jnp.float32) / 2))
        return jnp.clip((angle - first) / (last - first), 0, 1)

    def model_time(self, t: jax.Array) -> jax.Array:
        """Return the log signal-to-noise ratio."""
        return self.logsnr(t)

    @property
    def _angles(self) -> tuple[float, float]:
        return math.atan(math.exp(-self.logsnr_max / 2)), math.atan(math.exp(-self.logsnr_min / 2))
