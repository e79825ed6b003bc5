"""What a network learns: the process, the quantity it predicts, and how errors are weighted."""

from dataclasses import dataclass
from typing import Literal

import jax

from vdm_jax.diffusion.loss import Constant, Weighting
from vdm_jax.diffusion.prediction import to_x0_eps
from vdm_jax.diffusion.process import Process, RectifiedFlow


@dataclass(frozen=True)
class Objective:
    """The config group config.diffusion: one process, one prediction, one weighting.

    label_dropout is the share of examples whose label is replaced by "no label" in training, which classifier-free
    guidance needs (Ho & Salimans 2022).

    Raises: ValueError for a label_dropout outside [0, 1].
    """

    process: Process = RectifiedFlow()
    prediction: Literal['eps', 'x0', 'v', 'velocity'] = 'velocity'
    weighting: Weighting = Constant()
    label_dropout: float = 0.1

    def __post_init__(self):
        if not 0 <= self.label_dropout <= 1:
            raise ValueError(f'config.diffusion.label_dropout is {self.label_dropout}: want a share between 0 and 1')

    def denoise(self, prediction: jax.Array, x_t: jax.Array, t: jax.Array) -> tuple[jax.Array, jax.Array]:
        """A network's prediction at (x_t, t) as (x0, eps), all shaped like x_t."""
        return to_x0_eps(self.prediction, self.process, prediction, x_t, t)
