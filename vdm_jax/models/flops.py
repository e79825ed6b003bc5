"""What a network costs to run."""

from typing import TYPE_CHECKING

from vdm_jax.models.head import HEAD_CHUNKS
from vdm_jax.models.layouts import LAYOUTS
from vdm_jax.nn.attention_patterns import Grid
from vdm_jax.nn.embed import TimeEmbedding
from vdm_jax.nn.modulation import MODULATIONS

if TYPE_CHECKING:
    from vdm_jax.models.dit import VideoDiTConfig


def flops_per_video(
    config: 'VideoDiTConfig',
    shape: tuple[int, int, int],
    images: int = 0,
    per_frame: bool = False,
    text_tokens: int = 0,
) -> float:
    """Count the floating-point operations of one forward pass on one video of shape (T, H, W).

    A multiply-add counts as 2. Matrix products only: per block 8 D^2 n for the projections of an attention, 4 n c D for
    attention over sequences of c tokens, 4 r D^2 n for an MLP of ratio r, and the modulation's of each conditioning
    vector; plus cross-attention, patch embedding, the embeddings of time, scalars and text, and head. Norms, softmax,
    GELU and positions are left out, as is usual for MFU. A training step is 3x this, 4x with self-conditioning.

    Args:
      config: a VideoDiTConfig with channels set.
      shape: (T, H, W) of the network's input (latents, not pixels, where there is a codec).
      images: how many stand behind the clip's frames.
      per_frame: whether every frame has a conditioning vector of its own, as it does with images.
      text_tokens: length of the text sequence.
    """
    assert config.channels is not None
    frames, height, width = shape
    grid = Grid(frames // config.time_patch, height // config.patch, width // config.patch, images)
    vectors = grid.frames + images if per_frame or images else 1
    d = config.sizes.width

    specs = LAYOUTS[config.layout].block_specs(config)
    modulation = MODULATIONS[config.modulation]
    blocks = 0.0
    for spec in specs:
        # Where images pass by, a block over time computes the clip's frames alone.
        seen = grid._replace(images=0) if config.images == 'aside' and spec.is_over_time_only else grid
        n = seen.tokens
        attentions = 8 * d * d * n * len(spec.attentions) + 4 * n * spec.mean_attended_tokens(seen) * d
        blocks += attentions + 4 * config.mlp_ratio * d * d * n
        blocks += vectors * modulation.flops(d, spec.modulation_chunks, config.lora_rank)
        if text_tokens and not spec.is_over_time_only:
            # Cross-attention projects q and out of each token, k and v of each text token, and has n x text_tokens
            # scores.
            blocks += 4 * d * d * (n + text_tokens) + 4 * n * text_tokens * d

    n = grid.tokens
    patch = config.time_patch * config.patch**2 * config.channels
    embedding = 2 * n * patch * d * (2 if config.self_condition else 1)
    # The embeddings of time and of each scalar: their waves to D, and D to D.
    embedding += vectors * (1 + len(config.scalars)) * 2 * (TimeEmbedding.frequencies * d + d * d)
    embedding += 2 * text_tokens * ((config.text_width or 0) + d) * d
    # The map that all blocks share is computed once, not once a block.
    if modulation.shares_map:
        embedding += vectors * 2 * specs[0].modulation_chunks * d * d

    head = 2 * n * d * patch * (2 if config.learn_variance else 1)
    head += vectors * MODULATIONS[modulation.head].flops(d, HEAD_CHUNKS, config.lora_rank)
    # `blocks` is one round of the blocks that are repeated.
    return float(config.sizes.depth / len(specs) * blocks + embedding + head)
