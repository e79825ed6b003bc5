"""Latte (Ma et al. 2024): class-conditional and unconditional checkpoints of Vchitect/Latte, its variant 1."""

from collections.abc import Mapping

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.models.dit import VideoDiTConfig
from vdm_jax.nn import position
from vdm_jax.pretrained import dit
from vdm_jax.pretrained.clues import wanted
from vdm_jax.pretrained.dit import FREE, KIND, objective
from vdm_jax.pretrained.table import Row

GUIDED = None  # all channels, unlike DiT's code, which it comes from

__all__ = ['FREE', 'KIND', 'config_of', 'fixed', 'objective', 'rows']


def config_of(arrays: Mapping[str, np.ndarray], about: Mapping, heads: int | None = None) -> VideoDiTConfig:
    """As DiT's; frames are those of the stored positions in time.

    Raises:
      UserError: as DiT's, or a network that looks at text (extras=78), which latte_t2v superseded.
    """
    if text := [name for name in arrays if name.startswith('text_embedding_projection')]:
        raise UserError(f'the checkpoint has {text[0]}: Latte with pooled text (extras=78) is not read')
    frames = wanted(arrays, 'temp_embed', 3).shape[1]
    grid = frames, *dit.square(arrays, 'pos_embed')
    return dit.measured(arrays, heads, layout='interleaved', images='aside', grid=grid)


def rows(config: VideoDiTConfig) -> list[Row]:
    """The table of names: even blocks are over space, odd ones over time."""
    depth = config.sizes.depth
    return [
        *dit.around(config),
        *dit.blocks('layers/space', config, range(0, depth, 2)),
        *dit.blocks('layers/time', config, range(1, depth, 2)),
    ]


def fixed(config: VideoDiTConfig) -> dict[str, np.ndarray]:
    """Tensors that are computed: positions in space and in time."""
    moments = position.sincos(np.arange(config.grid[0]), config.sizes.width)[None]
    return dit.fixed(config) | {'temp_embed': moments}
