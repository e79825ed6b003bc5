"""DiT (Peebles & Xie 2023): checkpoints of facebookresearch/DiT, and the names that SiT and Latte took over from it."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.objective import Objective
from vdm_jax.errors import UserError
from vdm_jax.models.dit import VideoDiTConfig
from vdm_jax.models.sizes import SIZES
from vdm_jax.nn import position
from vdm_jax.pretrained.checkpoint_checks import require_tensor
from vdm_jax.pretrained.network import Network
from vdm_jax.pretrained.table import LINEAR, SAME, Row, by_head, patches, row

NOT_STORED: Mapping[str, str] = {}
MODEL = Network
GUIDED_CHANNELS: int | None = 3  # of the four of its latents: in its forward_with_cfg
PAPER_SIZES = ('S', 'B', 'L', 'XL')  # of SIZES
LABELS = 'y_embedder.embedding_table.weight'


def rename(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors: their names have not changed."""
    return dict(arrays)


def infer_config(
    arrays: Mapping[str, np.ndarray], config_json: Mapping[str, Any], heads: int | None = None
) -> VideoDiTConfig:
    """Return the config of the network that these tensors belong to, in float32.

    Args:
      arrays: Tensors by name.
      config_json: Unused, as DiT stores no config.json.
      heads: Where width and depth are those of no size of the papers, which alone determine the number of heads.

    Raises:
      UserError: the tensors are of another kind of network, or the heads are unknown, or not the size's.
    """
    if 'temp_embed' in arrays:
        raise UserError('the checkpoint has temp_embed, positions in time: say --source=latte')
    return measure_config(arrays, heads, layout='frames', grid=(1, *square_grid(arrays, 'pos_embed')))


def rows(config: VideoDiTConfig) -> list[Row]:
    """Return the table of names."""
    return outer_rows(config) + block_rows('layers/block', config, range(config.sizes.depth))


def computed_tensors(config: VideoDiTConfig) -> dict[str, np.ndarray]:
    """Return the tensors that are computed: positions."""
    assert config.grid is not None
    _, grid_rows, grid_columns = config.grid
    return {'pos_embed': position.sincos_space(grid_rows, grid_columns, config.sizes.width)[None]}


def objective(config: VideoDiTConfig) -> Objective:
    """Return the training objective: 1,000 linear steps, eps, IDDPM's learned variance; labels dropped in 0.1."""
    return Objective(
        DDPM(),
        'eps',
        variance='learned_range' if config.learn_variance else 'fixed',
        condition_dropout=0.1 if config.classes else 0.0,
    )


def square_grid(arrays: Mapping[str, np.ndarray], name: str) -> tuple[int, int]:
    """Return rows and columns of the patches of a square frame, from the number of stored positions."""
    # DiT stores positions of square frames alone, all patches in one row.
    side = round(require_tensor(arrays, name, 3).shape[1] ** 0.5)
    return side, side


def measure_config(arrays: Mapping[str, np.ndarray], heads: int | None, **fields: Any) -> VideoDiTConfig:
    """Return a config of the sizes that the tensors have; `fields` sets what they do not determine.

    Raises:
      UserError: the heads are unknown, or not the size's.
    """
    width, channels, patch, _ = require_tensor(arrays, 'x_embedder.proj.weight', 4).shape
    depth = _count_blocks(arrays)
    hidden_width = len(require_tensor(arrays, 'blocks.0.mlp.fc1.weight', 2))

    # No tensor's shape depends on the number of heads, so that it must come from elsewhere.
    size = _paper_size(depth, width)
    if size is None and heads is None:
        raise UserError(f'{depth} blocks of width {width} are none of {", ".join(PAPER_SIZES)}: say --heads=N')
    if size and heads not in (None, SIZES[size].heads):
        raise UserError(
            f'--heads={heads}: {depth} blocks of width {width} are {size}, of {SIZES[size].heads}; leave it out'
        )
    if size is None:
        # The name of a size stands for nothing where all three numbers override it.
        fields |= {'size': 'tiny', 'depth': depth, 'width': width, 'heads': heads}
    else:
        fields |= {'size': size, 'heads': None}

    # The head has as many channels again where the network learned its variance.
    outputs_per_pixel = require_tensor(arrays, 'final_layer.linear.weight', 2).shape[0] // (patch * patch * channels)
    return VideoDiTConfig(
        mlp_ratio=mlp_ratio(hidden_width, width),
        patch=patch,
        learn_variance=outputs_per_pixel == 2,
        channels=channels,
        # The last row of the table stands for "no label".
        classes=len(require_tensor(arrays, LABELS, 2)) - 1 if LABELS in arrays else 0,
        **fields,
    )


def _count_blocks(arrays: Mapping[str, np.ndarray]) -> int:
    matches = [re.match(r'blocks\.(\d+)\.', name) for name in arrays]
    return 1 + max((int(match[1]) for match in matches if match), default=0)


def _paper_size(depth: int, width: int) -> str | None:
    """Return the name of the papers' size with this depth and width, None for none of them."""
    for name in PAPER_SIZES:
        if (SIZES[name].depth, SIZES[name].width) == (depth, width):
            return name
    return None


def mlp_ratio(hidden_width: int, width: int) -> float:
    """Return the mlp_ratio with which a network makes so many hidden units, int(ratio width), rounding and all."""
    # int() truncates: a ratio that was rounded down would give one unit too few.
    ratio = hidden_width / width
    return ratio if int(width * ratio) == hidden_width else math.nextafter(ratio, math.inf)


def outer_rows(config: VideoDiTConfig) -> list[Row]:
    """Return the rows of what stands before and behind the blocks."""
    assert config.channels is not None
    labels = [row('label_embed/table', LABELS, SAME)] if config.classes else []
    return [
        row('patch_embed/kernel', 'x_embedder.proj.weight', patches(config.patch, config.channels)),
        row('patch_embed/bias', 'x_embedder.proj.bias', SAME),
        *dense_rows('time_embed/up', 't_embedder.mlp.0'),
        *dense_rows('time_embed/down', 't_embedder.mlp.2'),
        *labels,
        *dense_rows('head/modulation', 'final_layer.adaLN_modulation.1'),
        *dense_rows('head/out', 'final_layer.linear'),
    ]


def block_rows(ours: str, config: VideoDiTConfig, layers: Iterable[int]) -> list[Row]:
    """Return the rows of our stack `ours`; `layers` are the numbers of its blocks in the checkpoint."""
    layers = tuple(layers)
    # Ours go by head, so that a mesh splits whole heads.
    qkv = by_head(config.sizes.heads, 3)
    return [
        row(f'{ours}/attention/qkv/kernel', 'blocks.{}.attn.qkv.weight', qkv, layers),
        row(f'{ours}/attention/qkv/bias', 'blocks.{}.attn.qkv.bias', qkv, layers),
        *dense_rows(f'{ours}/attention/out', 'blocks.{}.attn.proj', layers),
        *dense_rows(f'{ours}/mlp/up', 'blocks.{}.mlp.fc1', layers),
        *dense_rows(f'{ours}/mlp/down', 'blocks.{}.mlp.fc2', layers),
        *dense_rows(f'{ours}/modulation', 'blocks.{}.adaLN_modulation.1', layers),
    ]


def dense_rows(ours: str, theirs: str, layers: Iterable[int] | None = None) -> list[Row]:
    """Return the rows of a linear layer."""
    return [
        row(f'{ours}/kernel', f'{theirs}.weight', LINEAR, layers),
        row(f'{ours}/bias', f'{theirs}.bias', SAME, layers),
    ]
