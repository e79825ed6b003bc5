"""Latte (Ma et al. 2024): class-conditional and unconditional checkpoints of Vchitect/Latte, its variant 1."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.models.dit import VideoDiTConfig
from vdm_jax.nn import position
from vdm_jax.pretrained import dit
from vdm_jax.pretrained.checkpoint_checks import require_tensor
from vdm_jax.pretrained.dit import MODEL, NOT_STORED, objective, rename
from vdm_jax.pretrained.table import Row

GUIDED_CHANNELS: int | None = None  # all of them, unlike DiT's code, which it comes from

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


def infer_config(
    arrays: Mapping[str, np.ndarray], config_json: Mapping[str, Any], heads: int | None = None
) -> VideoDiTConfig:
    """Return the config, as DiT's; the number of frames is that of the stored positions in time.

    Raises:
      UserError: as DiT's, or a network conditioned on pooled text (extras=78), which latte_t2v superseded.
    """
    for name in arrays:
        if name.startswith('text_embedding_projection'):
            raise UserError(f'the checkpoint has {name}: Latte with pooled text (extras=78) is not read')
    frames = require_tensor(arrays, 'temp_embed', 3).shape[1]
    grid = (frames, *dit.square_grid(arrays, 'pos_embed'))
    # Images beside clips go around the blocks over time in Latte's code.
    return dit.measure_config(arrays, heads, layout='interleaved', images='aside', grid=grid)


def rows(config: VideoDiTConfig) -> list[Row]:
    """Return the table of names: even blocks are over space, odd ones over time."""
    depth = config.sizes.depth
    return [
        *dit.outer_rows(config),
        *dit.block_rows('layers/space', config, range(0, depth, 2)),
        *dit.block_rows('layers/time', config, range(1, depth, 2)),
    ]


def computed_tensors(config: VideoDiTConfig) -> dict[str, np.ndarray]:
    """Return the tensors that are computed: positions in space and in time."""
    assert config.grid is not None
    frame_positions = position.sincos(np.arange(config.grid[0]), config.sizes.width)[None]
    return dit.computed_tensors(config) | {'temp_embed': frame_positions}
