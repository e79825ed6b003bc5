"""LPIPS with VGG-16, version 0.1 (Zhang et al. 2018): torchvision's vgg16 and the five linear layers of package lpips.

One file has them all: torch.save(lpips.LPIPS(net='vgg').state_dict(), 'lpips_vgg.pth'); or the two published files,
torchvision's vgg16-397923af.pth and the package's weights/v0.1/vgg.pth, put together under their own names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.codecs import lpips
from vdm_jax.pretrained.checkpoint_checks import require_names, require_tensor
from vdm_jax.pretrained.report import Report
from vdm_jax.pretrained.source import Source
from vdm_jax.pretrained.table import CONV, SAME, Conversion, Row, export_tensors, row

NOT_STORED: Mapping[str, str] = {}
# Numbers of the convolutions in torchvision's features, between which are ReLUs and, after each level, a pooling.
FEATURES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


def _line_to_ours(weight: np.ndarray) -> np.ndarray:
    return weight.reshape(-1)


def _line_to_theirs(kernel: np.ndarray) -> tuple[np.ndarray]:
    return (kernel[None, :, None, None],)


LINE = Conversion(_line_to_ours, _line_to_theirs)  # (1, C, 1, 1) <-> (C,)


@dataclass(frozen=True)
class Perceptual:
    """LPIPS with third-party weights.

    Attributes:
      source: The module that read them.
      config: Channels of each level.
      params: What codecs.lpips takes.
      report: What became of the checkpoint.
    """

    source: Source = field(repr=False)
    config: tuple[int, ...]
    params: dict[str, Any] = field(repr=False)
    report: Report

    def __call__(self, x: Any, y: Any) -> jax.Array:
        """Return distances (...) of images (..., H, W, C) in [-1, 1].

        Raises:
          UserError: as codecs.lpips.distance does.
        """
        distance: jax.Array = jax.jit(lpips.distance)(self.params, jnp.asarray(x), jnp.asarray(y))
        return distance

    def export(self, params: dict[str, Any] | None = None) -> dict[str, np.ndarray]:
        """Return parameters (its own by default) as the published tensors, by their names."""
        return export_tensors(
            rows(self.config), self.params if params is None else params, computed_tensors(self.config)
        )

    @staticmethod
    def init(config: tuple[int, ...]) -> dict[str, Any]:
        """Return zeros: this network is not trained here."""

        def zeros(leaf: jax.ShapeDtypeStruct) -> jax.Array:
            return jnp.zeros(leaf.shape, leaf.dtype)

        params: dict[str, Any] = jax.tree.map(zeros, lpips.abstract_weights(config))
        return params


MODEL = Perceptual


def rename(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the package's tensors by the names that its parts have outside of it.

    net.slice1.0.weight is torchvision's features.0.weight. The package's list of linear layers, lins.…, is left out, as
    it holds the lin….model.1.weight again.
    """
    renamed = {}
    for name, array in arrays.items():
        if name.startswith('net.slice'):
            name = 'features.' + name.split('.', 2)[2]
        if not name.startswith('lins.'):
            renamed[name] = array
    return renamed


def infer_config(
    arrays: Mapping[str, np.ndarray], config_json: Mapping[str, Any], heads: int | None = None
) -> tuple[int, ...]:
    """Return the channels of each level. There are no heads, and `config_json` has nothing of it.

    Raises:
      UserError: the tensors belong to another network.
    """
    # The last convolution shows that VGG is in the file, too: the package's own file has the linear layers alone.
    lines = [f'lin{level}.model.1.weight' for level in range(len(lpips.WIDTHS))]
    hint = ' (vdm_jax/pretrained/lpips.py says how to make the file)'
    require_names((*lines, 'features.28.weight'), arrays, 'it is not LPIPS with VGG-16', hint)
    return tuple(require_tensor(arrays, name, 4).shape[1] for name in lines)


def rows(config: tuple[int, ...]) -> list[Row]:
    """Return the table of names."""
    table = []
    for ours, theirs in enumerate(FEATURES):
        table.append(row(f'conv{ours}/kernel', f'features.{theirs}.weight', CONV))
        table.append(row(f'conv{ours}/bias', f'features.{theirs}.bias', SAME))
    for level in range(len(config)):
        table.append(row(f'line{level}/kernel', f'lin{level}.model.1.weight', LINE))
    return table


def computed_tensors(config: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return the tensors that are constants here: the scaling of pixels."""

    def per_channel(values: Any) -> np.ndarray:
        return np.asarray(values)[None, :, None, None]

    return {'scaling_layer.shift': per_channel(lpips.SHIFT), 'scaling_layer.scale': per_channel(lpips.SCALE)}
