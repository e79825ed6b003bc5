"""C3D finetuned on UCF-101, as TGANv2 has it: conv3d_deepnetA_ucf.npz, and the mean clip beside it, mean2.npz.

One file has both: np.savez('c3d.npz', **np.load('conv3d_deepnetA_ucf.npz'), **np.load('mean2.npz')). Read are
Chainer's names (conv1a/W (O, I, T, H, W), conv1a/b, fc6/W (O, I)), and PyTorch's of the same arrays (conv1a.weight, or
conv1.weight as ports of C3D have it); the mean clip is 'mean', BGR, (3, 16, 128, 171) or cut out of that already.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vdm_jax.errors import UserError
from vdm_jax.evals.features.c3d import C3D, CLASSES, FRAMES, LEVELS
from vdm_jax.pretrained.checkpoint_checks import require_names, require_tensor
from vdm_jax.pretrained.features import PretrainedFeatures, infer_multiplier
from vdm_jax.pretrained.table import CONV, LINEAR, SAME, Conversion, Row, row

NOT_STORED: Mapping[str, str] = {}
MODEL = PretrainedFeatures
CONVOLUTIONS = tuple(name for level in LEVELS for name in level)
DENSE = ('fc6', 'fc7', 'fc8')
# Where the published code cuts the mean clip of 128x171 pixels.
CUT = 8
STORED_MEAN = (3, FRAMES, 128, 171)
HINT = ' (vdm_jax/pretrained/c3d.py says how to make the file)'


def rename(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the tensors by PyTorch's names, and the mean clip cut to the sides of the network's frames."""
    renamed = {}
    for name, array in arrays.items():
        name = name.removesuffix('/W') + '.weight' if name.endswith('/W') else name
        name = name.removesuffix('/b') + '.bias' if name.endswith('/b') else name
        # Ports of C3D call the layers that are alone in their level without a letter.
        name = re.sub(r'^conv([12])\.', r'conv\1a.', name)
        if name == 'mean' and np.size(array) == np.prod(STORED_MEAN):
            side = C3D.side
            array = np.reshape(array, STORED_MEAN)[:, :, CUT : CUT + side, CUT : CUT + side]
        renamed[name] = array
    return renamed


def infer_config(arrays: Mapping[str, np.ndarray], config_json: Mapping[str, Any], heads: int | None = None) -> C3D:
    """Return the network, as wide as its first kernel and for frames as large as the mean clip's.

    There are no heads; `config_json` is not read.

    Raises:
      UserError: the tensors belong to another network, or the mean clip is missing or another one.
    """
    if heads is not None:
        raise UserError(f'--heads={heads}: C3D has none; leave it out')
    require_names(('conv1a.weight', 'fc8.weight'), arrays, "it is not TGANv2's C3D", HINT)
    require_names(('mean',), arrays, 'the mean clip, of mean2.npz, is missing', HINT)
    classes = len(require_tensor(arrays, 'fc8.weight', 2))
    if classes != CLASSES:
        raise UserError(f'fc8.weight has {classes} classes: want {CLASSES}, those of UCF-101')
    shape = require_tensor(arrays, 'mean', 4).shape
    if shape[:2] != STORED_MEAN[:2] or shape[2] != shape[3]:
        raise UserError(f'mean has the shape {shape}: want {STORED_MEAN}, or its square part')
    channels = len(require_tensor(arrays, 'conv1a.weight', 5))
    return C3D(side=shape[2], multiplier=infer_multiplier(channels, LEVELS[0]['conv1a']))


def _mean_to_ours(mean: np.ndarray) -> np.ndarray:
    return mean.transpose(1, 2, 3, 0)


def _mean_to_theirs(mean: np.ndarray) -> tuple[np.ndarray]:
    return (mean.transpose(3, 0, 1, 2),)


MEAN = Conversion(_mean_to_ours, _mean_to_theirs)  # (3, T, H, W) <-> (T, H, W, 3)


def rows(config: C3D) -> list[Row]:
    """Return the table of names."""
    table = [row('mean', 'mean', MEAN)]
    for name in CONVOLUTIONS + DENSE:
        table.append(row(f'{name}/kernel', f'{name}.weight', CONV if name in CONVOLUTIONS else LINEAR))
        table.append(row(f'{name}/bias', f'{name}.bias', SAME))
    return table


def computed_tensors(config: C3D) -> dict[str, np.ndarray]:
    """Return the tensors that are computed: none."""
    return {}
