"""One transformer block: attention, cross-attention where there is text, and MLP, shifted, scaled and gated by c."""

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vdm_jax.models.block_spec import BlockSpec
from vdm_jax.nn.attention import Attention, CrossAttention
from vdm_jax.nn.attention_backends import AttentionConfig
from vdm_jax.nn.attention_patterns import Grid, token_axes_of
from vdm_jax.nn.mlp import MLP
from vdm_jax.nn.modulation import MODULATIONS
from vdm_jax.nn.norm import adaptive_norm
from vdm_jax.nn.position import Rotary
from vdm_jax.parallel.mesh import BATCH
from vdm_jax.parallel.sharding import constrain

if TYPE_CHECKING:
    from vdm_jax.models.dit import VideoDiTConfig


class BlockInputs(NamedTuple):
    """Inputs shared by all blocks of a network. B videos of T + k frames, F is 1 or T + k.

    Attributes:
      grid: The tokens of a video.
      c_BFD: Conditioning of each video or frame.
      shared: Output of the modulation's shared part, (B, F, chunks D); None where it has none.
      text_BSD: Text embeddings, None without text.
      text_mask_BS: True where there is text.
      time_TD: Fixed or learned positions in time, yet to be added, (T + k, D).
      rotary: Rotary positions, None where the network has none.
      attention: How attention is computed.
      scan: Whether layers are scanned.
      remat: Policy of rematerialisation, a name of nn/remat.py.
    """

    grid: Grid
    c_BFD: jax.Array
    shared: jax.Array | None
    text_BSD: jax.Array | None
    text_mask_BS: jax.Array | None
    time_TD: jax.Array | np.ndarray | None
    rotary: Rotary | None
    attention: AttentionConfig
    scan: bool
    remat: str


class Block(nnx.Module):
    """A DiT block (Peebles & Xie 2023) with the attentions that `spec` lists, one after the other, before the MLP.

    Each attention and the MLP are shifted, scaled and gated by their own three chunks of the modulation. With text,
    cross-attention follows the attentions, neither normalised nor gated (PixArt-alpha, Chen et al. 2023). On a mesh x
    moves to where each attention needs it, and stays there.
    """

    def __init__(self, config: 'VideoDiTConfig', spec: BlockSpec, *, rngs: nnx.Rngs):
        size = config.sizes
        self.spec = spec
        for number in range(len(spec.attentions)):
            attention = Attention(size.width, size.heads, config.qk_norm, rngs=rngs)
            setattr(self, attention_name(number), attention)
        # As in Latte's text-to-video network, whose blocks over time have no cross-attention.
        has_cross = config.text_width and not spec.is_over_time_only
        self.cross = CrossAttention(size.width, size.heads, config.qk_norm, rngs=rngs) if has_cross else None
        self.mlp = MLP(size.width, int(size.width * config.mlp_ratio), rngs=rngs)

        modulation = MODULATIONS[config.modulation]
        self.modulation = modulation(size.width, spec.modulation_chunks, config.lora_rank, rngs=rngs)

    @property
    def attentions(self) -> tuple[Attention, ...]:
        """Its attentions, in their order."""
        return tuple(getattr(self, attention_name(number)) for number in range(len(self.spec.attentions)))

    def __call__(self, x_BTND: jax.Array, inputs: BlockInputs) -> jax.Array:
        """Transform x (B, T + k, N, D)."""
        x = x_BTND

        # Whole on every device, however its weights are split: it is small, and what it touches is not.
        modulation = constrain(self.modulation(inputs.c_BFD, inputs.shared), BATCH)[:, :, None]
        chunks = jnp.split(modulation, self.spec.modulation_chunks, -1)

        for attention, patterns in zip(self.attentions, self.spec.attentions, strict=True):
            shift, scale, gate, *chunks = chunks
            axes = token_axes_of(patterns)
            # Every intermediate is pinned: left free, the partitioner may compute one where x came from, and then moves
            # more than x once. Tests count the all-to-alls of a pair of blocks in the compiled program.
            y = constrain(adaptive_norm(constrain(x, *axes), shift, scale), *axes)
            y = constrain(attention(y, patterns, inputs.grid, inputs.rotary, inputs.attention), *axes)
            x = constrain(x + gate * y, *axes)

        if self.cross is not None:
            assert inputs.text_BSD is not None and inputs.text_mask_BS is not None
            x = x + self.cross(x, inputs.text_BSD, inputs.text_mask_BS)

        # The MLP takes tokens one by one, so it runs wherever the last attention left x; to move it back would cost and
        # buy nothing.
        shift, scale, gate = chunks
        y = constrain(adaptive_norm(x, shift, scale), *axes)
        return constrain(x + gate * constrain(self.mlp(y), *axes), *axes)


def attention_name(number: int) -> str:
    """Return the name under which a block stores an attention: attention, attention2, attention3 and so on."""
    return 'attention' if number == 0 else f'attention{number + 1}'
