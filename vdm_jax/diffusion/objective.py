"""What a network learns: the process, the quantity it predicts, at which times, and how errors are weighted."""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp

from vdm_jax.config.ranges import OneOf, Ranged, Share, Weight, Whole
from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.flow import RectifiedFlow
from vdm_jax.diffusion.loss import Constant, FusedMinSNR, Weighting, loss_per_frame
from vdm_jax.diffusion.prediction import KINDS, target, to_x0_eps
from vdm_jax.diffusion.process import Process
from vdm_jax.diffusion.training_times import TimeSampler, Uniform
from vdm_jax.diffusion.variational import bound


class Denoised(NamedTuple):
    """What a network predicts of x_t.

    Attributes:
      x0: Estimate of the clean data, shaped like x_t.
      eps: Estimate of the noise, shaped like x_t.
      variance: Of the step from there, in [-1, 1] once learned (posterior.learned_log_variance); None where the network
        predicts none.
    """

    x0: jax.Array
    eps: jax.Array
    variance: jax.Array | None = None


@dataclass(frozen=True)
class Objective(Ranged, where='config.diffusion'):
    """The config group config.diffusion.

    Attributes:
      process: How clips become noise.
      prediction: What the network predicts (prediction.py).
      weighting: How much the error counts at each time.
      time: How training times are drawn.
      variance: 'fixed', or 'learned_range' for a network with config.model.learn_variance, which is then also trained
        on `vlb_weight` times the variational bound, summed over timesteps (IDDPM's L_hybrid, Nichol & Dhariwal 2021,
        eq. 16).
      vlb_weight: Of that bound; with IDDPM's 0.001 and 1000 steps its term at t counts 1, as in the code of DiT and
        Latte.
      per_frame: Whether every frame has its own time (Chen et al. 2024, Diffusion Forcing), else a video has one.
      context: How many of the first frames are context frames: they stay clean, at t = 0, and count nothing in the
        loss.
      clean_context: The chance of each frame, with a time of its own, to be a context frame as well: it is clean, at
        t = 0, and the mean loss of its video is over the other frames (Gu et al. 2025, FAR; their network is fed -1
        there).
      condition_dropout: The share of examples whose label and text are replaced by "none" in training, which
        classifier-free guidance needs (Ho & Salimans 2022).
      self_conditioning: The share of examples that are shown the network's own first estimate of x0 in training, for a
        network with config.model.self_condition (Chen et al. 2023, Analog Bits).
      image_weight: What the mean loss of a clip's images counts beside the clip's own, where the source joins images.
      image_time: Whether each image has a time of its own, or its clip's (Latte's code).

    Raises:
      ValueError: parts that do not go together.
    """

    process: Process = RectifiedFlow()
    prediction: Annotated[str, OneOf(KINDS)] = 'velocity'
    weighting: Weighting = Constant()
    time: TimeSampler = Uniform()
    variance: Literal['fixed', 'learned_range'] = 'fixed'
    vlb_weight: Weight = 0.001
    per_frame: bool = False
    context: Whole = 0
    clean_context: Share = 0.0
    condition_dropout: Share = 0.1
    self_conditioning: Share = 0.0
    image_weight: Weight = 1.0
    image_time: Literal['own', 'clip'] = 'own'

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_time == 'clip' and (self.per_frame or self.context):
            raise ValueError('config.diffusion.image_time=clip: the frames of a clip have times of their own; set own')
        if self.variance == 'learned_range' and not self.process.steps:
            raise ValueError(
                'config.diffusion.variance=learned_range: it needs a process of discrete steps, such as ddpm'
            )
        if isinstance(self.process, DDPM) and self.process.zero_terminal_snr and self.prediction == 'eps':
            raise ValueError(
                'config.diffusion.prediction=eps: with process.zero_terminal_snr=true the last step is all noise, of '
                'which eps says nothing; choose v or x0 (Lin et al. 2024, section 3.2)'
            )
        if self.clean_context and not self.per_frame:
            raise ValueError('config.diffusion.clean_context: it needs config.diffusion.per_frame=true')
        if isinstance(self.weighting, FusedMinSNR):
            self.weighting.check(self.prediction, self.process)
            if not self.per_frame:
                raise ValueError('config.diffusion.weighting=fused_min_snr: it needs config.diffusion.per_frame=true')

    def draw_times(self, key: jax.Array, frames: int) -> jax.Array:
        """Draw training times of one example: scalar, or (T,) where frames differ; 0 for the context frames."""
        shape = (frames,) if self.per_frame else ()
        t = self.process.snap(self.time.sample(key, shape, self.process))
        if self.clean_context:
            # A key of its own, so that the times themselves are those drawn without clean_context.
            is_context = jax.random.bernoulli(jax.random.fold_in(key, 1), self.clean_context, (frames,))
            t = jnp.where(is_context, 0, t)
        if not self.context:
            return t
        return jnp.where(jnp.arange(frames) < self.context, 0, t)

    def denoise(self, output: jax.Array, x_t: jax.Array, t: jax.Array) -> Denoised:
        """Return x0, eps and variance of a network's output at (x_t, t).

        output: (B, T, ..., C), or (B, T, ..., 2 C) with the variance's channels last.
        """
        prediction, variance = self.split(output, x_t.shape[-1])
        return Denoised(*to_x0_eps(self.prediction, self.process, prediction, x_t, t), variance)

    def split(self, output: jax.Array, channels: int) -> tuple[jax.Array, jax.Array | None]:
        """Split a network's output into (prediction, variance or None)."""
        learned = output[..., channels:] if self.variance == 'learned_range' else None
        return output[..., :channels], learned

    def loss(self, output: jax.Array, x0: jax.Array, eps: jax.Array, x_t: jax.Array, t: jax.Array) -> jax.Array:
        """Return the weighted squared error of each frame after the context, plus its variance's loss: (B, T) float32.

        With clean_context, frames at t = 0 have loss 0; the others are scaled so that the mean over T is their mean.
        output: the network's at (x_t, t); x0, eps, x_t: (B, T, ..., C); t: (B,) or (B, T).
        """
        weight = self.weighting.weight(self.prediction, self.process, t)
        if self.context:
            # Only now: the weight of a frame may depend on those before it.
            output, x0, eps, x_t, t, weight = (a[:, self.context :] for a in (output, x0, eps, x_t, t, weight))

        if self.clean_context:
            noisy = t > 0
            # What does not count is to be finite as well: 0 times nan is nan.
            t = jnp.where(noisy, t, 1)

        prediction, variance = self.split(output, x0.shape[-1])
        loss = loss_per_frame(prediction, target(self.prediction, self.process, x0, eps, t), weight)
        if variance is not None:
            assert self.process.steps is not None  # __post_init__ refuses a learned variance without timesteps
            denoised_x0, _ = to_x0_eps(self.prediction, self.process, prediction, x_t, t)
            # The bound is a sum over timesteps of which one was drawn, hence times their number.
            loss += self.vlb_weight * self.process.steps * bound(self.process, x0, x_t, t, denoised_x0, variance)
        if self.clean_context:
            # A video whose frames are all clean has a loss of 0 rather than 0 / 0.
            share = noisy.mean(1, keepdims=True, dtype=jnp.float32)
            loss = jnp.where(noisy, loss, 0) / jnp.where(share > 0, share, 1)
        return loss
