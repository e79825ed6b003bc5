"""How much each time counts, and the squared error of each example. A weighting is one small class."""

import dataclasses
import math
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.config.ranges import Above0, Between, Ranged
from vdm_jax.diffusion.prediction import row
from vdm_jax.diffusion.process import SMALLEST, Process, VariancePreserving, expand

Gamma = Annotated[float, Above0(high=1e9)]


class Weighting(Ranged, where='config.diffusion.weighting'):
    """How much the squared error of a prediction counts at each time.

    A weighting says in `share` what an error of x0 counts, times sigma^2: that is finite wherever the usual weights
    are, and for v on a variance-preserving process it is the weight itself. At a given x_t an error of x0 is sigma /
    det times the error of a prediction a x0 + b eps, det = alpha b - sigma a, hence share / det^2 is its weight.
    """

    floor = SMALLEST  # of |det|

    def weight(self, kind: str, process: Process, t: jax.Array) -> jax.Array:
        """Return the weight of the squared error of `kind` at t, (B,) or (B, T); float32 of t's shape.

        Finite at all t in [0, 1], though up to 1e10 where the weight has no bound (truncated for eps without signal).
        """
        a, b = row(kind, process, t)
        # At the ends, where one of them is 0, the weight is the limit in place of 0 / 0.
        alpha, sigma = (jnp.maximum(c, SMALLEST) for c in process.alpha_sigma(t))
        det = jnp.maximum(jnp.abs(alpha * b - sigma * a), self.floor)
        return self.share(process, t, alpha, sigma) / det**2

    def share(self, process: Process, t: jax.Array, alpha: jax.Array, sigma: jax.Array) -> jax.Array:
        """Return sigma^2 times the weight of the squared error of x0 at t; alpha and sigma are those of t, none 0."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Constant(Weighting):
    """Every time counts the same in the network's own kind of prediction (Ho et al. 2020, eq. 14: L_simple)."""

    def weight(self, kind: str, process: Process, t: jax.Array) -> jax.Array:
        return jnp.ones_like(t, jnp.float32)


@dataclasses.dataclass(frozen=True)
class MinSNR(Weighting):
    """The error of x0 counts min(SNR, gamma), whatever kind the network predicts (Hang et al. 2023, section 3.4).

    For eps that is min(1, gamma / SNR), for v min(SNR, gamma) / (SNR + 1).

    Attributes:
      gamma: The largest weight of an error of x0.
    """

    gamma: Gamma = 5.0

    def share(self, process: Process, t: jax.Array, alpha: jax.Array, sigma: jax.Array) -> jax.Array:
        return jnp.minimum(alpha**2, self.gamma * sigma**2)


@dataclasses.dataclass(frozen=True)
class Truncated(Weighting):
    """The error of x0 counts max(SNR, 1): as in eps, but never less than 1 (Salimans & Ho 2022, section 4)."""

    def share(self, process: Process, t: jax.Array, alpha: jax.Array, sigma: jax.Array) -> jax.Array:
        return jnp.maximum(alpha**2, sigma**2)


@dataclasses.dataclass(frozen=True)
class Sigmoid(Weighting):
    """The error of eps counts sigmoid(bias - logsnr), as DFoT has it (Song et al. 2025).

    Kingma & Gao 2023 multiply by -d logsnr / dt as well, so that the schedule drops out; not here.

    Attributes:
      bias: The logsnr at which the weight is a half.
    """

    bias: Annotated[float, Between(-40, 40)] = -1.0

    def share(self, process: Process, t: jax.Array, alpha: jax.Array, sigma: jax.Array) -> jax.Array:
        return alpha**2 * sigma**2 / (sigma**2 + math.exp(-self.bias) * alpha**2)


@dataclasses.dataclass(frozen=True)
class EDMWeight(Weighting):
    """The error of x0 counts (sigma^2 + data_std^2) / (sigma data_std)^2, so that of the 'edm' prediction counts 1.

    Karras et al. 2022, table 1, for any alpha. data_std is the process's.
    """

    def share(self, process: Process, t: jax.Array, alpha: jax.Array, sigma: jax.Array) -> jax.Array:
        return alpha**2 + (sigma / process.data_std) ** 2


@dataclasses.dataclass(frozen=True)
class Velocity(Weighting):
    """An error counts as it would in the velocity, whatever the network predicts (Li & He 2025: predict x0, weigh v).

    An x0 network then learns detail at low noise as much as the coarse picture at high noise. On a flow the weight of
    an x0 error is 1 / t^2.

    Attributes:
      floor: Lower bound of |alpha b - sigma a|, whose square divides the weight; of t, for an x0 network on the linear
        flow.
    """

    floor: Annotated[float, Between(SMALLEST, 1, below=True)] = 0.05

    def share(self, process: Process, t: jax.Array, alpha: jax.Array, sigma: jax.Array) -> jax.Array:
        # Unbounded alpha and sigma: a velocity is defined also where one of them is 0.
        alpha, sigma = process.alpha_sigma(t)
        dalpha, dsigma = process.rates(t)
        return (alpha * dsigma - sigma * dalpha) ** 2


