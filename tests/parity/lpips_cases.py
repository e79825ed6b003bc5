"""Random weights and pictures that LPIPS is compared on, by seed; shared by the fixture and the live comparison."""

import numpy as np

NARROW = 4, 6, 8, 10, 12  # channels of each level of a network that makes a small fixture
SIZES = ((16, 16), (24, 40))
# Layers of torchvision's features, in its numbers: a convolution (side, stride, padding), its ReLU, a pooling.
CONV = ((3, 1, 1), 'relu')
LAYERS = {
    'vgg': (*CONV * 2, 'pool', *CONV * 2, 'pool', *CONV * 3, 'pool', *CONV * 3, 'pool', *CONV * 3),
    'alex': ((11, 4, 2), 'relu', 'pool', (5, 1, 2), 'relu', 'pool', *CONV * 3),
}
# The last layer of each level, and the side of a pooling's windows.
ENDS = {'vgg': (3, 8, 15, 22, 29), 'alex': (1, 4, 7, 9, 11)}
POOLING = {'vgg': 2, 'alex': 3}


def configuration(widths, network='vgg') -> str:
    """What a row of the table calls a network of these widths."""
    return f'{network} {widths[0]} to {widths[-1]}'


def tensors(widths, seed=0, network='vgg') -> dict[str, np.ndarray]:
    """By the published names, of sizes that keep the features of every level alive."""
    rng = np.random.default_rng(seed)
    arrays = {}
    before = 3
    for number, layer in enumerate(LAYERS[network]):
        if isinstance(layer, str):
            continue
        side = layer[0]
        level = next(level for level, end in enumerate(ENDS[network]) if number <= end)
        width = widths[level]
        scale = np.float32((2 / (side**2 * before)) ** 0.5)
        arrays[f'features.{number}.weight'] = scale * rng.standard_normal((width, before, side, side), np.float32)
        arrays[f'features.{number}.bias'] = np.float32(0.1) * rng.standard_normal(width, np.float32)
        before = width
    lines = (rng.random((1, width, 1, 1), np.float32) for width in widths)
    return arrays | {f'lin{level}.model.1.weight': line for level, line in enumerate(lines)}


def pictures(size, seed=1):
    """Two times three pictures in [-1, 1], (3, H, W, 3)."""
    return np.random.default_rng(seed).uniform(-1, 1, (2, 3, *size, 3)).astype(np.float32)
