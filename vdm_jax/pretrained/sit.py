"""SiT (Ma et al. 2024): checkpoints of willisma/SiT, DiT's network on an interpolant between noise and data."""

from vdm_jax.diffusion.flow import RectifiedFlow
from vdm_jax.diffusion.objective import Objective
from vdm_jax.models.dit import VideoDiTConfig
from vdm_jax.pretrained.dit import FREE, GUIDED, KIND, config_of, fixed, rows

__all__ = ['FREE', 'GUIDED', 'KIND', 'config_of', 'fixed', 'objective', 'rows']


def objective(config: VideoDiTConfig) -> Objective:
    """What it was trained on: the velocity of the linear path, in SiT's own time, 0 for noise and 1 for data.

    Its head has the channels of DiT's variance, and nothing is learned in them.
    """
    return Objective(RectifiedFlow(numbering='sit'), 'velocity', condition_dropout=0.1 if config.classes else 0.0)
