"""Random weights and pictures that LPIPS is compared on, by seed; shared by the fixture and the live comparison."""

import numpy as np

NARROW = 4, 6, 8, 10, 12  # channels of each level of a VGG that makes a small fixture
SIZES = ((16, 16), (24, 40))
DEPTHS = 2, 2, 3, 3, 3


def configuration(widths) -> str:
    """What a row of the table calls a VGG of these widths."""
    return f'vgg {widths[0]} to {widths[-1]}'


def tensors(widths, seed=0) -> dict[str, np.ndarray]:
    """By the published names, of sizes that keep the features of every level alive."""
    rng = np.random.default_rng(seed)
    arrays = {}
    before = 3
    number = 0

    for width, depth in zip(widths, DEPTHS, strict=True):
        for _ in range(depth):
            scale = np.float32((2 / (9 * before)) ** 0.5)
            arrays[f'features.{number}.weight'] = scale * rng.standard_normal((width, before, 3, 3), np.float32)
            arrays[f'features.{number}.bias'] = np.float32(0.1) * rng.standard_normal(width, np.float32)
            before, number = width, number + 2
        number += 1  # pooling
    lines = (rng.random((1, width, 1, 1), np.float32) for width in widths)
    return arrays | {f'lin{level}.model.1.weight': line for level, line in enumerate(lines)}


def pictures(size, seed=1):
    """Two times three pictures in [-1, 1], (3, H, W, 3)."""
    return np.random.default_rng(seed).uniform(-1, 1, (2, 3, *size, 3)).astype(np.float32)
