"""VideoDiT: a diffusion transformer over 3-D patches of a video."""

from dataclasses import astuple, dataclass, replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vdm_jax.models.blocks import LAYOUTS
from vdm_jax.models.sizes import SIZES, Size
from vdm_jax.nn import position, stack
from vdm_jax.nn.embed import LabelEmbedding, TimeEmbedding, patchify, unpatchify
from vdm_jax.nn.linear import Linear, on_cpu, zeros
from vdm_jax.nn.norm import layer_norm, modulate
from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.rules import constrain


@dataclass(frozen=True)
class VideoDiTConfig:
    """What network to build.

    size names a row of SIZES; width, depth and heads override it. scan=None scans layers on accelerators and slices
    them on CPU. learn_variance doubles the head's channels as IDDPM's networks have them; the loss and the samplers
    here do not use the second half yet. channels and classes are filled in from codec and source where they are None.
    """

    size: Literal['tiny', 'S', 'B', 'L', 'XL'] = 'tiny'
    width: int | None = None
    depth: int | None = None
    heads: int | None = None
    mlp_ratio: float = 4.0
    patch: int = 2
    time_patch: int = 1
    layout: Literal['interleaved', 'full'] = 'interleaved'
    position: Literal['sincos', 'rope', 'sincos_rope'] = 'sincos'
    qk_norm: bool = False
    learn_variance: bool = False
    channels: int | None = None
    classes: int | None = None
    dtype: Literal['float32', 'bfloat16'] = 'float32'
    scan: bool | None = None

    def __post_init__(self):
        size = self.sizes
        if min(astuple(size)) < 1:
            raise ValueError(f'config.model: depth, width and heads are {astuple(size)}: all must be 1 or more')
        if size.width % size.heads or (size.width // size.heads) % 2:
            raise ValueError(
                f'config.model.heads={size.heads} must divide width={size.width} into even head dimensions'
            )
        if size.width % 4:
            raise ValueError(f'config.model.width={size.width} must be a multiple of 4')
        if self.patch < 1 or self.time_patch < 1:
            raise ValueError(f'config.model.patch={self.patch}, time_patch={self.time_patch}: both must be 1 or more')
        blocks = LAYOUTS[self.layout].blocks
        if size.depth % blocks:
            raise ValueError(
                f'config.model.depth={size.depth} must be a multiple of {blocks} for layout={self.layout}, '
                'which has that many blocks a layer'
            )

    @property
    def sizes(self) -> Size:
        """Depth, width and heads with the overrides applied."""
        named = SIZES[self.size]
        chosen = {name: value for name in ('depth', 'width', 'heads') if (value := getattr(self, name)) is not None}
        return replace(named, **chosen)


class Positions(NamedTuple):
    """Fixed positions of a clip's tokens: what is added at the input, at the first time block, and rotary angles."""

    space_ND: np.ndarray | None
    time_TD: np.ndarray | None
    angles: dict


def positions_for(config: VideoDiTConfig, frames: int, rows: int, columns: int) -> Positions:
    """Positions for a clip of frames x rows x columns patches; any size, trained or not."""
    size = config.sizes
    space_ND, time_TD, angles = None, None, dict.fromkeys(('space', 'time', 'full'))
    if 'sincos' in config.position:
        space_ND = position.sincos_space(rows, columns, size.width)
        time_TD = position.sincos(np.arange(frames), size.width)
    if 'rope' not in config.position:
        return Positions(space_ND, time_TD, angles)
    head = size.width // size.heads
    t, y, x = (axis.ravel() for axis in np.meshgrid(*map(np.arange, (frames, rows, columns)), indexing='ij'))
    angles = {
        'time': position.rope((np.arange(frames),), (head,)),
        'space': position.rope((y[: rows * columns], x[: rows * columns]), position.split_head(head, 2)),
        'full': position.rope((t, y, x), position.split_head(head, 3)),
    }
    return Positions(space_ND, time_TD, angles)


class Head(nnx.Module):
    """Final adaLN and projection back to patches, zero at the start (DiT)."""

    def __init__(self, width: int, out: int, *, rngs: nnx.Rngs):
        self.modulation = Linear(width, 2 * width, zeros, rngs=rngs)
        self.out = Linear(width, out, zeros, rngs=rngs)

    def __call__(self, x_BTND, c_BFD):
        shift, scale = jnp.split(self.modulation(jax.nn.silu(c_BFD))[:, :, None], 2, -1)
        return self.out(modulate(layer_norm(x_BTND), shift, scale))


class VideoDiT(nnx.Module):
    """Video diffusion transformer (DiT, Peebles & Xie 2023; Latte, Ma et al. 2024). An image is a video of one frame.

    Call:
      x_BTHWC: noisy video, any float dtype; T, H, W must divide by the patch sizes.
      t: timestep in the papers' numbering (0..1000), (B,) one for each video or (B, T) one for each frame.
      label_B: class in [0, classes), `classes` itself meaning "no label"; None leaves labels out altogether.

    Returns:
      float32 prediction (B, T, H, W, C), or (B, T, H, W, 2C) with learn_variance: the prediction, then the variance
      interpolation of IDDPM (Nichol & Dhariwal 2021, eq. 15) before its squashing.
    """

    def __init__(self, config: VideoDiTConfig, *, rngs: nnx.Rngs):
        self.config = config
        size, patch = config.sizes, config.time_patch * config.patch**2 * config.channels
        layout = LAYOUTS[config.layout]
        self.patch_embed = Linear(patch, size.width, rngs=rngs)
        self.time_embed = TimeEmbedding(size.width, rngs=rngs)
        self.label_embed = LabelEmbedding(config.classes, size.width, rngs=rngs) if config.classes else None
        self.layers = stack.stacked(lambda r: layout(config, rngs=r), size.depth // layout.blocks, rngs)
        self.head = Head(size.width, patch * (2 if config.learn_variance else 1), rngs=rngs)

    def __call__(self, x_BTHWC, t, label_B=None):
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        _, frames, height, width, _ = x_BTHWC.shape
        positions = positions_for(config, frames // config.time_patch, height // config.patch, width // config.patch)

        x = self.patch_embed(patchify(x_BTHWC.astype(dtype), config.time_patch, config.patch))
        if positions.space_ND is not None:
            x = x + positions.space_ND.astype(dtype)[None, None]
        c = self.condition(t, label_B, dtype)

        scan = config.scan if config.scan is not None else not on_cpu()
        x = constrain(x, BATCH, 'sequence')
        x = stack.apply(self.layers, x, lambda layer, x, index: layer(x, c, positions, index), scan)
        x = self.head(x, c)
        return unpatchify(x, (frames, height, width), config.time_patch, config.patch).astype(jnp.float32)

    def condition(self, t, label_B, dtype):
        """The conditioning vector of each video, (B, 1, D), or of each frame of patches, (B, T / time_patch, D)."""
        c = self.time_embed(t[:, None] if t.ndim == 1 else t, dtype)
        if t.ndim == 2:  # frames in one patch share the mean of their embeddings
            c = c.reshape(c.shape[0], -1, self.config.time_patch, c.shape[-1]).mean(2)
        if self.label_embed is not None and label_B is not None:
            c = c + self.label_embed(label_B, dtype)[:, None]
        return c
