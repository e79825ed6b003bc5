"""vdm_jax: training, sampling and judging video diffusion transformers in JAX.

The names below are what a script needs. Each is imported when it is first used: importing the package starts no jax.
"""

import importlib
from typing import TYPE_CHECKING, Any

# For type checkers and editors, which do not run __getattr__.
if TYPE_CHECKING:
    from vdm_jax.experiment.experiment import read_experiment
    from vdm_jax.experiment.run import Run
    from vdm_jax.media import write_gif
    from vdm_jax.sampling.generate import generate_videos
    from vdm_jax.train.checkpoint import Checkpoints
    from vdm_jax.train.loop import train_run

__version__ = '0.1.0'
__all__ = ['Checkpoints', 'Run', 'generate_videos', 'read_experiment', 'train_run', 'write_gif']

_HOMES = {
    'Checkpoints': 'vdm_jax.train.checkpoint',
    'Run': 'vdm_jax.experiment.run',
    'generate_videos': 'vdm_jax.sampling.generate',
    'read_experiment': 'vdm_jax.experiment.experiment',
    'train_run': 'vdm_jax.train.loop',
    'write_gif': 'vdm_jax.media',
}


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used."""
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(_HOMES[name]), name)
