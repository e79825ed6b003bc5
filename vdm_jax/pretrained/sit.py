"""SiT (Ma et al. 2024): checkpoints of willisma/SiT, DiT's network on an interpolant between noise and data."""

from vdm_jax.diffusion.flow import RectifiedFlow
from vdm_jax.diffusion.objective import Objective
from vdm_jax.models.dit import VideoDiTConfig
from vdm_jax.pretrained.dit import (
    GUIDED_CHANNELS,
    MODEL,
    NOT_STORED,
    computed_tensors,
    infer_config,
    rename,
    rows,
)

__all__ = [
    'GUIDED_CHANNELS',
    'MODEL',
    'NOT_STORED',
    'computed_tensors',
    'infer_config',
    'objective',
    'rename',
    'rows',
]


def objective(config: VideoDiTConfig) -> Objective:
    """Return the training objective: velocity of the linear path, in SiT's time, 0 for noise and 1 for data.

    Its head has the channels of DiT's variance, and nothing is learned in them.
    """
    return Objective(RectifiedFlow(numbering='sit'), 'velocity', condition_dropout=0.1 if config.classes else 0.0)
