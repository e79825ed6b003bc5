"""InceptionV3 as in FID: the network of TensorFlow's inception-2015-12-05 (Szegedy et al. 2015, arXiv:1512.00567).

It differs from torchvision's in what pytorch-fid lists: 1,008 classes, average pools that do not count padding, and a
max pool in the last block. FID (Heusel et al. 2017, arXiv:1706.08500) takes the 2,048 features, the inception score
(Salimans et al. 2016, arXiv:1606.03498) the logits. Batch norms are folded into the convolutions when weights are read
(pretrained/inception_fid.py).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from vdm_jax.config.ranges import Between
from vdm_jax.evals.features.layers import (
    Multiplier,
    Params,
    abstract_layer,
    convolve_layer,
    max_pool,
    mean_pool,
    scale_channels,
)
from vdm_jax.evals.features.network import FeatureNetwork, Outputs
from vdm_jax.evals.features.resize import Resize, resize_bilinear

CLASSES = 1008
FEATURES = 2048
# The least side that leaves a pixel for the last block.
LEAST_SIDE = 75


class Unit(NamedTuple):
    """A convolution, its folded norm and a ReLU.

    Attributes:
      channels: That come out.
      kernel: Rows and columns.
      stride: Of both.
      padding: Zeros around rows and around columns.
    """

    channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: tuple[int, int] = (0, 0)


# A step of a branch: a layer's name, one of the pools, or several names, side by side in channels.
Step = str | tuple[str, ...]
MEAN = 'mean'  # 3x3, stride 1, padding not counted
MAX = 'max'  # 3x3, stride 1
MAX_2 = 'max, stride 2'  # 3x3, no padding
POOLS = (MEAN, MAX, MAX_2)


class Block(NamedTuple):
    """Branches over one input, side by side in channels.

    Attributes:
      units: By name.
      branches: The steps of each, in the order of their channels.
    """

    units: dict[str, Unit]
    branches: tuple[tuple[Step, ...], ...]


def _block_a(pool: int) -> Block:
    units = {
        'branch1x1': Unit(64),
        'branch5x5_1': Unit(48),
        'branch5x5_2': Unit(64, (5, 5), padding=(2, 2)),
        'branch3x3dbl_1': Unit(64),
        'branch3x3dbl_2': Unit(96, (3, 3), padding=(1, 1)),
        'branch3x3dbl_3': Unit(96, (3, 3), padding=(1, 1)),
        'branch_pool': Unit(pool),
    }
    double = ('branch3x3dbl_1', 'branch3x3dbl_2', 'branch3x3dbl_3')
    return Block(units, (('branch1x1',), ('branch5x5_1', 'branch5x5_2'), double, (MEAN, 'branch_pool')))


def _block_b() -> Block:
    units = {
        'branch3x3': Unit(384, (3, 3), 2),
        'branch3x3dbl_1': Unit(64),
        'branch3x3dbl_2': Unit(96, (3, 3), padding=(1, 1)),
        'branch3x3dbl_3': Unit(96, (3, 3), 2),
    }
    return Block(units, (('branch3x3',), ('branch3x3dbl_1', 'branch3x3dbl_2', 'branch3x3dbl_3'), (MAX_2,)))


def _block_c(inner: int) -> Block:
    def row(channels: int) -> Unit:
        return Unit(channels, (1, 7), padding=(0, 3))

    def column(channels: int) -> Unit:
        return Unit(channels, (7, 1), padding=(3, 0))

    units = {
        'branch1x1': Unit(192),
        'branch7x7_1': Unit(inner),
        'branch7x7_2': row(inner),
        'branch7x7_3': column(192),
        'branch7x7dbl_1': Unit(inner),
        'branch7x7dbl_2': column(inner),
        'branch7x7dbl_3': row(inner),
        'branch7x7dbl_4': column(inner),
        'branch7x7dbl_5': row(192),
        'branch_pool': Unit(192),
    }
    single = tuple(f'branch7x7_{number}' for number in range(1, 4))
    double = tuple(f'branch7x7dbl_{number}' for number in range(1, 6))
    return Block(units, (('branch1x1',), single, double, (MEAN, 'branch_pool')))


def _block_d() -> Block:
    units = {
        'branch3x3_1': Unit(192),
        'branch3x3_2': Unit(320, (3, 3), 2),
        'branch7x7x3_1': Unit(192),
        'branch7x7x3_2': Unit(192, (1, 7), padding=(0, 3)),
        'branch7x7x3_3': Unit(192, (7, 1), padding=(3, 0)),
        'branch7x7x3_4': Unit(192, (3, 3), 2),
    }
    long = tuple(f'branch7x7x3_{number}' for number in range(1, 5))
    return Block(units, (('branch3x3_1', 'branch3x3_2'), long, (MAX_2,)))


def _block_e(pool: str) -> Block:
    units = {
        'branch1x1': Unit(320),
        'branch3x3_1': Unit(384),
        'branch3x3_2a': Unit(384, (1, 3), padding=(0, 1)),
        'branch3x3_2b': Unit(384, (3, 1), padding=(1, 0)),
        'branch3x3dbl_1': Unit(448),
        'branch3x3dbl_2': Unit(384, (3, 3), padding=(1, 1)),
        'branch3x3dbl_3a': Unit(384, (1, 3), padding=(0, 1)),
        'branch3x3dbl_3b': Unit(384, (3, 1), padding=(1, 0)),
        'branch_pool': Unit(192),
    }
    single: tuple[Step, ...] = ('branch3x3_1', ('branch3x3_2a', 'branch3x3_2b'))
    double: tuple[Step, ...] = ('branch3x3dbl_1', 'branch3x3dbl_2', ('branch3x3dbl_3a', 'branch3x3dbl_3b'))
    return Block(units, (('branch1x1',), single, double, (pool, 'branch_pool')))


# The first layers stand at the top of the parameters, as they do in the published file.
STEM = Block(
    {
        'Conv2d_1a_3x3': Unit(32, (3, 3), 2),
        'Conv2d_2a_3x3': Unit(32, (3, 3)),
        'Conv2d_2b_3x3': Unit(64, (3, 3), padding=(1, 1)),
        'Conv2d_3b_1x1': Unit(80),
        'Conv2d_4a_3x3': Unit(192, (3, 3)),
    },
    (('Conv2d_1a_3x3', 'Conv2d_2a_3x3', 'Conv2d_2b_3x3', MAX_2, 'Conv2d_3b_1x1', 'Conv2d_4a_3x3', MAX_2),),
)
BLOCKS = {
    'Mixed_5b': _block_a(32),
    'Mixed_5c': _block_a(64),
    'Mixed_5d': _block_a(64),
    'Mixed_6a': _block_b(),
    'Mixed_6b': _block_c(128),
    'Mixed_6c': _block_c(160),
    'Mixed_6d': _block_c(160),
    'Mixed_6e': _block_c(192),
    'Mixed_7a': _block_d(),
    'Mixed_7b': _block_e(MEAN),
    # A mistake of the published network, which the features of FID have in them.
    'Mixed_7c': _block_e(MAX),
}


@dataclass(frozen=True)
class InceptionFID(FeatureNetwork):
    """InceptionV3 as in FID: each frame to 2,048 features and 1,008 logits.

    Attributes:
      resize: How frames become `side` pixels wide.
      side: Pixels of a frame's sides after the resize.
      multiplier: Of all channels; the published weights have 1.
      logit_bias: Whether logits have the last layer's bias; the published inception score leaves it out.
    """

    name: ClassVar[str] = 'inception'
    weights: ClassVar[str] = 'inception_fid'
    takes_frames: ClassVar[bool] = True
    sizes: ClassVar[tuple[str, ...]] = ('multiplier',)

    resize: Resize = 'half_pixel'
    side: Annotated[int, Between(LEAST_SIDE, 1024)] = 299
    multiplier: Multiplier = 1.0
    logit_bias: bool = False

    @property
    def width(self) -> int:
        """2,048, those of the last block, averaged over rows and columns."""
        width: int = self.abstract_params()['fc']['kernel'].shape[0]
        return width

    @property
    def classes(self) -> int:
        """1,008, those of the published network: ImageNet's and eight without a name."""
        return CLASSES

    def abstract_params(self) -> Params:
        params: Params = {}
        channels = self._add_params(params, STEM, 3)
        for name, block in BLOCKS.items():
            params[name] = {}
            channels = self._add_params(params[name], block, channels)
        params['fc'] = abstract_layer((), channels, CLASSES)
        return params

    def compute(self, params: Params, videos: jax.Array) -> Outputs:
        frames = videos.reshape(-1, *videos.shape[2:])
        x = resize_bilinear(frames, self.side, self.side, self.resize) * (2 / 255) - 1
        x = _run(STEM, params, x)
        for name, block in BLOCKS.items():
            x = _run(block, params[name], x)
        features = x.mean((1, 2))
        logits = features @ params['fc']['kernel']
        if self.logit_bias:
            logits = logits + params['fc']['bias'][None]
        return Outputs(features, logits)

    def _add_params(self, params: Params, block: Block, channels: int) -> int:
        """Add the layers of a block over so many channels to `params`; return the channels that come out."""
        total = 0
        for branch in block.branches:
            size_in = channels
            for step in branch:
                if step in POOLS:
                    continue
                names = (step,) if isinstance(step, str) else step
                sizes = [scale_channels(block.units[name].channels, self.multiplier) for name in names]
                for name, size in zip(names, sizes, strict=True):
                    params[name] = abstract_layer(block.units[name].kernel, size_in, size)
                size_in = sum(sizes)
            total += size_in
        return total


def _run(block: Block, params: Params, x: jax.Array) -> jax.Array:
    """Return a block's branches over x (N, H, W, C), side by side in channels."""
    outputs = []
    for branch in block.branches:
        y = x
        for step in branch:
            names = (step,) if isinstance(step, str) else step
            y = jnp.concatenate([_run_step(block, params, name, y) for name in names], -1)
        outputs.append(y)
    return jnp.concatenate(outputs, -1)


def _run_step(block: Block, params: Params, name: str, x: jax.Array) -> jax.Array:
    if name == MEAN:
        return mean_pool(x, 3)
    if name == MAX:
        return max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
    if name == MAX_2:
        return max_pool(x, (3, 3), (2, 2), ((0, 0), (0, 0)))
    unit = block.units[name]
    padding = tuple((zeros, zeros) for zeros in unit.padding)
    return jax.nn.relu(convolve_layer(x, params[name], (unit.stride, unit.stride), padding))
