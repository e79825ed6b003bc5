"""One transformer block: attention, cross-attention where there is text, and MLP, shifted, scaled and gated by c."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vdm_jax.nn.arrange import Arrangement, Grid, home_of
from vdm_jax.nn.attend import AttentionConfig
from vdm_jax.nn.attention import Attention, CrossAttention
from vdm_jax.nn.mlp import MLP
from vdm_jax.nn.modulation import MODULATIONS
from vdm_jax.nn.norm import adaptive_norm
from vdm_jax.nn.position import Rotary
from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.verbs import constrain

if TYPE_CHECKING:
    from vdm_jax.models.dit import VideoDiTConfig


class Context(NamedTuple):
    """Inputs shared by all blocks of a network. B videos of T + k frames, F is 1 or T + k."""

    grid: Grid
    c_BFD: jax.Array  # conditioning of each video or frame
    shared: jax.Array | None  # output of the modulation's shared part, (B, F, chunks D)
    text_BSD: jax.Array | None
    text_mask_BS: jax.Array | None
    time_TD: jax.Array | np.ndarray | None  # fixed or learned positions in time, yet to be added, (T + k, D)
    rotary: Rotary | None
    attention: AttentionConfig
    scan: bool
    remat: str


class Block(nnx.Module):
    """A DiT block (Peebles & Xie 2023) with one or, for `attentions` = 2, two attentions in a row before the MLP.

    Each attention and the MLP are shifted, scaled and gated by their own three chunks of the modulation. With text,
    cross-attention follows the attentions, neither normalised nor gated (PixArt-alpha, Chen et al. 2023). On a mesh x
    moves to where each attention needs it, and stays there.
    """

    def __init__(self, config: 'VideoDiTConfig', *, attentions: int = 1, text: bool = True, rngs: nnx.Rngs):
        size = config.sizes
        sizes = size.width, size.heads, config.qk_norm
        self.attention = Attention(*sizes, rngs=rngs)
        self.attention2 = Attention(*sizes, rngs=rngs) if attentions == 2 else None
        self.cross = CrossAttention(*sizes, rngs=rngs) if text and config.text_width else None
        self.mlp = MLP(size.width, int(size.width * config.mlp_ratio), rngs=rngs)
        chunks = 3 * (attentions + 1)
        self.modulation = MODULATIONS[config.modulation](size.width, chunks, config.lora_rank, rngs=rngs)

    def __call__(self, x_BTND: jax.Array, context: Context, *arrangements: tuple[Arrangement, ...]) -> jax.Array:
        """Transform x (B, T + k, N, D); arrangements: of each attention, several where its heads are split."""
        x, grid = x_BTND, context.grid
        # Whole on every device, however its weights are split: it is small, and what it touches is not.
        modulation = constrain(self.modulation(context.c_BFD, context.shared), BATCH)[:, :, None]
        chunks = jnp.split(modulation, modulation.shape[-1] // x.shape[-1], -1)
        attentions = [self.attention, *([self.attention2] if self.attention2 is not None else [])]
        for attention, arranged in zip(attentions, arrangements, strict=True):
            shift, scale, gate, *chunks = chunks
            here = home_of(arranged)
            y = constrain(adaptive_norm(constrain(x, *here), shift, scale), *here)
            y = constrain(attention(y, arranged, grid, context.rotary, context.attention), *here)
            x = constrain(x + gate * y, *here)
        if self.cross is not None:
            assert context.text_BSD is not None and context.text_mask_BS is not None
            x = x + self.cross(x, context.text_BSD, context.text_mask_BS)
        shift, scale, gate = chunks
        y = constrain(adaptive_norm(x, shift, scale), *here)
        return constrain(x + gate * constrain(self.mlp(y), *here), *here)
