"""Weights of LPIPS for a small network, of plain noise."""

import dataclasses

import jax
import numpy as np

from vdm_jax.codecs import lpips


def small_lpips(backbone=lpips.VGG16):
    rng = np.random.default_rng(0)
    shapes = lpips.abstract_weights(dataclasses.replace(backbone, widths=(4, 4, 8, 8, 8)))
    return jax.tree.map(lambda leaf: 0.3 * np.abs(rng.standard_normal(leaf.shape, np.float32)), shapes)
