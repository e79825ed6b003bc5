"""VideoDiT: a diffusion transformer over 3-D patches of a video."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from vdm_jax.config.ranges import Above0, Between, Classes, Distinct, MultipleOf, NotEmpty, OneOf, Side
from vdm_jax.errors import UserError
from vdm_jax.models.block_spec import BlockSpec
from vdm_jax.models.blocks import BlockInputs
from vdm_jax.models.conditions import Conditions
from vdm_jax.models.flops import flops_per_video
from vdm_jax.models.head import Head
from vdm_jax.models.layouts import LAYOUTS
from vdm_jax.models.mesh_checks import check_backends, check_split
from vdm_jax.models.sizes import SIZES, Size
from vdm_jax.nn import position
from vdm_jax.nn.attention_backends import AttentionConfig
from vdm_jax.nn.attention_patterns import AttentionPattern, Grid
from vdm_jax.nn.config import NetworkConfig, NetworkInputs, Shape
from vdm_jax.nn.embed import (
    CaptionProjection,
    LabelEmbedding,
    ScalarEmbedding,
    TimeEmbedding,
    patchify,
    unpatchify,
)
from vdm_jax.nn.linear import Linear, on_cpu
from vdm_jax.nn.modulation import MODULATIONS, silu_of
from vdm_jax.nn.remat import POLICIES
from vdm_jax.parallel.rules import RULES, Rules
from vdm_jax.parallel.sharding import constrain


@dataclass(frozen=True)
class VideoDiTConfig(NetworkConfig):
    """What network to build, and how it is computed (attention, remat, scan), which changes no weight.

    Attributes:
      size: A row of SIZES; width, depth and heads override it.
      width: Of all tokens, D; None: that of `size`.
      depth: Blocks, those over space and those over time together; None: that of `size`.
      heads: Of an attention; None: those of `size`.
      mlp_ratio: Hidden units of an MLP over the width.
      patch: Pixels (latents) of a patch's sides.
      time_patch: Frames of a patch.
      layout: Which tokens the blocks attend to (models/layouts.py).
      windows: Of the layout of that name, 'FRAMESxROWSxCOLUMNS' in patches.
      position: Sin-cos or learned positions are added, rotary ones turn queries and keys.
      position_span: The length that sin-cos positions give to rows and columns, however many there are; None counts
        patches.
      rope_interpolate: Squeezes the rotary positions of clips longer than `grid` into it.
      qk_norm: Whether queries and keys are normed (RMS).
      modulation: The kind of adaLN (nn/modulation.py).
      lora_rank: Of adaln_lora.
      learn_variance: Doubles the head's channels for config.diffusion.variance=learned_range.
      self_condition: The network also sees an estimate of x0.
      scalars: Numbers that condition it, by name (docs/data.md).
      text_width: Dimensions of the text embeddings that it attends to.
      images: What those behind a clip do in blocks over time: each attends to itself (alone, VDM's mask), or they pass
        by and have no position in time (aside, as in Latte's code).
      channels: Of the clips or latents, filled in where it is None.
      classes: Of labels; where it is None, as many as the source has.
      grid: The clip of training in patches (frames, rows, columns), filled in where it is None.
      dtype: Of the computation; parameters are float32.
      attention: How attention is computed.
      remat: What is kept for the backward pass: none (all of it), dots, attention, full or offload (nn/remat.py).
      scan: Whether layers are scanned or sliced; None scans them on accelerators and slices them on CPU.
    """

    takes_frame_times: ClassVar[bool] = True
    takes_images: ClassVar[bool] = True
    mesh_axes: ClassVar[tuple[str, ...]] = ('fsdp', 'sequence', 'tensor')
    sharding_rules: ClassVar[Rules] = RULES
    remat_policies: ClassVar[tuple[str, ...]] = tuple(POLICIES)

    size: Annotated[str, OneOf(SIZES)] = 'tiny'
    width: Annotated[Side, MultipleOf(4)] | None = None
    depth: Annotated[int, Between(1, 1024)] | None = None
    heads: Side | None = None
    mlp_ratio: Annotated[float, Above0(0.01, 100)] = 4.0
    patch: Side = 2
    time_patch: Side = 1
    layout: Annotated[str, OneOf(LAYOUTS)] = 'interleaved'
    windows: Annotated[tuple[str, ...], NotEmpty()] = ('1x16x16', '5x8x8')
    position: Literal['sincos', 'learned', 'rope', 'sincos_rope', 'learned_rope'] = 'sincos'
    position_span: Annotated[float, Above0()] | None = None
    rope_interpolate: bool = False
    qk_norm: bool = False
    modulation: Annotated[str, OneOf(MODULATIONS)] = 'adaln_zero'
    lora_rank: Side = 2
    learn_variance: bool = False
    self_condition: bool = False
    scalars: Annotated[tuple[str, ...], Distinct()] = ()
    text_width: Side | None = None
    images: Literal['alone', 'aside'] = 'alone'
    channels: Side | None = None
    classes: Classes | None = None
    grid: tuple[Side, Side, Side] | None = None
    dtype: Literal['float32', 'bfloat16'] = 'float32'
    attention: AttentionConfig = AttentionConfig()
    remat: Annotated[str, OneOf(POLICIES)] = 'none'
    scan: bool | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.sizes
        if size.width % size.heads or (size.width // size.heads) % 2:
            raise ValueError(
                f'config.model.heads={size.heads} must divide width={size.width} into even head dimensions'
            )
        if int(size.width * self.mlp_ratio) < 1:
            raise ValueError(f'config.model.mlp_ratio={self.mlp_ratio}: of width={size.width} nothing is left')
        if not all(re.fullmatch(r'[1-9]\d{0,8}(x[1-9]\d{0,8}){2}', window) for window in self.windows):
            raise ValueError(f'config.model.windows={",".join(self.windows)}: want FRAMESxROWSxCOLUMNS, such as 5x8x8')

        specs = self.block_specs
        if size.depth % len(specs):
            raise ValueError(
                f'config.model.depth={size.depth} must be a multiple of {len(specs)} for layout={self.layout}, '
                'which has that many blocks a layer'
            )
        if size.heads % self.max_head_groups:
            raise ValueError(
                f'config.model.heads={size.heads} must be a multiple of {self.max_head_groups} for layout={self.layout}'
            )

        # The output of a map that all blocks share has one size.
        chunks = {spec.modulation_chunks for spec in specs}
        if MODULATIONS[self.modulation].shares_map and len(chunks) > 1:
            raise ValueError(
                f'config.model.modulation={self.modulation}: blocks share it, and those of layout={self.layout} have '
                'unequal numbers of attentions; set adaln_zero'
            )

    @property
    def sizes(self) -> Size:
        """Depth, width and heads with the overrides applied."""
        named = SIZES[self.size]
        return Size(
            depth=named.depth if self.depth is None else self.depth,
            width=named.width if self.width is None else self.width,
            heads=named.heads if self.heads is None else self.heads,
        )

    @property
    def block_specs(self) -> tuple[BlockSpec, ...]:
        """What the blocks that are repeated through the network attend to."""
        return LAYOUTS[self.layout].block_specs(self)

    @property
    def max_head_groups(self) -> int:
        """The most patterns that share the heads of an attention."""
        return max(spec.max_head_groups for spec in self.block_specs)

    @property
    def fsdp_width(self) -> int:
        return self.sizes.width

    def with_explicit_sizes(self) -> Self:
        sizes = self.sizes
        return replace(self, size='tiny', depth=sizes.depth, width=sizes.width, heads=sizes.heads)

    def grid_of(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Return the frames, rows and columns of patches of a clip of shape (T, H, W, …)."""
        return shape[0] // self.time_patch, shape[1] // self.patch, shape[2] // self.patch

    def build(self, rngs: nnx.Rngs) -> 'VideoDiT':
        return VideoDiT(self, rngs=rngs)

    def fit_to(self, shape: Shape, classes: int) -> Self:
        frames, height, width, channels = shape
        sides = (
            ('frames', frames, 'time_patch', self.time_patch, 'frames'),
            ('height', height, 'patch', self.patch, 'pixels'),
            ('width', width, 'patch', self.patch, 'pixels'),
        )
        for name, side, key, patch, data_key in sides:
            if side % patch:
                raise UserError(
                    f'config.model.{key}={patch} does not divide the {name} of {side} that the network sees; choose '
                    f'another {key}, or another config.data.{data_key}'
                )
        if self.channels not in (None, channels):
            raise UserError(f'config.model.channels={self.channels}: the codec gives {channels}; leave it out')
        return replace(self, channels=channels, classes=classes, grid=self.grid or self.grid_of(shape))

    def flops(
        self, shape: tuple[int, int, int], images: int = 0, per_frame: bool = False, text_tokens: int = 0
    ) -> float:
        return flops_per_video(self, shape, images, per_frame, text_tokens)

    def check_inputs(self, inputs: NetworkInputs) -> None:
        super().check_inputs(inputs)
        if self.time_patch == 1:
            return
        if inputs.images:
            raise UserError(f'config.model.time_patch={self.time_patch}: images are single frames; set it to 1')
        if inputs.per_frame:
            raise UserError(
                f'config.diffusion.per_frame=true: frames in one patch share their time; set config.model.time_patch='
                f'{self.time_patch} to 1'
            )
        if inputs.context % self.time_patch:
            raise UserError(
                f'config.diffusion.context={inputs.context}: want a multiple of config.model.time_patch='
                f'{self.time_patch}, as frames in one patch share their time'
            )

    def check_shapes(self, shapes: tuple[Shape, ...]) -> None:
        if 'learned' not in self.position:
            return
        assert self.grid is not None  # fit_to sets it
        for wanted in map(self.grid_of, shapes):
            if any(side > limit for side, limit in zip(wanted, self.grid, strict=True)):
                raise UserError(
                    f'config.model.position={self.position}: positions of {self.grid} frames, rows and columns of '
                    f'patches are learned, and {wanted} are asked for; set config.data.frames and pixels no larger '
                    'than in training, or name the largest bucket first'
                )

    def check_mesh(self, mesh: jax.sharding.Mesh, inputs: NetworkInputs) -> None:
        super().check_mesh(mesh, inputs)
        grids = [Grid(*self.grid_of(shape), inputs.images) for shape in inputs.shapes]
        for grid in grids:
            check_split(self, mesh, grid)
        for grid in grids:
            check_backends(self, mesh, grid)


def _learned_positions(config: VideoDiTConfig, rngs: nnx.Rngs) -> position.LearnedPositions | None:
    if 'learned' not in config.position:
        return None
    assert config.grid is not None  # fit_to sets it
    return position.LearnedPositions(config.grid, config.sizes.width, rngs=rngs)


class VideoDiT(nnx.Module):
    """Video diffusion transformer (DiT, Peebles & Xie 2023; Latte, Ma et al. 2024). An image is a video of one frame.

    Call:
      x_BTHWC: noisy video, any float dtype; T, H, W must divide by the patch sizes.
      t: time in the process's numbering, (B,) one for each video or (B, T) one for each frame.
      conditions: a dict of any of
        label: class in [0, classes), `classes` itself meaning "no label", int32 (B,) or (B, T);
        each of config.scalars: float32 (B,), nan meaning "not known", as it is for images;
        text, text_mask: embeddings (B, S, text_width), and bool (B, S), True where there is text, nowhere True for
        none; x0: the network's own earlier estimate of x0, of x's shape, 0 for none (self_condition). What is left out
        is none; conditions that the config does not name are ignored.
      images: how many of the T frames, the last ones, are images: each is alone in time.

    Returns:
      float32 prediction (B, T, H, W, C), or (B, T, H, W, 2C) with learn_variance: the prediction, then the variance
      interpolation of IDDPM (Nichol & Dhariwal 2021, eq. 15), -1 for the least and 1 for the greatest variance.
    """

    def __init__(self, config: VideoDiTConfig, *, rngs: nnx.Rngs):
        assert config.channels is not None  # fit_to sets it
        self.config = config
        width = config.sizes.width
        patch = config.time_patch * config.patch**2 * config.channels
        self.patch_embed = Linear(patch * (2 if config.self_condition else 1), width, rngs=rngs)
        self.time_embed = TimeEmbedding(width, rngs=rngs)
        self.label_embed = LabelEmbedding(config.classes, width, rngs=rngs) if config.classes else None
        for name in config.scalars:
            setattr(self, f'{name}_embed', ScalarEmbedding(width, rngs=rngs))
        self.caption = CaptionProjection(config.text_width, width, rngs=rngs) if config.text_width else None
        self.positions = _learned_positions(config, rngs)
        # The shared map is as wide as a block's modulation; the config refuses blocks that differ in it.
        chunks = config.block_specs[0].modulation_chunks
        self.shared = MODULATIONS[config.modulation].make_shared(width, chunks, rngs=rngs)
        self.layers = LAYOUTS[config.layout](config, rngs=rngs)
        out = patch * (2 if config.learn_variance else 1)
        self.head = Head(width, out, config.modulation, config.lora_rank, rngs=rngs)

    def __call__(
        self, x_BTHWC: jax.Array, t: jax.Array, conditions: Conditions | None = None, images: int = 0
    ) -> jax.Array:
        config = self.config
        conditions = conditions or {}
        dtype = jnp.dtype(config.dtype)
        _, frames, height, width, _ = x_BTHWC.shape
        if images and config.time_patch > 1:
            raise ValueError(f'config.model.time_patch={config.time_patch}: images are single frames; set it to 1')
        if images and config.text_width:
            raise ValueError(
                f'config.model.text_width={config.text_width}: images behind a clip have no text of their own'
            )

        grid = Grid(frames // config.time_patch - images, height // config.patch, width // config.patch, images)
        if config.self_condition:
            x_BTHWC = jnp.concatenate([x_BTHWC, conditions.get('x0', jnp.zeros_like(x_BTHWC))], -1)
        x_BTHWC = constrain(x_BTHWC, *AttentionPattern.token_axes)
        x = self.patch_embed(patchify(x_BTHWC.astype(dtype), config.time_patch, config.patch))

        # Positions in time are not added yet: the layout does, before its first block that mixes frames.
        space_ND, time_TD = self.embed_positions(grid)
        if images and config.images == 'aside' and time_TD is not None:
            # In Latte's code images go around the blocks over time, and so no position in time is added to them either.
            time_TD = time_TD * (np.arange(len(time_TD)) < grid.frames)[:, None]
        if space_ND is not None:
            x = x + space_ND.astype(dtype)[None, None]

        c = self.condition(t, conditions, grid.frames, images, dtype)
        text, mask = self.text(conditions, len(x), dtype)
        inputs = BlockInputs(
            grid=grid,
            c_BFD=c,
            # Once for all blocks, out here: in a scan over layers it would be computed in every one.
            shared=None if self.shared is None else self.shared(silu_of(c)),
            text_BSD=text,
            text_mask_BS=mask,
            time_TD=time_TD,
            rotary=self.rotary(grid),
            attention=config.attention,
            # On CPU a scan costs about twice what layers written out do (docs/performance.md).
            scan=config.scan if config.scan is not None else not on_cpu(),
            remat=config.remat,
        )
        x = self.layers(constrain(x, *AttentionPattern.token_axes), inputs)
        x = constrain(self.head(x, c), *AttentionPattern.token_axes)

        # Loss and sampler compute in float32, whatever the network did.
        return unpatchify(x, (frames, height, width), config.time_patch, config.patch).astype(jnp.float32)

    def embed_positions(self, grid: Grid) -> tuple[jax.Array | np.ndarray | None, jax.Array | np.ndarray | None]:
        """Return the positions that are added to tokens: (space (N, D), time (T, D)), None for each that is not."""
        if self.positions is not None:
            return self.positions(grid.frame_indices, grid.rows, grid.columns)
        if 'sincos' not in self.config.position:
            return None, None
        width = self.config.sizes.width
        space_ND = position.sincos_space(grid.rows, grid.columns, width, self.config.position_span)
        return space_ND, position.sincos(grid.frame_indices, width)

    def rotary(self, grid: Grid) -> position.Rotary | None:
        """Return the rotary positions of the clip's tokens, None where the network has none."""
        if 'rope' not in self.config.position:
            return None
        head_dim = self.config.sizes.width // self.config.sizes.heads
        if not self.config.rope_interpolate:
            return position.Rotary(head_dim)
        assert self.config.grid is not None
        # Only what is longer than in training is squeezed; a shorter clip's positions are known as they are.
        time, row, column = (min(1.0, a / b) for a, b in zip(self.config.grid, grid, strict=False))
        return position.Rotary(head_dim, (time, row, column))

    def condition(self, t: jax.Array, conditions: Conditions, frames: int, images: int, dtype: DTypeLike) -> jax.Array:
        """Return the conditioning vector of each video, (B, 1, D), or frame of patches, (B, T / time_patch, D)."""
        c = self.per_frame(self.time_embed(t, dtype))
        if self.label_embed is not None and 'label' in conditions:
            c = c + self.per_frame(self.label_embed(conditions['label'], dtype))

        for name in self.config.scalars:
            value = conditions.get(name, jnp.full(len(t), jnp.nan))
            # What a clip is like says nothing of the images behind it.
            if images:
                value = jnp.where(jnp.arange(images + frames) < frames, value[:, None], jnp.nan)
            c = c + self.per_frame(getattr(self, f'{name}_embed')(value, dtype))
        return c

    def per_frame(self, embedded: jax.Array) -> jax.Array:
        """Reshape (B, D) to (B, 1, D), (B, T, D) to (B, T / time_patch, D): frames in one patch share their mean."""
        if embedded.ndim == 2:
            return embedded[:, None]
        batch, _, width = embedded.shape
        return embedded.reshape(batch, -1, self.config.time_patch, width).mean(2)

    def text(
        self, conditions: Conditions, batch: int, dtype: DTypeLike
    ) -> tuple[jax.Array, jax.Array] | tuple[None, None]:
        """Return (text (B, S, D), mask (B, S)) for cross-attention; (None, None) of a network without."""
        if self.caption is None or self.config.text_width is None:
            return None, None
        # Without a text cross-attention still runs, over the learned "no text", as it does for texts that are dropped
        # in training. One token of it is enough: a softmax over equal tokens does not depend on their number.
        text = conditions.get('text', np.zeros((batch, 1, self.config.text_width), np.float32))
        mask = conditions.get('text_mask', np.full(text.shape[:2], 'text' in conditions))
        return self.caption(jnp.asarray(text), jnp.asarray(mask), dtype)
