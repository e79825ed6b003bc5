"""DiT (Peebles & Xie 2023): checkpoints of facebookresearch/DiT, and the names that SiT and Latte took over from it."""

import math
import re
from collections.abc import Iterable, Mapping

import numpy as np

from vdm_jax.diffusion.ddpm import DDPM
from vdm_jax.diffusion.objective import Objective
from vdm_jax.errors import UserError
from vdm_jax.models.dit import VideoDiTConfig
from vdm_jax.models.sizes import SIZES
from vdm_jax.nn import position
from vdm_jax.pretrained.clues import wanted
from vdm_jax.pretrained.network import Network
from vdm_jax.pretrained.table import LINEAR, SAME, Row, by_head, patches, row

FREE: Mapping[str, str] = {}
KIND = Network
GUIDED = 3  # channels, of the four of its latents: in its forward_with_cfg
PAPERS = ('S', 'B', 'L', 'XL')  # of SIZES
LABELS = 'y_embedder.embedding_table.weight'


def config_of(arrays: Mapping[str, np.ndarray], about: Mapping, heads: int | None = None) -> VideoDiTConfig:
    """The network that these tensors are of, in float32.

    heads: where width and depth are of none of the papers' sizes, which alone say how many there are.

    Raises:
      UserError: the tensors are of another kind of network, or the heads are not known, or not the size's.
    """
    if 'temp_embed' in arrays:
        raise UserError('the checkpoint has temp_embed, positions in time: say --source=latte')
    return measured(arrays, heads, layout='frames', grid=(1, *square(arrays, 'pos_embed')))


def rows(config: VideoDiTConfig) -> list[Row]:
    """The table of names."""
    return around(config) + blocks('layers/block', config, range(config.sizes.depth))


def fixed(config: VideoDiTConfig) -> dict[str, np.ndarray]:
    """Tensors that are computed: positions."""
    return {'pos_embed': position.sincos_space(*config.grid[1:], config.sizes.width)[None]}


def objective(config: VideoDiTConfig) -> Objective:
    """What it was trained on: 1,000 linear steps, eps, and the learned variance of IDDPM; labels dropped in 0.1."""
    variance = 'learned_range' if config.learn_variance else 'fixed'
    return Objective(DDPM(), 'eps', variance=variance, condition_dropout=0.1 if config.classes else 0.0)


def square(arrays: Mapping[str, np.ndarray], name: str) -> tuple[int, int]:
    """Rows and columns of the patches of a square frame, as many as positions are stored for."""
    side = round(wanted(arrays, name, 3).shape[1] ** 0.5)
    return side, side


def measured(arrays: Mapping[str, np.ndarray], heads: int | None, **more) -> VideoDiTConfig:
    """A config of the sizes that the tensors have; `more` is what they do not tell."""
    width, channels, patch, _ = wanted(arrays, 'x_embedder.proj.weight', 4).shape
    numbers = (re.match(r'blocks\.(\d+)\.', name) for name in arrays)
    depth = 1 + max((int(number[1]) for number in numbers if number), default=0)
    hidden = len(wanted(arrays, 'blocks.0.mlp.fc1.weight', 2))
    size = next((name for name in PAPERS if (SIZES[name].depth, SIZES[name].width) == (depth, width)), None)
    if size is None and heads is None:
        raise UserError(f'{depth} blocks of width {width} are none of {", ".join(PAPERS)}: say --heads=N')
    if size and heads not in (None, SIZES[size].heads):
        raise UserError(
            f'--heads={heads}: {depth} blocks of width {width} are {size}, of {SIZES[size].heads}; leave it out'
        )
    out = wanted(arrays, 'final_layer.linear.weight', 2).shape[0] // (patch * patch * channels)
    own = {} if size else {'depth': depth, 'width': width}
    return VideoDiTConfig(
        size=size or 'tiny',
        heads=None if size else heads,
        mlp_ratio=ratio(hidden, width),
        patch=patch,
        learn_variance=out == 2,
        channels=channels,
        classes=len(wanted(arrays, LABELS, 2)) - 1 if LABELS in arrays else 0,
        **own,
        **more,
    )


def ratio(hidden: int, width: int) -> float:
    """The mlp_ratio of which a network of this width makes so many hidden units, int(ratio width), rounding and all."""
    exact = hidden / width
    return exact if int(width * exact) == hidden else math.nextafter(exact, math.inf)


def around(config: VideoDiTConfig) -> list[Row]:
    """The rows of what stands before and behind the blocks."""
    labels = [row('label_embed/table', LABELS, SAME)] if config.classes else []
    return [
        row('patch_embed/kernel', 'x_embedder.proj.weight', patches(config.patch, config.channels)),
        row('patch_embed/bias', 'x_embedder.proj.bias', SAME),
        *dense('time_embed/up', 't_embedder.mlp.0'),
        *dense('time_embed/down', 't_embedder.mlp.2'),
        *labels,
        *dense('head/modulation', 'final_layer.adaLN_modulation.1'),
        *dense('head/out', 'final_layer.linear'),
    ]


def blocks(ours: str, config: VideoDiTConfig, numbers: Iterable[int]) -> list[Row]:
    """The rows of the stack `ours`, whose blocks have these numbers."""
    numbers, qkv = tuple(numbers), by_head(config.sizes.heads, 3)
    return [
        row(f'{ours}/attention/qkv/kernel', 'blocks.{}.attn.qkv.weight', qkv, numbers),
        row(f'{ours}/attention/qkv/bias', 'blocks.{}.attn.qkv.bias', qkv, numbers),
        *dense(f'{ours}/attention/out', 'blocks.{}.attn.proj', numbers),
        *dense(f'{ours}/mlp/up', 'blocks.{}.mlp.fc1', numbers),
        *dense(f'{ours}/mlp/down', 'blocks.{}.mlp.fc2', numbers),
        *dense(f'{ours}/modulation', 'blocks.{}.adaLN_modulation.1', numbers),
    ]


def dense(ours: str, theirs: str, numbers: Iterable[int] | None = None) -> list[Row]:
    """The rows of a linear layer."""
    return [
        row(f'{ours}/kernel', f'{theirs}.weight', LINEAR, numbers),
        row(f'{ours}/bias', f'{theirs}.bias', SAME, numbers),
    ]