@dataclasses.dataclass(frozen=True)
class FusedMinSNR(Weighting):
    """Min-SNR with the signal that other frames carry counted in (Chen et al. 2024, Diffusion Forcing, and its code).

    With S the frame's SNR over gamma, S' = min(S, 1), and C the moving average of S' over the frames before it (with
    `causal`; over those before and those after, averaged, without), the fused SNR is gamma (1 - (1 - decay C) (1 - S)),
    its clipped form has S' for S, and the weights are those of MinSNR with both in place of SNR and min(SNR, gamma).

    Attributes:
      gamma: The largest weight of an error of x0.
      decay: Of the moving average over frames.
      causal: Whether only the frames before a frame count.

    Raises (weight):
      ValueError: other kinds than eps, x0 and v, or a t that is not (B, T).
    """

    gamma: Gamma = 5.0
    decay: Annotated[float, Between(0, 1, below=True)] = 0.96
    causal: bool = False

    def check(self, kind: str, process: Process) -> None:
        """Check that the paper has a weight for a kind of prediction.

        Raises:
          ValueError: it has none.
        """
        if kind not in ('eps', 'x0', 'v'):
            raise ValueError(f'config.diffusion.weighting: fused_min_snr weighs eps, x0 and v, not {kind!r}')
        if kind == 'v' and not isinstance(process, VariancePreserving):
            raise ValueError(
                'config.diffusion.weighting: fused_min_snr weighs v on variance-preserving processes alone'
            )

    def weight(self, kind: str, process: Process, t: jax.Array) -> jax.Array:
        self.check(kind, process)
        if t.ndim != 2:
            raise ValueError('config.diffusion.weighting: fused_min_snr needs config.diffusion.per_frame=true')

        snr = jnp.exp(process.logsnr(t)) / self.gamma
        clipped = jnp.minimum(snr, 1)
        # A moving average is linear: one matrix for all frames in place of a scan.
        average = jnp.asarray(_average_before(t.shape[1], self.decay), jnp.float32)
        from_others = clipped @ average.T
        if not self.causal:
            # The frames after a frame are those before it in the reversed video.
            from_others = (from_others + (clipped[:, ::-1] @ average.T)[:, ::-1]) / 2

        def fuse(own_snr: jax.Array) -> jax.Array:
            return self.gamma * (1 - (1 - self.decay * from_others) * (1 - own_snr))

        fused = fuse(snr)
        fused_clipped = fuse(clipped)
        # A weight of the x0 error over these is that of an eps or v error; the floor keeps pure noise from dividing 0
        # by 0.
        norms: dict[str, jax.Array | int] = {'eps': jnp.maximum(fused, 1e-8), 'x0': 1, 'v': fused + 1}
        return fused_clipped / norms[kind]


def _average_before(frames: int, decay: float) -> np.ndarray:
    """Return (T, T): row t averages the frames before t, from the first on by c <- decay c + (1 - decay) s."""
    average = np.zeros((frames, frames))
    for t in range(1, frames):
        # The average begins at the first frame itself and not at 0, or the second frame would see nearly no signal.
        average[t] = decay * average[t - 1] if t > 1 else 0
        average[t, t - 1] = 1 - decay if t > 1 else 1
    return average


def loss_per_frame(prediction: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    """Return the weighted squared error, averaged over all but batch and frames.

    Args:
      prediction: (B, T, ...), of any float type.
      target: Of the same shape.
      weight: (B,) or (B, T).

    Returns:
      (B, T) float32.

    Raises:
      ValueError: prediction and target differ in shape (a learned variance not split off, for one).
    """
    if prediction.shape != target.shape:
        raise ValueError(f'the prediction has shape {prediction.shape}, its target {target.shape}: want the same')
    error = prediction.astype(jnp.float32) - target.astype(jnp.float32)
    return jnp.mean(expand(weight, error.ndim) * error**2, axis=range(2, error.ndim))


def by_time(loss: jax.Array | np.ndarray, t: jax.Array | np.ndarray, buckets: int = 10) -> jax.Array:
    """Return the mean loss in each of `buckets` equal parts of (0, 1], nan where no t fell.

    Args:
      loss: (N,).
      t: (N,).
      buckets: Number of parts.

    Returns:
      (buckets,) float32.
    """
    # A little less than t, as 0.7 x 10 is more than 7 in float32.
    index = jnp.clip(jnp.ceil(t * buckets - 1e-4).astype(jnp.int32) - 1, 0, buckets - 1)
    is_in_bucket = index[None] == jnp.arange(buckets)[:, None]
    return jnp.where(is_in_bucket, loss[None], 0).sum(1) / is_in_bucket.sum(1)
