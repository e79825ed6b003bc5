"""Third-party denoising networks as they were published: their own times in, their own outputs out."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from vdm_jax.diffusion.objective import Denoised, Objective
from vdm_jax.errors import UserError
from vdm_jax.models.dit import VideoDiT, VideoDiTConfig
from vdm_jax.pretrained.report import Report
from vdm_jax.pretrained.source import DenoisingSource
from vdm_jax.pretrained.table import export_tensors

Conditions = dict[str, Any]  # arrays by the name of the argument: label, text, text_mask


@dataclass(frozen=True)
class Network:
    """A denoising network with third-party weights.

    Attributes:
      source: The module that read them.
      config: Of our VideoDiT.
      params: Its parameters, a tree of float32 arrays.
      report: What became of the checkpoint.
    """

    source: DenoisingSource = field(repr=False)
    config: VideoDiTConfig
    params: dict[str, Any] = field(repr=False)
    report: Report

    def __call__(
        self,
        x_BTHWC: ArrayLike,
        t_B: ArrayLike,
        label: ArrayLike | None = None,
        text: ArrayLike | None = None,
        text_mask: ArrayLike | None = None,
    ) -> jax.Array:
        """Return the output of the source's network, float32 (B, T, H, W, C); 2C with learned variance.

        Args:
          x_BTHWC: Noisy latents (B, T, H, W, C), one frame for an image.
          t_B: The source's own times, (B,): timesteps 0 ... 999 for DiT and Latte, SiT's t in [0, 1], 1 for data.
          label: int (B,), where `classes` means "no label", as it does for a network with classes that gets no label.
          text: (B, S, W).
          text_mask: bool (B, S), True where there is text.

        Raises:
          UserError: an array of another shape or dtype, a label beyond `classes` (unless it is traced), or a condition
            that the network does not have.
        """
        inputs = {'label': label, 'text': text, 'text_mask': text_mask}
        x, t, conditions = validate_inputs(self.config, x_BTHWC, t_B, inputs)
        if self.config.classes and 'label' not in conditions:
            # DiT's forward always has a label; "no label" is one of them.
            conditions['label'] = jnp.full(len(x), self.config.classes, jnp.int32)
        output: jax.Array = self.apply(self.params, x, t, conditions)
        return output

    def denoise(self, x_BTHWC: ArrayLike, t_B: ArrayLike, **conditions: ArrayLike | None) -> Denoised:
        """Return (x0, eps, variance) of x_t = alpha x0 + sigma eps, at our own times.

        The one adapter between a source's conventions and ours: the network runs at process.model_time(t), 1000 t - 1
        for DDPM's timesteps and 1 - t for SiT, and its output is a x0 + b eps of `objective`'s prediction (eps: a = 0,
        b = 1; SiT's velocity: a = 1, b = -1), solved for x0 and eps together with x_t.

        Args:
          x_BTHWC: x_t.
          t_B: (B,) in (0, 1] with 1 = noise.
          **conditions: As it is called with.

        Raises:
          UserError: as when it is called.
        """
        process = self.objective.process
        x, t, _ = validate_inputs(self.config, x_BTHWC, t_B, {})
        output = self(process.model_input(x, t), process.model_time(t), **conditions)
        return self.objective.denoise(output, x, t)

    @functools.cached_property
    def objective(self) -> Objective:
        """Process and prediction that the network was trained for."""
        return self.source.objective(self.config)

    @property
    def guided_channels(self) -> int | None:
        """How many channels the source's own code guides, the first ones; None for all."""
        count = self.source.GUIDED_CHANNELS
        channels = self.config.channels
        if count is None or channels is None or count >= channels:
            return None
        return count

    def export(self, params: dict[str, Any] | None = None) -> dict[str, np.ndarray]:
        """Return parameters (its own by default) as the source's tensors, by its names, with computed positions."""
        return export_tensors(
            self.source.rows(self.config),
            self.params if params is None else params,
            self.source.computed_tensors(self.config),
        )

    @functools.cached_property
    def apply(self) -> Callable[..., Any]:
        """(params, x, t in the source's own numbering, dict of conditions) -> its output; pure and jitted."""
        graphdef = nnx.graphdef(nnx.eval_shape(lambda: VideoDiT(self.config, rngs=nnx.Rngs(0))))
        # SiT's head has the channels of DiT's variance, in which nothing is learned.
        num_channels = self.config.channels if self.objective.variance == 'fixed' else None

        def run(params: Any, x: jax.Array, t: jax.Array, conditions: Conditions) -> jax.Array:
            # Parameters are an argument: closed over, they would be constants of the program.
            output: jax.Array = nnx.merge(graphdef, params)(x, t, conditions)
            return output[..., :num_channels]

        return jax.jit(run)

    @staticmethod
    def init(config: VideoDiTConfig) -> dict[str, Any]:
        """Return fresh parameters."""
        params: dict[str, Any] = nnx.to_pure_dict(nnx.state(VideoDiT(config, rngs=nnx.Rngs(0)), nnx.Param))
        return params


def validate_inputs(
    config: VideoDiTConfig, x_BTHWC: ArrayLike, t_B: ArrayLike, conditions: Conditions
) -> tuple[jax.Array, jax.Array, Conditions]:
    """Return (x, t, conditions) as the network takes them: x and t in float32, no condition that is None.

    Raises:
      UserError: as Network does when called.
    """
    x = jnp.asarray(x_BTHWC, jnp.float32)
    t = jnp.asarray(t_B, jnp.float32)
    # They are checked as numpy arrays: jax would wrap a label beyond int32 into the range.
    arrays = {
        name: value if isinstance(value, jax.Array) else np.asarray(value)
        for name, value in conditions.items()
        if value is not None
    }

    patch = config.patch
    if x.ndim != 5 or x.shape[-1] != config.channels or any(side % patch for side in x.shape[2:4]):
        raise UserError(f'x: want (B, T, H, W, {config.channels}), H and W multiples of {patch}, found {x.shape}')
    batch = len(x)
    if t.shape != (batch,):
        raise UserError(f't: want one for each of {batch} videos, ({batch},), found {t.shape}')

    _check_conditions(config, batch, arrays)
    if 'label' in arrays:
        _check_labels(arrays['label'], config.classes or 0)
    return x, t, {name: jnp.asarray(value) for name, value in arrays.items()}


def _check_conditions(config: VideoDiTConfig, batch: int, arrays: Conditions) -> None:
    """Check names, shapes and dtypes of the conditions."""
    text = arrays.get('text')
    num_tokens = text.shape[1] if text is not None and text.ndim == 3 else 'S'
    expected: dict[str, tuple[tuple[Any, ...], Any]] = {}
    if config.classes:
        expected['label'] = ((batch,), jnp.integer)
    if config.text_width:
        expected['text'] = ((batch, num_tokens, config.text_width), jnp.floating)
        expected['text_mask'] = ((batch, num_tokens), jnp.bool_)

    for name, value in arrays.items():
        if name not in expected:
            raise UserError(
                f'{name}: leave it out, this network is conditioned on {" and ".join(expected) or "the time alone"}'
            )
        shape, kind = expected[name]
        if value.shape != shape or not jnp.issubdtype(value.dtype, kind):
            raise UserError(f'{name}: want {kind.__name__} {shape}, found {value.dtype} {value.shape}')


def _check_labels(label: Any, classes: int) -> None:
    if isinstance(label, jax.core.Tracer):  # its numbers are not known yet
        return
    if ((label < 0) | (label > classes)).any():
        raise UserError(f'label: want 0 to {classes}, the last for none, found {label.min()} to {label.max()}')
