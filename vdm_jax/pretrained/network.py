"""Other people's networks as they were: called with their own times, answering what they answer."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vdm_jax.diffusion.objective import Denoised, Objective
from vdm_jax.errors import UserError
from vdm_jax.models.dit import VideoDiT, VideoDiTConfig
from vdm_jax.pretrained.report import Report
from vdm_jax.pretrained.table import give


@dataclass(frozen=True)
class Network:
    """A denoising network with other people's weights.

    config: of our VideoDiT. params: its parameters, a tree of float32 arrays. report: what became of the checkpoint.
    """

    source: ModuleType = field(repr=False)
    config: VideoDiTConfig
    params: dict = field(repr=False)
    report: Report

    def __call__(self, x_BTHWC, t_B, label=None, text=None, text_mask=None) -> jax.Array:
        """What the source's own network answers, float32 (B, T, H, W, C), or (B, T, H, W, 2C) with learned variance.

        x: noisy latents (B, T, H, W, C), one frame for an image. t: the source's own, (B,): timesteps 0 ... 999 for
        DiT and Latte, SiT's t in [0, 1], 1 for data. label: int (B,), where `classes` means "no label", as it does for
        a network with classes that is told none; text (B, S, W), text_mask bool (B, S), True where there is text.

        Raises:
          UserError: an array of another shape or dtype, a label beyond `classes` (unless it is traced), or a condition
            that the network does not have.
        """
        given = {'label': label, 'text': text, 'text_mask': text_mask}
        x, t, conditions = checked(self.config, x_BTHWC, t_B, given)
        if self.config.classes and 'label' not in conditions:
            conditions['label'] = jnp.full(len(x), self.config.classes, jnp.int32)
        return self.apply(self.params, x, t, conditions)

    def denoise(self, x_BTHWC, t_B, **conditions) -> Denoised:
        """What it says of x_t = alpha x0 + sigma eps at the house's t, (B,) in (0, 1] with 1 = noise: (x0, eps,
        variance); conditions as it is called with.

        The one adapter between a source's conventions and ours: it is asked at process.model_time(t), 1000 t - 1 for
        DDPM's timesteps and 1 - t for SiT, and its output is a x0 + b eps of `objective`'s prediction (eps: a = 0,
        b = 1; SiT's velocity: a = 1, b = -1), solved for x0 and eps together with x_t.

        Raises:
          UserError: as it does when called.
        """
        process = self.objective.process
        x, t, _ = checked(self.config, x_BTHWC, t_B, {})
        output = self(process.model_input(x, t), process.model_time(t), **conditions)
        return self.objective.denoise(output, x, t)

    @functools.cached_property
    def objective(self) -> Objective:
        """Process and prediction that the network was trained for."""
        return self.source.objective(self.config)

    @property
    def guided(self) -> int | None:
        """How many channels the source's own code guides, the first ones; None for all."""
        return self.source.GUIDED if (self.source.GUIDED or self.config.channels) < self.config.channels else None

    def export(self, params: dict | None = None) -> dict[str, np.ndarray]:
        """Parameters (its own) as the source's tensors, by its names; positions that it computes among them."""
        return give(
            self.source.rows(self.config), self.params if params is None else params, self.source.fixed(self.config)
        )

    @functools.cached_property
    def apply(self) -> Callable:
        """(params, x, t in the source's own numbering, dict of conditions) -> its output; pure and jitted."""
        graphdef = nnx.graphdef(nnx.eval_shape(lambda: VideoDiT(self.config, rngs=nnx.Rngs(0))))
        kept = self.config.channels if self.objective.variance == 'fixed' else None  # SiT's head has DiT's channels
        return jax.jit(lambda params, x, t, conditions: nnx.merge(graphdef, params)(x, t, conditions)[..., :kept])

    @staticmethod
    def init(config: VideoDiTConfig) -> dict:
        """Fresh parameters."""
        return nnx.to_pure_dict(nnx.state(VideoDiT(config, rngs=nnx.Rngs(0)), nnx.Param))


def checked(config: VideoDiTConfig, x_BTHWC, t_B, conditions: dict) -> tuple[jax.Array, jax.Array, dict]:
    """(x, t, conditions) as the network takes them: x and t in float32, conditions without those that are None.

    Raises:
      UserError: as Network does when called.
    """
    x, t = jnp.asarray(x_BTHWC, jnp.float32), jnp.asarray(t_B, jnp.float32)

    def given(value):
        return value if isinstance(value, jax.Array) else np.asarray(value)

    conditions = {name: given(value) for name, value in conditions.items() if value is not None}
    sides, patch = x.shape[2:4], config.patch
    if x.ndim != 5 or x.shape[-1] != config.channels or any(side % patch for side in sides):
        raise UserError(f'x: want (B, T, H, W, {config.channels}), H and W multiples of {patch}, found {x.shape}')
    batch, text = len(x), conditions.get('text')
    tokens = text.shape[1] if text is not None and text.ndim == 3 else 'S'
    want = {'label': ((batch,), jnp.integer)} if config.classes else {}
    if config.text_width:
        want['text'] = (batch, tokens, config.text_width), jnp.floating
        want['text_mask'] = (batch, tokens), jnp.bool_
    if t.shape != (batch,):
        raise UserError(f't: want one for each of {batch} videos, ({batch},), found {t.shape}')
    for name, value in conditions.items():
        if name not in want:
            raise UserError(
                f'{name}: leave it out, this network is told {" and ".join(want) or "nothing but the time"}'
            )
        shape, kind = want[name]
        if value.shape != shape or not jnp.issubdtype(value.dtype, kind):
            raise UserError(f'{name}: want {kind.__name__} {shape}, found {value.dtype} {value.shape}')
    label = conditions.get('label')
    traced = label is None or isinstance(label, jax.core.Tracer)  # of which numbers nothing can be said
    if not traced and ((label < 0) | (label > config.classes)).any():
        raise UserError(f'label: want 0 to {config.classes}, the last for none, found {label.min()} to {label.max()}')
    return x, t, {name: jnp.asarray(value) for name, value in conditions.items()}
