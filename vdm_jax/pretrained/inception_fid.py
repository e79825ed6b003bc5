"""InceptionV3 as in FID, by the names of pytorch-fid: pt_inception-2015-12-05-6726825d.pth.

The last part of that file's name is the beginning of its sha256. Names are those of torchvision's network: Mixed_5b.
branch1x1.conv.weight, .bn.weight, .bn.bias, .bn.running_mean, .bn.running_var; fc.weight (1008, 2048), fc.bias.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.evals.features.inception import CLASSES, STEM, InceptionFID
from vdm_jax.parallel.rules import path_name
from vdm_jax.pretrained.checkpoint_checks import require_names, require_tensor
from vdm_jax.pretrained.features import PretrainedFeatures, fold_bias, fold_kernel, infer_multiplier
from vdm_jax.pretrained.table import CONV, LINEAR, SAME, Row, row

NOT_STORED: Mapping[str, str] = {}
MODEL = PretrainedFeatures
FIRST = 'Conv2d_1a_3x3.conv.weight'


def rename(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors without the norms' counters of batches and the auxiliary head, which only training uses."""
    return {
        name: array
        for name, array in arrays.items()
        if not name.endswith('.num_batches_tracked') and not name.startswith('AuxLogits.')
    }


def infer_config(
    arrays: Mapping[str, np.ndarray], config_json: Mapping[str, Any], heads: int | None = None
) -> InceptionFID:
    """Return the network, of as many channels as the first kernel has. There are no heads; `config_json` is not read.

    Raises:
      UserError: the tensors belong to another network, as torchvision's own with its 1,000 classes.
    """
    if heads is not None:
        raise UserError(f'--heads={heads}: InceptionV3 has none; leave it out')
    require_names((FIRST, 'Mixed_7c.branch_pool.conv.weight', 'fc.weight'), arrays, "it is not pytorch-fid's network")
    classes = len(require_tensor(arrays, 'fc.weight', 2))
    if classes != CLASSES:
        raise UserError(
            f'fc.weight has {classes} classes: want {CLASSES}, as pt_inception-2015-12-05-6726825d.pth has '
            "(torchvision's own InceptionV3 is another network, whose distances are no FID)"
        )
    channels = len(require_tensor(arrays, FIRST, 4))
    return InceptionFID(multiplier=infer_multiplier(channels, STEM.units['Conv2d_1a_3x3'].channels))


def rows(config: InceptionFID) -> list[Row]:
    """Return the table of names."""
    kernel = fold_kernel(CONV, has_scale=True)
    bias = fold_bias(has_scale=True)
    table = []
    for path, _ in jax.tree_util.tree_flatten_with_path(config.abstract_params())[0]:
        ours = path_name(path)
        layer, _, part = ours.rpartition('/')
        theirs = layer.replace('/', '.')
        moments = (f'{theirs}.bn.running_var', f'{theirs}.bn.weight')
        if ours == 'fc/kernel':
            table.append(row(ours, 'fc.weight', LINEAR))
        elif ours == 'fc/bias':
            table.append(row(ours, 'fc.bias', SAME))
        elif part == 'kernel':
            table.append(row(ours, (f'{theirs}.conv.weight', *moments), kernel))
        else:
            table.append(row(ours, (f'{theirs}.bn.bias', f'{theirs}.bn.running_mean', *moments), bias))
    return table


def computed_tensors(config: InceptionFID) -> dict[str, np.ndarray]:
    """Return the tensors that are computed: none."""
    return {}
