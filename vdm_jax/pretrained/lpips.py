"""LPIPS with VGG-16, version 0.1 (Zhang et al. 2018): torchvision's vgg16 and the five lines of the package lpips.

One file has them all: torch.save(lpips.LPIPS(net='vgg').state_dict(), 'lpips_vgg.pth'); or the two published files,
torchvision's vgg16-397923af.pth and the package's weights/v0.1/vgg.pth, put together under their own names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from vdm_jax.codecs import lpips
from vdm_jax.pretrained.clues import demand, wanted
from vdm_jax.pretrained.report import Report
from vdm_jax.pretrained.table import CONV, SAME, Kind, Row, give, row

FREE: Mapping[str, str] = {}
LINE = Kind(lambda weight: weight.reshape(-1), lambda kernel: (kernel[None, :, None, None],))  # (1, C, 1, 1) <-> (C,)
# Numbers of the convolutions in torchvision's features, between which are ReLUs and, after each level, a pooling.
FEATURES = 0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28


@dataclass(frozen=True)
class Perceptual:
    """LPIPS with other people's weights. config: channels of each level. params: what codecs.lpips takes."""

    source: ModuleType = field(repr=False)
    config: tuple[int, ...]
    params: dict = field(repr=False)
    report: Report

    def __call__(self, x, y) -> jax.Array:
        """Distances (...) of pictures (..., H, W, C) in [-1, 1].

        Raises:
          UserError: as codecs.lpips.distance does.
        """
        return jax.jit(lpips.distance)(self.params, jnp.asarray(x), jnp.asarray(y))

    def export(self, params: dict | None = None) -> dict[str, np.ndarray]:
        """Parameters (its own) as the published tensors, by their names."""
        return give(rows(self.config), self.params if params is None else params, fixed(self.config))

    @staticmethod
    def init(config: tuple[int, ...]) -> dict:
        """Of zeros: there is no training this network here."""
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), lpips.abstract_weights(config))


KIND = Perceptual


def renamed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The package's tensors by the names that their parts have alone: net.slice1.0.weight is features.0.weight; its
    list of lines, which holds them again, is left out.
    """
    found = {}
    for name, array in arrays.items():
        if name.startswith('net.slice'):
            name = 'features.' + name.split('.', 2)[2]
        if not name.startswith('lins.'):
            found[name] = array
    return found


def config_of(arrays: Mapping[str, np.ndarray], about: Mapping, heads: int | None = None) -> tuple[int, ...]:
    """Channels of each level. There are no heads, and `about` says nothing of it.

    Raises:
      UserError: the tensors are of another network.
    """
    lines = [f'lin{level}.model.1.weight' for level in range(len(lpips.WIDTHS))]
    hint = ' (vdm_jax/pretrained/lpips.py says how to make the file)'
    demand((*lines, 'features.28.weight'), arrays, 'it is not LPIPS with VGG-16', hint)
    return tuple(wanted(arrays, name, 4).shape[1] for name in lines)


def rows(config: tuple[int, ...]) -> list[Row]:
    """The table of names."""
    convs = [
        each
        for ours, theirs in enumerate(FEATURES)
        for each in (
            row(f'conv{ours}/kernel', f'features.{theirs}.weight', CONV),
            row(f'conv{ours}/bias', f'features.{theirs}.bias', SAME),
        )
    ]
    return convs + [row(f'line{i}/kernel', f'lin{i}.model.1.weight', LINE) for i in range(len(config))]


def fixed(config: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Tensors that are constants here: how pixels are scaled."""

    def shaped(values):
        return np.asarray(values)[None, :, None, None]

    return {'scaling_layer.shift': shaped(lpips.SHIFT), 'scaling_layer.scale': shaped(lpips.SCALE)}
