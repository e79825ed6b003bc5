"""Random weights by the published names, and clips, that networks of features are compared on."""

import numpy as np

from vdm_jax.evals.features.c3d import C3D
from vdm_jax.evals.features.i3d import I3D
from vdm_jax.evals.features.inception import InceptionFID
from vdm_jax.pretrained import SOURCES

# The multiplier of all channels, in the default suite and beside PyTorch.
NARROW = 1 / 16
# Networks, and shapes of clips, that are compared by source.
CASES = {
    'i3d': [
        (I3D(multiplier=NARROW, side=64, resize='half_pixel'), (2, 9, 40, 56, 3)),
        (I3D(multiplier=NARROW, side=75, resize='half_pixel', convolution='direct'), (1, 13, 100, 75, 3)),
        (I3D(resize='half_pixel'), (1, 16, 64, 64, 3)),
    ],
    'inception_fid': [
        (InceptionFID(multiplier=NARROW, side=123, logit_bias=True), (2, 1, 40, 56, 3)),
        (InceptionFID(logit_bias=True), (1, 2, 64, 80, 3)),
    ],
    'c3d': [
        (C3D(multiplier=NARROW, side=45), (2, 16, 40, 56, 3)),
        (C3D(), (1, 16, 64, 64, 3)),
    ],
}


def configuration(network) -> str:
    """What a row of the table calls a network."""
    channels = 'all channels' if network.multiplier == 1 else '1/16 of channels'
    return f'{channels}, {network.side} px'


def tensors(source: str, network, seed=0) -> dict[str, np.ndarray]:
    """Tensors of a network as published, with norms that are not trivial and sizes that keep its features alive."""
    rng = np.random.default_rng(seed)
    ours = {name: leaf.shape for name, leaf in flatten(network.abstract_params())}
    arrays = {}
    for row in SOURCES[source].rows(network):
        # Zeros of our shape say what shape each tensor has.
        zeros = row.conversion.to_theirs(np.zeros(ours[row.ours], np.float32))
        for name, zero in zip(row.theirs, zeros, strict=True):
            if name not in arrays:
                arrays[name] = draw(rng, name, zero.shape)
    return arrays


def flatten(tree):
    """(path, leaf) of a tree of dicts."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from ((f'{name}/{path}', leaf) for path, leaf in flatten(value))
        else:
            yield name, value


def draw(rng, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """One tensor: variances and scales are around 1, the mean clip is pixels, kernels follow He et al. (2015)."""
    noise = rng.standard_normal(shape, np.float32)
    if name.endswith(('var', 'bn.weight')):
        return np.float32(0.5) + np.abs(noise)
    if name == 'mean':
        return 128 + 20 * noise
    if len(shape) in (2, 4, 5) and 'mean' not in name:
        # Kernels of I3D have their outputs last, those of PyTorch first.
        outputs = shape[-1] if name.startswith('params/') else shape[0]
        return noise * np.float32((2 * outputs / noise.size) ** 0.5)
    return np.float32(0.1) * noise


def clips(shape, seed=1) -> np.ndarray:
    """uint8 clips of noise and of slow gradients, so that neither edges nor flat parts are missing."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, shape)
    ramp = np.linspace(0, 255, shape[-2])[:, None] * np.ones(shape[-1])
    return ((noise + ramp) / 2).astype(np.uint8)
